"""A network within one process: the NetworkPort for clusters of facades, with faults for those who want them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import numpy as np

from k8slab.domain.raft import Envelope, NetworkPort
from k8slab.domain.raft.errors import ForeignMessage, MemberStopped
from k8slab.errors import InputError


class LocalNetwork(NetworkPort):
    """Delivers messages in the order they were sent, in the thread that sends, before `send` returns.

    If another thread is at it, that one delivers: no member is ever called within another's call, and a
    message waits for nobody's lock but its receiver's.

    loss : probability that a message is lost
    seed : which ones

    >>> network, heard = LocalNetwork(), []
    >>> network.join("b", heard.append)
    >>> from k8slab.domain.raft import Message
    >>> network.send(Envelope("k8slab", Message("heartbeat", "a", "b", 1))); network.cut("b")
    >>> network.send(Envelope("k8slab", Message("heartbeat", "a", "b", 2))); [one.message.term for one in heard]
    [1]
    """

    def __init__(self, *, loss: float = 0.0, seed: int = 0) -> None:
        if not 0.0 <= loss <= 1.0:
            raise InputError(f"loss={loss!r}: wanted a probability, from 0 to 1")
        self._loss = loss
        self._dice = np.random.default_rng(seed)
        self._members: dict[str, Callable[[Envelope], None]] = {}
        self._apart: set[str] = set()
        self._mail: deque[Envelope] = deque()
        self._delivering = threading.Lock()

    def join(self, member: str, receive: Callable[[Envelope], None]) -> None:
        """Messages for this member go to `receive`, in place of any other receiver of its name."""
        self._members[member] = receive

    def leave(self, member: str) -> None:
        """Messages for this member are lost."""
        self._members.pop(member, None)

    def cut(self, member: str) -> None:
        """Nothing reaches this member, and nothing that it says reaches anybody."""
        self._apart.add(member)

    def heal(self) -> None:
        """Everybody reaches everybody."""
        self._apart.clear()

    def send(self, envelope: Envelope) -> None:
        """Deliver a message, and whatever is said in answer."""
        self._mail.append(envelope)
        # Looked at again once the lock is free: what came in between has nobody else to deliver it.
        while self._mail and self._delivering.acquire(blocking=False):
            try:
                while self._mail:
                    self._deliver(self._mail.popleft())
            finally:
                self._delivering.release()

    def _deliver(self, envelope: Envelope) -> None:
        message = envelope.message
        receive = self._members.get(message.target)
        if receive is None or message.source in self._apart or message.target in self._apart:
            return
        if self._loss and self._dice.random() < self._loss:
            return
        try:
            receive(envelope)
        except (ForeignMessage, MemberStopped):
            # Nobody whom the network could tell: the sender goes on as if it had been lost.
            return
