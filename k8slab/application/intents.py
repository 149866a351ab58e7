"""What changes a cluster of several facades: decided by the leader, committed by Raft, carried out by all alike."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Final

from k8slab.domain.ports import TimePort
from k8slab.domain.raft.errors import NotCommitted, NotLeader

if TYPE_CHECKING:
    from k8slab.application.consensus_manager import ConsensusManager

# The key that makes an entry of the log an intent.
INTENT: Final = "intent"
# The key of a snapshot, which stands for all intents before it.
_IMAGE: Final = "image"


class Intents:
    """Turns verbs into entries of the log, and entries into verbs. Implements IntentPort.

    clock     : whose time a leader writes into its intents
    lock      : held from deciding to acting, and while entries are carried out; the state's

    Only who leads decides, and only once all of the log is carried out here, an entry of its own term with it:
    so what it decides on is what every member has when it comes to that entry, and no intent of a leader before
    can come in between. One intent is on its way at a time.
    """

    def __init__(self, clock: TimePort) -> None:
        self._clock = clock
        self._verbs: dict[str, Callable[..., Any]] = {}
        self._parts: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {}
        self._committed: deque[dict[str, Any]] = deque()
        self._outcomes: dict[tuple[str, int], tuple[Any, Exception | None]] = {}
        self._serials = itertools.count(1)
        self._at_ns: int | None = None
        self._depth = 0
        self._office = 0

    def connect(
        self,
        consensus: ConsensusManager,
        lock: AbstractContextManager[Any],
        take_over: Callable[[], None],
        wait_s: float,
    ) -> None:
        """Where to propose, and what to do first when this member has come to lead.

        wait_s : how long a decision may take; 0 where messages are delivered by whoever sends them
        """
        self._consensus, self._lock, self._take_over, self._wait_s = consensus, lock, take_over, wait_s

    def now(self) -> int:
        """The decision's time while one is carried out, the clock's otherwise."""
        return self._clock.now() if self._at_ns is None else self._at_ns

    def register(self, verb: str, act: Callable[..., Any]) -> None:
        """How this member carries out decisions of this name."""
        self._verbs[verb] = act

    def keep(self, part: str, take: Callable[[], Any], put: Callable[[Any], object]) -> None:
        """What intents make, a part of every snapshot: `take` copies it, `put` has it from such a copy.

        Parts are put back in the order in which they came.
        """
        self._parts[part] = take, put

    # -- deciding ------------------------------------------------------------------------

    def decide(self, verb: str, *arguments: Any, **named: Any) -> Any:
        """Have a verb decided, and carry it out. See IntentPort."""
        if self._at_ns is not None:
            return self._verbs[verb](*arguments, **named)
        with self.acting():
            if self._at_ns is not None:  # what was to be done before anything else
                return self._verbs[verb](*arguments, **named)
            asked = (self._consensus.member_id, next(self._serials))
            intent = {
                INTENT: verb, "arguments": arguments, "named": named, "at_ns": self._clock.now(), "by": asked,
            }  # fmt: skip
            # A member of this name that was here before may have used these numbers; all of that is carried out by now.
            self._outcomes.clear()
            self._consensus.propose_and_wait(intent, self._office, self._wait_s)
            self.catch_up()
            if asked not in self._outcomes:
                self._office = 0
                raise NotCommitted(
                    f"member {asked[0]!r} could not have {verb!r} committed: it leads no more, or hears no majority. "
                    "It may yet take effect: look, then ask again"
                )
            outcome, error = self._outcomes.pop(asked)
            if error is not None:
                raise error
            return outcome

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Read, decide and act within this: NotLeader unless this member leads and knows all that was decided."""
        with self._lock:
            self.catch_up()
            if self._depth == 0:
                self._take_office()
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1

    def _take_office(self) -> None:
        consensus = self._consensus
        term = consensus.settled_term(self._wait_s)
        self.catch_up()
        if not term:
            self._office = 0
            leader = consensus.leader
            who = f"{leader!r} does" if leader and leader != consensus.member_id else "nobody is known to"
            raise NotLeader(f"member {consensus.member_id!r} can't decide: it doesn't lead now, {who}")
        if term != self._office:
            self._office = term
            self._depth += 1
            try:
                self._take_over()
            except BaseException:
                self._office = 0
                raise
            finally:
                self._depth -= 1

    # -- carrying out --------------------------------------------------------------------

    def committed(self, entry: dict[str, Any]) -> None:
        """An entry was committed: it is carried out as soon as somebody has the lock and looks."""
        self._committed.append(entry)

    def restored(self, image: dict[str, Any]) -> None:
        """A snapshot stands for all that was committed before it, whether that was carried out here or not."""
        self._committed.clear()
        self._committed.append({_IMAGE: image})

    def catch_up(self) -> None:
        """Carry out all that is committed, in order; when there is much of it, let a snapshot stand for it."""
        with self._lock:
            if self._at_ns is not None:
                return
            while self._committed:
                entry = self._committed.popleft()
                if INTENT in entry:
                    self._carry_out(entry)
                elif _IMAGE in entry:
                    self._put(entry[_IMAGE])
            self._consensus.compact(self._image)

    def _image(self) -> dict[str, Any] | None:
        """All parts as they are after the last entry that was applied; None if there are some to carry out yet."""
        if self._committed:
            return None
        return {"at_ns": self._clock.now(), "parts": {part: take() for part, (take, _) in self._parts.items()}}

    def _put(self, image: dict[str, Any]) -> None:
        self._at_ns = image["at_ns"]
        try:
            for part, copy in image["parts"].items():
                self._parts[part][1](copy)
        finally:
            self._at_ns = None

    def _carry_out(self, intent: dict[str, Any]) -> None:
        self._at_ns = intent["at_ns"]
        outcome, error = None, None
        try:
            outcome = self._verbs[intent[INTENT]](*intent["arguments"], **intent["named"])
        except Exception as refused:
            # A verb that raises has changed nothing, here as everywhere: whoever asked for it is told.
            error = refused
        finally:
            self._at_ns = None
        if intent["by"][0] == self._consensus.member_id:
            self._outcomes[tuple(intent["by"])] = outcome, error
