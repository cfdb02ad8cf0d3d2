"""The four transaction machines of RFC 3261 section 17, with the Accepted state of RFC 6026, as tables.

`TIMERS` says which timers run in a state, `TABLE` what happens on an input. The interpreter below them knows no
state by name, except that the interval of timer E is T2 in Proceeding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from edge.proto.types import NEVER, Address
from scenarios.proto.sip import Request

T1 = 0.5  # estimate of the round trip
T2 = 4.0  # longest interval between retransmissions
T4 = 5.0  # how long a message may linger in the network
TIMEOUT = 64 * T1


class Kind(StrEnum):
    INVITE_CLIENT = "invite client"  # 17.1.1
    CLIENT = "client"  # 17.1.2
    INVITE_SERVER = "invite server"  # 17.2.1
    SERVER = "server"  # 17.2.2


class State(StrEnum):
    CALLING = "calling"
    TRYING = "trying"
    PROCEEDING = "proceeding"
    ACCEPTED = "accepted"  # a 2xx passed; RFC 6026
    COMPLETED = "completed"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


class Timer(NamedTuple):
    """First interval; a timer with a factor runs again, longer each time up to the ceiling."""

    first: float
    factor: float = 0.0
    ceiling: float = NEVER


TIMER = {
    "A": Timer(T1, 2.0),
    "B": Timer(TIMEOUT),
    "D": Timer(32.0),
    "E": Timer(T1, 2.0, T2),
    "F": Timer(TIMEOUT),
    "G": Timer(T1, 2.0, T2),
    "H": Timer(TIMEOUT),
    "I": Timer(T4),
    "J": Timer(TIMEOUT),
    "K": Timer(T4),
    "L": Timer(TIMEOUT),  # RFC 6026
    "M": Timer(TIMEOUT),  # RFC 6026
}
"""Timer C belongs to the proxy, not to a transaction (section 16.6 step 11)."""


class On(StrEnum):
    """What can happen, besides a timer (named by its letter): a message received, or one that the user sends."""

    REQUEST = "request"  # a retransmission of the request
    ACK = "ACK"
    PROVISIONAL = "1xx"
    SUCCESS = "2xx"
    FAILURE = "3xx-6xx"

    @classmethod
    def status(cls, status: int) -> On:
        return cls.PROVISIONAL if status < 200 else cls.SUCCESS if status < 300 else cls.FAILURE


class Do(StrEnum):
    SEND = "send"  # (again) what was sent last
    ACK = "ack"  # acknowledge the failure response, hop by hop
    UP = "up"  # hand the message to the transaction user
    TIMED_OUT = "timed out"  # tell the transaction user


class Step(NamedTuple):
    state: State
    do: tuple[Do, ...] = ()


_S, _K = State, Kind

TIMERS: dict[tuple[Kind, State], str] = {
    (_K.INVITE_CLIENT, _S.CALLING): "AB",
    (_K.INVITE_CLIENT, _S.ACCEPTED): "M",
    (_K.INVITE_CLIENT, _S.COMPLETED): "D",
    (_K.CLIENT, _S.TRYING): "EF",
    (_K.CLIENT, _S.PROCEEDING): "EF",
    (_K.CLIENT, _S.COMPLETED): "K",
    (_K.INVITE_SERVER, _S.ACCEPTED): "L",
    (_K.INVITE_SERVER, _S.COMPLETED): "GH",
    (_K.INVITE_SERVER, _S.CONFIRMED): "I",
    (_K.SERVER, _S.COMPLETED): "J",
}

LIMITS: dict[tuple[Kind, State], str] = {(_K.INVITE_CLIENT, _S.PROCEEDING): "B"}
"""Timers that run only from when the user asks for it: ringing has no end of its own (section 9.1)."""

INITIAL = {
    _K.INVITE_CLIENT: _S.CALLING,
    _K.CLIENT: _S.TRYING,
    _K.INVITE_SERVER: _S.PROCEEDING,
    _K.SERVER: _S.TRYING,
}

TABLE: dict[tuple[Kind, State], dict[str, Step]] = {
    (_K.INVITE_CLIENT, _S.CALLING): {
        "A": Step(_S.CALLING, (Do.SEND,)),
        "B": Step(_S.TERMINATED, (Do.TIMED_OUT,)),
        On.PROVISIONAL: Step(_S.PROCEEDING, (Do.UP,)),
        On.SUCCESS: Step(_S.ACCEPTED, (Do.UP,)),
        On.FAILURE: Step(_S.COMPLETED, (Do.ACK, Do.UP)),
    },
    (_K.INVITE_CLIENT, _S.PROCEEDING): {
        "B": Step(_S.TERMINATED, (Do.TIMED_OUT,)),
        On.PROVISIONAL: Step(_S.PROCEEDING, (Do.UP,)),
        On.SUCCESS: Step(_S.ACCEPTED, (Do.UP,)),
        On.FAILURE: Step(_S.COMPLETED, (Do.ACK, Do.UP)),
    },
    (_K.INVITE_CLIENT, _S.ACCEPTED): {
        On.SUCCESS: Step(_S.ACCEPTED, (Do.UP,)),  # a retransmission, or another fork
        "M": Step(_S.TERMINATED),
    },
    (_K.INVITE_CLIENT, _S.COMPLETED): {
        On.FAILURE: Step(_S.COMPLETED, (Do.ACK,)),
        "D": Step(_S.TERMINATED),
    },
    (_K.CLIENT, _S.TRYING): {
        "E": Step(_S.TRYING, (Do.SEND,)),
        "F": Step(_S.TERMINATED, (Do.TIMED_OUT,)),
        On.PROVISIONAL: Step(_S.PROCEEDING, (Do.UP,)),
        On.SUCCESS: Step(_S.COMPLETED, (Do.UP,)),
        On.FAILURE: Step(_S.COMPLETED, (Do.UP,)),
    },
    (_K.CLIENT, _S.PROCEEDING): {
        "E": Step(_S.PROCEEDING, (Do.SEND,)),
        "F": Step(_S.TERMINATED, (Do.TIMED_OUT,)),
        On.PROVISIONAL: Step(_S.PROCEEDING, (Do.UP,)),
        On.SUCCESS: Step(_S.COMPLETED, (Do.UP,)),
        On.FAILURE: Step(_S.COMPLETED, (Do.UP,)),
    },
    (_K.CLIENT, _S.COMPLETED): {"K": Step(_S.TERMINATED)},
    (_K.INVITE_SERVER, _S.PROCEEDING): {
        On.REQUEST: Step(_S.PROCEEDING, (Do.SEND,)),
        On.PROVISIONAL: Step(_S.PROCEEDING, (Do.SEND,)),
        On.SUCCESS: Step(_S.ACCEPTED, (Do.SEND,)),
        On.FAILURE: Step(_S.COMPLETED, (Do.SEND,)),
    },
    (_K.INVITE_SERVER, _S.ACCEPTED): {
        On.SUCCESS: Step(_S.ACCEPTED, (Do.SEND,)),  # the user's own retransmission (13.3.1.4)
        "L": Step(_S.TERMINATED),
    },
    (_K.INVITE_SERVER, _S.COMPLETED): {
        On.REQUEST: Step(_S.COMPLETED, (Do.SEND,)),
        "G": Step(_S.COMPLETED, (Do.SEND,)),
        On.ACK: Step(_S.CONFIRMED),
        "H": Step(_S.TERMINATED, (Do.TIMED_OUT,)),
    },
    (_K.INVITE_SERVER, _S.CONFIRMED): {"I": Step(_S.TERMINATED)},
    (_K.SERVER, _S.TRYING): {
        On.PROVISIONAL: Step(_S.PROCEEDING, (Do.SEND,)),
        On.SUCCESS: Step(_S.COMPLETED, (Do.SEND,)),
        On.FAILURE: Step(_S.COMPLETED, (Do.SEND,)),
    },
    (_K.SERVER, _S.PROCEEDING): {
        On.REQUEST: Step(_S.PROCEEDING, (Do.SEND,)),
        On.PROVISIONAL: Step(_S.PROCEEDING, (Do.SEND,)),
        On.SUCCESS: Step(_S.COMPLETED, (Do.SEND,)),
        On.FAILURE: Step(_S.COMPLETED, (Do.SEND,)),
    },
    (_K.SERVER, _S.COMPLETED): {
        On.REQUEST: Step(_S.COMPLETED, (Do.SEND,)),
        "J": Step(_S.TERMINATED),
    },
}


@dataclass(slots=True, eq=False)
class Transaction:
    """One request and its responses. `owner` is whatever the transaction user hung on it."""

    kind: Kind
    key: tuple[str, ...]
    request: Request
    peer: Address
    owner: object = None
    state: State = State.TERMINATED
    wire: bytes = b""  # what SEND sends; empty while a server has sent nothing
    ack: bytes = b""  # what ACK sends
    deadlines: dict[str, float] = field(default_factory=dict)
    _stopped: list[str] = field(default_factory=list)
    _intervals: dict[str, float] = field(default_factory=dict)

    @property
    def is_client(self) -> bool:
        return self.kind in (Kind.INVITE_CLIENT, Kind.CLIENT)

    def start(self, now: float) -> None:
        self._enter(INITIAL[self.kind], now)

    def happens(self, what: str, now: float) -> tuple[Do, ...] | None:
        """Take one step; what to do about it, or None if this cannot happen in this state."""
        step = TABLE.get((self.kind, self.state), {}).get(what)
        if step is None:
            return None
        if step.state is not self.state:
            self._enter(step.state, now)
        return step.do

    def expire(self, letter: str, now: float) -> tuple[Do, ...]:
        """Timer `letter` fires."""
        del self.deadlines[letter]
        timer = TIMER[letter]
        if timer.factor:
            longer = (
                T2
                if letter == "E" and self.state is State.PROCEEDING
                else self._intervals[letter] * timer.factor
            )
            self._arm(letter, min(longer, timer.ceiling), now)
        return self.happens(letter, now) or ()

    def limit(self, now: float) -> None:
        """Wait for the final response of a pending INVITE no longer than for that of a new one."""
        for letter in LIMITS.get((self.kind, self.state), ""):
            if letter not in self.deadlines:
                self._arm(letter, TIMER[letter].first, now)

    def stopped(self) -> list[str]:
        """Timers stopped since the last call."""
        stopped, self._stopped = self._stopped, []
        return stopped

    def _enter(self, state: State, now: float) -> None:
        self.state = state
        wanted = TIMERS.get((self.kind, state), "")
        for letter in [letter for letter in self.deadlines if letter not in wanted]:
            del self.deadlines[letter]
            self._stopped.append(letter)
        for letter in wanted:
            if letter not in self.deadlines:  # a timer that both states have goes on running
                self._arm(letter, TIMER[letter].first, now)

    def _arm(self, letter: str, interval: float, now: float) -> None:
        self._intervals[letter] = interval
        self.deadlines[letter] = now + interval
