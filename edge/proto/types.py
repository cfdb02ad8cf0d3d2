"""Words that every core shares: why a packet died, when to wake up, who may be sent to."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, TypeAlias

Address: TypeAlias = tuple[str, int]
"""Outer UDP address: textual IP (v4, or v6 without scope) and port."""

NEVER = float("inf")
"""A deadline that never comes."""


class Deadline(NamedTuple):
    """When a core wants ``handle_timeout`` called, and what for (a stuck run then reads like a sentence)."""

    at: float
    why: str


class Opened(NamedTuple):
    """A TCP connection to or from `peer` is there. Its number is given by who opened it, or accepted it."""

    connection_id: int
    peer: Address


class Octets(NamedTuple):
    """What came through a TCP connection; never empty."""

    connection_id: int
    data: bytes


class Written(NamedTuple):
    """The system has taken so many octets of what was to be written."""

    connection_id: int
    octets: int


class Eof(NamedTuple):
    """No more will come: it was closed or reset, or never was. `reason` is for people, empty after a clean end."""

    connection_id: int
    reason: str = ""


StreamEvent: TypeAlias = Opened | Octets | Written | Eof
"""What a shell tells a core about TCP connections, in order for each."""


class StreamOutput(NamedTuple):
    """Octets to write to a TCP connection, and whether to close it after them."""

    connection_id: int
    data: bytes
    close: bool = False


class DropReason(StrEnum):
    """Why a packet or datagram died. Closed set: the value is the metric label, the log field, the scenario word."""

    # Outer datagrams, before anything is authenticated.
    MALFORMED = "malformed"  # type, reserved bytes or length of a tunnel message are wrong
    BAD_MAC1 = "bad_mac1"  # the sender does not know our public key
    BAD_COOKIE = "bad_cookie"  # a cookie reply that does not answer a message of ours
    ADDRESS_UNPROVEN = "address_unproven"  # a QUIC token that is forged, too old, or of another address
    COOKIE_SENT = "cookie_sent"  # under load and without a valid mac2: answered with a cookie reply
    HANDSHAKE_RATE = "handshake_rate"  # a source or a peer starts handshakes faster than allowed
    HANDSHAKE_QUEUE_FULL = "handshake_queue_full"  # more handshakes wait than we keep
    HANDSHAKE_FAILED = "handshake_failed"  # does not decrypt, or answers nothing that we asked
    HANDSHAKE_REPLAYED = "handshake_replayed"  # TAI64N not newer than the greatest seen
    LOW_ORDER_POINT = "low_order_point"  # X25519 result is all zero
    UNKNOWN_PEER = "unknown_peer"  # a right handshake by a key that is not configured
    UNKNOWN_SESSION = "unknown_session"  # receiver index is not ours (any more)
    SESSION_EXPIRED = "session_expired"  # older than REJECT_AFTER_TIME or past REJECT_AFTER_MESSAGES
    DECRYPT_FAILED = "decrypt_failed"  # forged, or damaged on the way
    REPLAYED = "replayed"  # counter seen before or behind the window
    OUT_OF_SCOPE = "out_of_scope"  # not what the session was asked for (RFC 9484 section 4.6)

    # Inner packets: what they are.
    BAD_VERSION = "bad_version"  # neither IPv4 nor IPv6
    BAD_LENGTH = "bad_length"  # shorter than its headers say
    BAD_HEADER = "bad_header"  # a field has a value that it must not have
    BAD_CHECKSUM = "bad_checksum"  # of the IPv4 header
    SOURCE_ROUTE = "source_route"  # IPv4 LSRR/SSRR (RFC 7126), IPv6 routing header (RFC 5095)
    HEADER_CHAIN = "header_chain"  # IPv6 extension headers: too many, unknown or incomplete (RFC 7112)
    BOGON = "bogon"  # an address that must not be on this wire
    MULTICAST = "multicast"  # or broadcast: not forwarded
    SPOOFED_SOURCE = "spoofed_source"  # the source does not belong to the tunnel
    TTL_EXCEEDED = "ttl_exceeded"  # its last hop was ours; the sender is told
    FRAGMENT_TINY = "fragment_tiny"  # RFC 1858
    FRAGMENT_OVERLAP = "fragment_overlap"  # RFC 5722
    FRAGMENT_ORPHAN = "fragment_orphan"  # its first fragment never came
    FRAGMENT_LIMIT = "fragment_limit"  # more fragments wait than we keep
    ICMP_FORBIDDEN = "icmp_forbidden"  # redirect, router and neighbour messages
    ICMP_UNSOLICITED = "icmp_unsolicited"  # an error about no live flow of this virtual network
    TOO_BIG = "too_big"  # larger than the egress MTU and not to be fragmented

    # Inner packets: where they go.
    NO_ROUTE = "no_route"  # no tunnel of this virtual network has the destination
    HAIRPIN = "hairpin"  # the route leads back into the tunnel that it came from
    POLICY_BLOCKED = "policy_blocked"  # a rule, a hook or the default said so
    POLICY_REJECTED = "policy_rejected"  # blocked, and the sender was told
    HOOK_FAILED = "hook_failed"  # it raised, which denies
    HOOK_OVERRUN = "hook_overrun"  # it took longer than its budget, which denies
    FLOW_LIMIT = "flow_limit"  # more flows than one tunnel or the virtual network may have
    TUNNEL_DOWN = "tunnel_down"  # the egress got no session in time, or no replica of the site is alive
    QUEUE_FULL = "queue_full"  # the system or a host takes no more now
    LOCAL = "local"  # addressed to the PoP itself
    OTHER = "other"  # none of these, such as an error of the system on sending

    @classmethod
    def of(cls, word: str) -> DropReason:
        """The reason named by `word`, or OTHER: no peer can grow the set."""
        try:
            return cls(word)
        except ValueError:
            return cls.OTHER


class BadPacket(Exception):
    """The only exception that a ``*_untrusted`` parser may raise."""

    def __init__(self, reason: DropReason, detail: str = "", *, rule: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.rule = rule
        """Of the policy that denied it, if one did."""
