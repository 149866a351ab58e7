"""Every error k8slab raises on purpose: one small tree.

    K8slabError
    ├── InputError (ValueError)         what was handed in can't be used: a frame, a file, an option
    │   ├── QuantityError               "1.5Gib" is no Kubernetes quantity
    │   ├── UnknownName                 no policy, column or node of that name; the nearest is said
    │   ├── MembershipError             a change of a Raft cluster's members that can't be made now
    │   ├── EntryTooLarge               a proposal larger than Raft's configuration allows
    │   └── ForeignMessage              a Raft message of another cluster, or of no member
    ├── NotEnoughCapacity               a verb would put more on a node than it has
    ├── AdmissionRefused                a quota or limit of its namespace keeps a pod out
    ├── StateConflict                   a verb that the state forbids: binding a pod that is bound
    │   ├── LogConflict                 a Raft log would contradict what is committed: the member must stop
    │   ├── StoreLies                   a Raft member's store holds what it can't have left there
    │   ├── MemberStopped               a Raft member that has stopped answers nothing
    │   └── NotLeader                   only the leader of a cluster decides
    │       └── NotCommitted            it led, but its majority could not be reached: perhaps decided, perhaps not
    ├── MetricUnavailable               an autoscaler's metric can't be evaluated now; `code` says why
    ├── InvariantBroken                 the Raft lab saw what must never happen; `rule` names it
    ├── PluginError                     a user's plug-in returned NaN, a wrong shape, did not compile
    ├── OutputError (OSError)           a folder or file can't be written
    └── Interrupted (KeyboardInterrupt) Ctrl-C; `partial` holds what was already computed

Those that only one part raises stand there: in `k8slab.domain.raft.errors`, `k8slab.domain.autoscaling.values`,
`k8slab.simulation.raft_invariants`.
"No node fits" is none of these: it is a result.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class K8slabError(Exception):
    """Root of every error that k8slab raises on purpose.

    `partial` is the result of what had finished when it was raised, if there is one.
    """

    partial: Any = None


class InputError(K8slabError, ValueError):
    """What was handed in can't be used; the message says what was found and what is wanted."""


class QuantityError(InputError):
    """A text that is no Kubernetes quantity."""


class UnknownName(InputError):
    """A name that nothing has; the message gives the nearest one that exists."""

    def __init__(self, kind: str, name: object, known: Iterable[str], hint: str = "") -> None:
        options = sorted(known)
        folded = {option.casefold(): option for option in options}
        near = difflib.get_close_matches(str(name).casefold(), folded, n=1, cutoff=0.5)
        guess = f"; did you mean {folded[near[0]]!r}?" if near else "."
        # A few names help, a thousand don't.
        listing = f" Known: {', '.join(options)}." if 0 < len(options) <= 30 else ""
        super().__init__(f"unknown {kind} {str(name)!r}{guess}{listing}{' ' + hint if hint else ''}")


class NotEnoughCapacity(K8slabError):
    """A node can't hold what a verb would put on it."""


class AdmissionRefused(K8slabError):
    """A pod that its namespace's quotas or limits don't admit; the message says what is used, and the limit."""


class StateConflict(K8slabError):
    """A verb that the state of a pod or node forbids."""


class PluginError(K8slabError):
    """A user's plug-in failed, returned NaN or a wrong shape, or did not compile."""


class OutputError(K8slabError, OSError):
    """A folder or file that can't be written."""


class Interrupted(K8slabError, KeyboardInterrupt):
    """Ctrl-C came; `partial` is the result of what had finished by then."""

    def __init__(self, message: str, partial: Any = None) -> None:
        super().__init__(message)
        self.partial = partial
