"""Pods that are made when somebody looks at them: most health checks look at none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import overload

from k8slab.domain.models import Pod


class LazyPods(Sequence[Pod]):
    """A sequence that is made when it is first asked for: a thousand entities take 20 ms, every 5 s."""

    def __init__(self, make: Callable[[], list[Pod]]) -> None:
        self._make = make

    @cached_property
    def _pods(self) -> list[Pod]:
        return self._make()

    def __len__(self) -> int:
        return len(self._pods)

    @overload
    def __getitem__(self, index: int) -> Pod: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Pod]: ...
    def __getitem__(self, index: int | slice) -> Pod | Sequence[Pod]:
        return self._pods[index]
