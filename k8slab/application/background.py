"""A step taken again and again in a daemon thread, until told to stop."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from typing import Final

_LOG: Final = logging.getLogger("k8slab")


class BackgroundLoop:
    """Calls a method every so many seconds, by the wall clock: simulated time needs no thread.

    The method's object isn't kept alive by the loop; when nobody else holds it, the
    thread ends. A step that raises is logged, and the next one comes all the same.
    """

    def __init__(self, step: Callable[[], None], interval_s: float, name: str) -> None:
        self._step = weakref.WeakMethod(step)
        self._interval_s = interval_s
        self._name = name
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        weakref.finalize(self, self._stop.set)

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
            self._stop.clear()
            arguments = (self._step, self._interval_s, self._stop)
            self._thread = threading.Thread(target=_run, args=arguments, name=self._name, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop, and return when the thread has ended; at once if a step itself calls this."""
        self._stop.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()


def _run(step: weakref.WeakMethod[Callable[[], None]], interval_s: float, stop: threading.Event) -> None:
    while not stop.wait(interval_s):
        method = step()
        if method is None:
            return
        try:
            method()
        except Exception:
            _LOG.exception("a background step failed; the next comes in %s s", interval_s)
        # Held over the wait, it would keep its object alive.
        del method
