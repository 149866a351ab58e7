"""Tells whoever asked that kernels are about to be compiled, which takes seconds; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable

_listeners: list[Callable[[], None]] = []


def listen(listener: Callable[[], None]) -> None:
    """Call this when the first kernel is found on no disk and has to be compiled; once in a process."""
    _listeners.append(listener)


def forget(listener: Callable[[], None]) -> None:
    """Don't call this any more."""
    if listener in _listeners:
        _listeners.remove(listener)


def tell() -> None:
    """A kernel has to be compiled."""
    while _listeners:
        _listeners.pop()()
