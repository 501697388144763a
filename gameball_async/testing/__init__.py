"""Test doubles for applications: `Recorder` replaces the client, without a network or a background task."""

from ._recorder import Recorder

__all__ = ["Recorder"]
