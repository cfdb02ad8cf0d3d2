"""The words of a simulated TCP connection: its states, what an application hears, why it ends, and its limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from scenarios.proto.tcp_sender import SendLimits


class State(StrEnum):
    """RFC 9293 3.3.2; LISTEN is the stack's."""

    SYN_SENT = "syn_sent"
    SYN_RECEIVED = "syn_received"
    ESTABLISHED = "established"
    FIN_WAIT_1 = "fin_wait_1"
    FIN_WAIT_2 = "fin_wait_2"
    CLOSE_WAIT = "close_wait"
    CLOSING = "closing"
    LAST_ACK = "last_ack"
    TIME_WAIT = "time_wait"
    CLOSED = "closed"


class StreamEvent(StrEnum):
    """What an application hears about its connection."""

    CONNECTED = "connected"
    READABLE = "readable"  # more bytes to read
    WRITABLE = "writable"  # room again after a write that was cut short
    FINISHED = "finished"  # the peer writes no more; what it wrote may still be unread
    CLOSED = "closed"  # over; `error` says why if not in order


class StreamError(StrEnum):
    """Why a connection ended before its time."""

    REFUSED = "refused"  # a reset answered our SYN
    RESET = "reset"
    TIMEOUT = "timeout"  # the peer stopped answering
    UNREACHABLE = "unreachable"  # an ICMP error answered our SYN
    ABORTED = "aborted"  # by our application
    EXHAUSTED = "exhausted"  # more connections than the host may have


@dataclass(frozen=True, slots=True)
class TcpLimits:
    """Times in seconds, sizes in bytes."""

    sending: SendLimits = field(default_factory=SendLimits)
    receive_buffer: int = 0xFFFF
    time_wait: float = 1.0
    linger: float = 120.0
    """How long a connection that our application has closed may go without progress; retries take less."""
    challenge_rate: float = 100.0
    challenge_burst: float = 50.0
    """Acknowledgments in answer to what does not fit (RFC 5961 7), for each connection."""
