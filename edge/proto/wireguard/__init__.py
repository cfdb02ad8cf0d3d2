"""WireGuard, both roles, sans-IO. Start with ``device.Device``; comments name the whitepaper's sections."""

from edge.proto.wireguard.device import Device
from edge.proto.wireguard.events import (
    EndpointChanged,
    Event,
    HandshakeCompleted,
    HandshakeGivenUp,
    TimestampAdvanced,
)
from edge.proto.wireguard.noise import Identity
from edge.proto.wireguard.tai64n import TimestampClock
from edge.proto.wireguard.tunnel import Aead, Tunnel

__all__ = [
    "Aead",
    "Device",
    "EndpointChanged",
    "Event",
    "HandshakeCompleted",
    "HandshakeGivenUp",
    "Identity",
    "TimestampAdvanced",
    "TimestampClock",
    "Tunnel",
]
