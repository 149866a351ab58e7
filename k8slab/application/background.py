"""A step taken again and again in a daemon thread, until told to stop."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

_LOG: Final = logging.getLogger("k8slab")


@dataclass
class _Bell:
    """What a waiting thread hears: that it may be due earlier, or that it is to end."""

    rung: threading.Event = field(default_factory=threading.Event)
    over: bool = False

    def ring(self) -> None:
        self.rung.set()

    def end(self) -> None:
        self.over = True
        self.rung.set()


class BackgroundLoop:
    """Calls a method every so many seconds, by the wall clock: simulated time needs no thread.

    step : may say in how many seconds it wants to be called next; else that is `interval_s`

    The method's object isn't kept alive by the loop; when nobody else holds it, the
    thread ends. A step that raises is logged, and the next one comes all the same.
    """

    def __init__(self, step: Callable[[], float | None], interval_s: float, name: str) -> None:
        self._step = weakref.WeakMethod(step)
        self._interval_s = interval_s
        self._name = name
        self._lock = threading.Lock()
        self._bell = _Bell()
        self._thread: threading.Thread | None = None
        self._last_wish = weakref.finalize(self, self._bell.end)

    @property
    def running(self) -> bool:
        """Whether the thread is there."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def start(self) -> None:
        """Begin, unless it runs already. The first step comes after one interval."""
        with self._lock:
            if self.running:
                return
            # A bell of its own: one that was told to end may still be on its way out.
            self._bell = _Bell()
            self._last_wish.detach()
            self._last_wish = weakref.finalize(self, self._bell.end)
            arguments = (self._step, self._interval_s, self._bell)
            self._thread = threading.Thread(target=_run, args=arguments, name=self._name, daemon=True)
            self._thread.start()

    def wake(self) -> None:
        """Take the next step now: something is due before what the last one said."""
        self._bell.ring()

    def stop(self) -> None:
        """Stop, and return when the thread has ended; at once if a step itself calls this."""
        self._bell.end()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()


def _run(step: weakref.WeakMethod[Callable[[], float | None]], interval_s: float, bell: _Bell) -> None:
    wait_s: float | None = interval_s
    while True:
        bell.rung.wait(min(interval_s if wait_s is None else max(wait_s, 0.0), threading.TIMEOUT_MAX))
        if bell.over:
            return
        bell.rung.clear()
        if bell.over:  # told between the two
            return
        method = step()
        if method is None:
            return
        wait_s = None
        try:
            wait_s = method()
        except Exception:
            _LOG.exception("a background step failed; the next comes in %s s", interval_s)
        # Held over the wait, it would keep its object alive.
        del method
