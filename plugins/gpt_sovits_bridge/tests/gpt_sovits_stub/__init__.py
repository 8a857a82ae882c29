"""Doubles of GPT-SoVITS's two servers, with their faults, on the loopback interface.

What they do wrong they do as the real ones (48b1a01) were seen to: one cache of the reference for
all requests, keyed by its path; whole synthesis within the event loop; silence and torn answers
instead of errors. Marks in a text provoke more of it: `[[fail]]` fails inside, `[[die]]` after the
first fragment, `[[empty]]` gives a file without samples (api.py), `[[slow:0.5]]` sleeps before each
fragment.
"""

from __future__ import annotations

from .options import Options
from .server import StubServer

__all__ = ["Options", "StubServer"]
