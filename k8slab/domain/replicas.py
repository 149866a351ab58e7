"""Objects that several members keep alike: their verbs are intents, what they have in mind goes into snapshots."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from functools import partial
from typing import Any

from k8slab.domain.ports import IntentPort


def replicate(thing: Any, name: str, intents: IntentPort, *, verbs: Iterable[str] = (), memory: Iterable[str]) -> None:
    """Let an object be the same for every member that does this to its own, with the same name.

    verbs  : its methods that become intents: called where one decides, carried out by all. What they do must follow
             from their arguments, from what they find in the state and from the object's memory alone
    memory : the attributes that these methods change, and share with no other object

    >>> class Alone:
    ...     def register(self, verb, act): self.act = act
    ...     def decide(self, verb, *given): print(verb, *given); return self.act(*given)
    ...     def keep(self, part, take, put): self.take, self.put = take, put
    >>> intents, heard = Alone(), type("Heard", (), {"words": [], "hear": lambda self, word: self.words.append(word)})()
    >>> replicate(heard, "heard", intents, verbs=["hear"], memory=["words"]); heard.hear("hello")
    heard.hear hello
    >>> kept = intents.take(); heard.hear("you"); intents.put(kept); heard.words
    heard.hear you
    ['hello']
    """
    for verb in verbs:
        intents.register(f"{name}.{verb}", getattr(thing, verb))
        setattr(thing, verb, partial(intents.decide, f"{name}.{verb}"))
    kept = tuple(memory)
    intents.keep(
        name,
        lambda: deepcopy({attribute: getattr(thing, attribute) for attribute in kept}),
        lambda copy: vars(thing).update(copy),
    )
