"""One step at a time, in use: `load` a run and `push` rows."""

from elman.streaming.session import Answer, StreamSession, load

__all__ = ["Answer", "StreamSession", "load"]
