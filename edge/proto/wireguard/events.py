"""What a device tells its owner."""

from __future__ import annotations

from typing import NamedTuple

from edge.proto.types import Address
from edge.proto.wireguard.tunnel import Tunnel


class HandshakeCompleted(NamedTuple):
    """A session is usable in both directions; `seconds` since the first message of its handshake."""

    tunnel: Tunnel
    initiator: bool
    seconds: float


class HandshakeGivenUp(NamedTuple):
    """REKEY_ATTEMPT_TIME passed without an answer; `dropped` staged packets died with it."""

    tunnel: Tunnel
    dropped: int


class EndpointChanged(NamedTuple):
    """The peer roamed: an authenticated message came from a new outer address."""

    tunnel: Tunnel
    before: Address | None


class TimestampAdvanced(NamedTuple):
    """A newer initiation was accepted: what must survive a crash, else that initiation replays."""

    tunnel: Tunnel


Event = HandshakeCompleted | HandshakeGivenUp | EndpointChanged | TimestampAdvanced
