"""The state machine on top of the laboratory's log: keys with values, and each client's last request.

A client repeats a request until it is answered, so the log may hold it twice. The machine
remembers each client's last serial number and answer, and answers again without doing it
again (Raft §8, thesis §6.3): exactly once.
"""

from __future__ import annotations

from typing import NamedTuple

Values = tuple[int, ...]


class Command(NamedTuple):
    """What a client asks: put replaces a key's values by one, append adds one; get only reads."""

    client: int
    serial: int
    kind: str
    key: str
    value: int


class KeyValueMachine:
    """Deterministic: the same commands in the same order give the same state, everywhere.

    sessions : remember what was done for whom; without, a repeated request is done again

    >>> machine = KeyValueMachine()
    >>> append = Command(client=1, serial=1, kind="append", key="x", value=7)
    >>> machine.apply(append), machine.apply(append)
    ((7,), (7,))
    """

    def __init__(self, *, sessions: bool = True) -> None:
        self.values: dict[str, Values] = {}
        self.last: dict[int, tuple[int, Values]] = {}
        self.sessions = sessions

    def apply(self, command: Command) -> Values:
        """Do what a command asks, unless it has been done; the key's values then."""
        serial, answer = self.last.get(command.client, (0, ()))
        if self.sessions and command.serial <= serial:
            return answer
        answer = self.read(command.key)
        if command.kind == "put":
            answer = (command.value,)
        elif command.kind == "append":
            answer = (*answer, command.value)
        self.values[command.key] = answer
        self.last[command.client] = (command.serial, answer)
        return answer

    def read(self, key: str) -> Values:
        return self.values.get(key, ())

    def image(self) -> tuple[dict[str, Values], dict[int, tuple[int, Values]]]:
        """A copy for a snapshot."""
        return dict(self.values), dict(self.last)

    def restore(self, image: tuple[dict[str, Values], dict[int, tuple[int, Values]]]) -> None:
        self.values, self.last = dict(image[0]), dict(image[1])
