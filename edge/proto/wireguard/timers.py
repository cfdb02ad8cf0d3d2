"""The constants and the five timers of one WireGuard tunnel (whitepaper section 6).

A timer is an absolute time or NEVER. Moving one later costs nothing; the device keeps a single armed deadline
per tunnel and looks again when it fires, so that the data path only ever compares floats.
"""

from __future__ import annotations

from edge.proto.types import NEVER, Deadline

# Specification constants, seconds unless said otherwise (whitepaper 6.1; the reasons are its own).
REKEY_AFTER_MESSAGES = 2**60  # half-way guard: far below the nonce limit, never reached before the time limit
REJECT_AFTER_MESSAGES = 2**64 - 2**13 - 1  # a nonce must not repeat, and the replay window must not wrap
REKEY_AFTER_TIME = 120.0  # the initiator makes a new key after this; only the initiator, so both do not race
REJECT_AFTER_TIME = 180.0  # nobody uses a key after this: bounds what a stolen key opens
REKEY_TIMEOUT = 5.0  # an unanswered initiation is repeated after this
REKEY_ATTEMPT_TIME = 90.0  # and given up after this, so that a dead peer costs nothing
KEEPALIVE_TIMEOUT = 10.0  # a receiver that has nothing to say still answers within this
COOKIE_SECRET_TIME = 120.0  # a cookie proves an address for at most twice this

# Derived or implementation constants.
ERASE_AFTER_TIME = REJECT_AFTER_TIME * 3  # keys, ephemerals and chaining keys are gone after this
MAX_ATTEMPTS = int(REKEY_ATTEMPT_TIME / REKEY_TIMEOUT)
MAX_TIMER_JITTER = 0.334  # two peers that start at the same moment must not stay in step
SILENCE_TIMEOUT = KEEPALIVE_TIMEOUT + REKEY_TIMEOUT  # sent, and heard nothing: the session is dead
LAST_MINUTE_TIME = (
    REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT
)  # a receiving initiator rekeys in time
INITIATION_SPACING = 1 / 50  # at most this many initiations of one peer are worth a Diffie-Hellman


class Timers:
    """When this tunnel wants to be looked at next, and why."""

    __slots__ = (
        "another_keepalive",
        "erase_at",
        "keepalive_at",
        "persistent_at",
        "retransmit_at",
        "silence_at",
    )

    def __init__(self) -> None:
        self.retransmit_at = NEVER
        self.keepalive_at = NEVER
        self.another_keepalive = False  # data came while keepalive_at was already set
        self.silence_at = NEVER
        self.erase_at = NEVER
        self.persistent_at = NEVER

    def earliest(self) -> float:
        return min(self.retransmit_at, self.keepalive_at, self.silence_at, self.erase_at, self.persistent_at)

    def deadline(self) -> Deadline:
        """The next deadline with its name; ``at`` is NEVER if nothing is due."""
        at = self.earliest()
        if at == self.retransmit_at:
            return Deadline(at, "retransmit-handshake")
        if at == self.keepalive_at:
            return Deadline(at, "passive-keepalive")
        if at == self.silence_at:
            return Deadline(at, "new-handshake-after-silence")
        if at == self.erase_at:
            return Deadline(at, "erase-keys")
        return Deadline(at, "persistent-keepalive")

    def clear(self) -> None:
        self.__init__()  # type: ignore[misc]  # the same blank state, stated once
