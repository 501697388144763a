"""The version, in one place: the build reads it, the client sends it."""

__version__ = "0.1.0"
