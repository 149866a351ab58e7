"""StatefulSets: which of a set's numbered pods are made or removed next. Pure.

After kube-controller-manager's stateful_set_control.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from k8slab.domain.columns import NEVER


class Member(NamedTuple):
    """A pod of a set. leaving : told to go, and not gone yet; ready_ns : from when it is ready, NEVER if that isn't
    known"""

    row: int
    ready_ns: int
    leaving: bool


class Step(NamedTuple):
    """What to do now: the numbers to make pods of, the rows to remove, and when to look again; NEVER for not before
    anything changes."""

    make: tuple[int, ...] = ()
    remove: tuple[int, ...] = ()
    again_ns: int = NEVER


def next_step(members: Mapping[int, Member], replicas: int, now_ns: int, *, parallel: bool = False) -> Step:
    """What comes next for a set with these pods, by number, that is to have numbers 0 to replicas - 1.

    In order: a number's pod is made once all before it are ready, so one is replaced at a time; a name is
    given again only when who had it is gone. When all are ready, those beyond go, the highest first.
    parallel : podManagementPolicy Parallel: nobody waits for others

    >>> one = Member(7, 0, False)
    >>> next_step({0: one}, 3, now_ns=5).make, next_step({0: one._replace(ready_ns=9)}, 3, now_ns=5)
    ((1,), Step(make=(), remove=(), again_ns=9))
    """
    beyond = sorted((number for number in members if number >= replicas), reverse=True)
    if parallel:
        gone = tuple(members[number].row for number in beyond if not members[number].leaving)
        return Step(tuple(number for number in range(replicas) if number not in members), gone)
    for number in range(replicas):
        if number not in members:
            return Step(make=(number,))
        if members[number].leaving:
            return Step()
        if members[number].ready_ns > now_ns:
            return Step(again_ns=members[number].ready_ns)
    if beyond and not members[beyond[0]].leaving:
        return Step(remove=(members[beyond[0]].row,), again_ns=now_ns)
    return Step()
