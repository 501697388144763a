"""What the tests of an application import: `Recorder` stands in for the client, without a network or a loop's task."""

from ._recorder import Recorder

__all__ = ["Recorder"]
