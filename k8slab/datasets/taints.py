"""All taints of a node, or tolerations of a pod, as one cell of a frame."""

from __future__ import annotations

import re
from typing import Final

from k8slab.domain.columns import Taints, Tolerations
from k8slab.domain.taints import EFFECTS, taint_of, taint_text, toleration_of, toleration_text

TAINTS_WANTED: Final = f"key=value:Effect, joined by commas, where an Effect is {', '.join(EFFECTS)}"
TOLERATIONS_WANTED: Final = "key=value:Effect, key:Effect (any value) or * (any key), joined by commas"
_SECONDS: Final = r"(?<=:NoExecute)@[0-9]+$"


def taints_text(taints: Taints) -> str:
    """Taints as kubectl writes them, joined by commas; "" for none."""
    return ",".join(map(taint_text, taints))


def tolerations_text(tolerations: Tolerations) -> str:
    """Tolerations in the manner of taints: without "=" any value is tolerated, "*" is any key."""
    return ",".join(map(toleration_text, tolerations))


def parse_taints(text: str) -> Taints:
    """The taints of a cell; ValueError if one has no key or no effect of Kubernetes'.

    >>> taints_text(parse_taints("dedicated=gpu:NoExecute, old"))
    'dedicated=gpu:NoExecute,old:NoSchedule'
    """
    return tuple(taint_of(item) for item in _items(text))


def parse_tolerations(text: str) -> Tolerations:
    """The tolerations of a cell; ValueError as `parse_taints`.

    >>> tolerations_text(parse_tolerations("gpu,team=ml:NoSchedule,*:NoExecute"))
    'gpu,team=ml:NoSchedule,*:NoExecute'
    """
    return tuple(toleration_of(item) for item in _items(text, timed=True))


def _items(text: str, *, timed: bool = False) -> list[str]:
    items = [item for item in map(str.strip, text.split(",")) if item]
    for item in (re.sub(_SECONDS, "", item) for item in items) if timed else items:
        pair, _, effect = item.rpartition(":")
        # Unlike an entity's text, a cell may be a typing error: an odd effect isn't taken for a part of the key.
        if (":" in item and (effect not in EFFECTS or ":" in pair)) or item[0] in ":=":
            raise ValueError(item)
    return items
