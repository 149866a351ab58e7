"""How far a long piece of work is: a bar in a terminal, a line in a notebook, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

from k8slab.kernels import _compiling

# Work that ends sooner shows nothing: a bar that flashes by only disturbs.
PATIENCE_S: Final = 2.0
REDRAW_S: Final = 0.25
_WIDTH: Final = 30
_compiling_said = False


class _Drawing(Protocol):
    def update(self, done: int) -> None: ...
    def say(self, message: str) -> None: ...
    def close(self) -> None: ...


class ProgressBar:
    """Counts steps; shows them with the time left once the work has lasted two seconds.

    One thread calls it, but for `say_compiling`. In a terminal it draws on stderr, so that stdout is for results alone.
    """

    def __init__(self, label: str, total: int, *, silent: bool = False, told: bool = False) -> None:
        self._label = label
        self._total = total
        self._silent = silent
        self._told = told
        self._done = 0
        self._started = time.monotonic()
        self._drawing: _Drawing | None = None

    def advance(self, steps: int = 1) -> None:
        """So many more steps are done."""
        self._done += steps
        self.tick()

    def reach(self, done: int) -> None:
        """So many steps are done in all."""
        self._done = done
        self.tick()

    def tick(self) -> None:
        """Show how far it is, if the work lasts long enough for anyone to wonder."""
        if self._drawing is None and not self._silent and time.monotonic() - self._started >= PATIENCE_S:
            self._open()
        if self._drawing is not None:
            self._drawing.update(self._done)

    def say(self, message: str) -> None:
        """One line for the reader."""
        if not self._silent:
            self._open()
            assert self._drawing is not None
            self._drawing.say(message)

    def say_compiling(self) -> None:
        """Kernels have to be compiled first, which nothing else would explain: one line even where no bar is drawn.

        Only the first time in a process: who has read it once knows what the next wait is.
        """
        global _compiling_said
        if _compiling_said or (self._silent and not self._told):
            return
        _compiling_said = True
        if self._silent:
            print(_compiling.MESSAGE, file=sys.stderr, flush=True)
        self.say(_compiling.MESSAGE)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._drawing is not None:
            self._drawing.close()
            self._drawing = None

    def _open(self) -> None:
        if self._drawing is None:
            drawing = _NotebookLine if in_notebook() else _RichBar
            self._drawing = drawing(self._label, self._total, self._started)


class _RichBar:
    def __init__(self, label: str, total: int, started: float) -> None:
        from rich import progress
        from rich.console import Console

        # The time passed moves while the first step compiles and nothing else does.
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"), progress.BarColumn(_WIDTH), progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(), progress.TextColumn("passed,"),
            progress.TimeRemainingColumn(compact=True), progress.TextColumn("left"),
            console=Console(stderr=True), transient=True,
        )
        self._task = self._bar.add_task(label, total=total)
        self._bar.start()

    def update(self, done: int) -> None:
        self._bar.update(self._task, completed=done)

    def say(self, message: str) -> None:
        self._bar.console.print(message, highlight=False)

    def close(self) -> None:
        self._bar.stop()


class _NotebookLine:
    """A line of text that is written over. rich would want ipywidgets here, and warn where they are missing."""

    def __init__(self, label: str, total: int, started: float) -> None:
        from IPython import display as ipython

        display: Any = ipython.display
        self._label = label
        self._total = total
        self._started = started
        self._drawn = started
        self._done = 0
        self._line = display(_Text(label), display_id=True)

    def update(self, done: int) -> None:
        self._done = done
        now = time.monotonic()
        if now - self._drawn >= REDRAW_S:
            self._drawn = now
            self._line.update(_Text(self._text(now - self._started)))

    def say(self, message: str) -> None:
        print(message)

    def close(self) -> None:
        elapsed = time.monotonic() - self._started
        self._line.update(_Text(f"{self._label}: {self._done} of {self._total} in {elapsed:,.0f} s"))

    def _text(self, elapsed: float) -> str:
        filled = _WIDTH * self._done // self._total
        left = f", {elapsed * (self._total - self._done) / self._done:,.0f} s left" if self._done else ""
        left = f", {elapsed:,.0f} s passed{left}"
        return f"{self._label} {'█' * filled}{'░' * (_WIDTH - filled)} {self._done}/{self._total}{left}"


class _Text(str):
    """Text that a notebook shows without quotes."""

    def __repr__(self) -> str:
        return str(self)


@contextmanager
def progress_bar(
    label: str, total: int, *, show: bool = True, told: bool | None = None
) -> Iterator[ProgressBar]:
    """A bar for a `with` block; a silent one where nobody looks: no terminal and no notebook, or show=False.

    told : whether a silent one says that kernels are compiled, on stderr; as `show` if not given
    """
    silent = not (show and (sys.stderr.isatty() or in_notebook()))
    bar = ProgressBar(label, total, silent=silent, told=show if told is None else told)
    _compiling.listen(bar.say_compiling)
    try:
        yield bar
    finally:
        _compiling.forget(bar.say_compiling)
        bar.close()


def in_notebook() -> bool:
    """Whether the code runs in a Jupyter kernel."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return shell is not None and "IPKernelApp" in shell.config
