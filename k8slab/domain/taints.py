"""Taints and tolerations as the entities write them: one short text each."""

from __future__ import annotations

from typing import Final

from k8slab.domain.columns import Taint, Toleration

EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def taint_of(text: str) -> Taint:
    """The taint of "key=value:Effect"; value and effect may be left out. Never raises.

    What follows the last colon is an effect only if Kubernetes has it, so any text is
    a taint, and an odd one keeps pods away rather than being overlooked.

    >>> taint_of("gpu=a100:NoExecute"), taint_of("gpu")
    (Taint(key='gpu', value='a100', effect='NoExecute'), Taint(key='gpu', value='', effect='NoSchedule'))
    """
    pair, effect = _split_effect(text)
    key, _, value = pair.partition("=")
    return Taint(key, value, effect or "NoSchedule")


def toleration_of(text: str) -> Toleration:
    """The toleration of "key=value:Effect"; without "=" any value, without ":" any effect; "*" is any key.

    "key:NoExecute@30" tolerates for 30 seconds.

    >>> toleration_of("gpu").tolerates(taint_of("gpu=a100:NoExecute"))
    True
    >>> toleration_of("gpu=v100").tolerates(taint_of("gpu=a100"))
    False
    >>> toleration_of("gpu:NoExecute@30").seconds
    30
    """
    timed, _, seconds = text.rpartition("@")
    lasting = int(seconds) if seconds.isascii() and seconds.isdigit() and _split_effect(timed)[1] else None
    pair, effect = _split_effect(text if lasting is None else timed)
    key, equal, value = pair.partition("=")
    return Toleration("" if key == "*" else key, "Equal" if equal else "Exists", value, effect, lasting)


def taint_text(taint: Taint) -> str:
    """The text that `taint_of` reads."""
    return f"{taint.key}{'=' + taint.value if taint.value else ''}:{taint.effect}"


def toleration_text(toleration: Toleration) -> str:
    """The text that `toleration_of` reads."""
    value = "" if toleration.operator == "Exists" else f"={toleration.value}"
    effect = f":{toleration.effect}" if toleration.effect else ""
    return f"{toleration.key or '*'}{value}{effect}{'' if toleration.seconds is None else f'@{toleration.seconds}'}"


def _split_effect(text: str) -> tuple[str, str]:
    pair, _, effect = text.rpartition(":")
    return (pair, effect) if effect in EFFECTS and pair else (text, "")
