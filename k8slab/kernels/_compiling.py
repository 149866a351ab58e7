"""Tells whoever asked that kernels are about to be compiled, which takes seconds; imports nothing heavy."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

MESSAGE: Final = "compiling kernels for the first time (5 to 30 s, once)"
_listeners: list[Callable[[], None]] = []
_told = False


def listen(listener: Callable[[], None]) -> None:
    """Call this when the first kernel is found on no disk and has to be compiled; once in a process."""
    _listeners.append(listener)


def forget(listener: Callable[[], None]) -> None:
    """Don't call this any more."""
    if listener in _listeners:
        _listeners.remove(listener)


def tell() -> None:
    """A kernel has to be compiled. Where nobody listens, whoever sits before the screen is told, once."""
    global _told
    if not (_listeners or _told) and (sys.stderr.isatty() or "ipykernel" in sys.modules):
        print(MESSAGE, file=sys.stderr, flush=True)
    _told = True
    while _listeners:
        _listeners.pop()()
