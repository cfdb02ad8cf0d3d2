"""What runs on a simulated machine: applications over UDP, TCP and ICMP, as their host drives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeAlias

from scenarios.proto.tcp import TcpStack

TTL = 64
"""Of what a host sends (RFC 1700)."""

Endpoint = tuple[str, int]
"""Textual IP and port, as seen on the wire."""


class App(Protocol):
    """An application on a host: datagrams and time in, datagrams and typed events out."""

    def wants(self, port: int) -> bool:
        """Whether the UDP port is open now."""
        ...

    def handle_datagram(self, local_port: int, source: Endpoint, data: bytes, now: float) -> None: ...

    def poll_transmit(self) -> list[tuple[int, Endpoint, bytes]]:
        """Datagrams to send: (local port, destination, payload)."""
        ...

    def handle_timeout(self, now: float) -> None: ...

    def poll_timeout(self) -> float: ...

    def poll_event(self) -> object | None: ...


class EchoReply(NamedTuple):
    """An answer to a ping, as `EchoApp` gets it."""

    source: str
    ident: int
    sequence: int
    payload: bytes


class EchoRequest(NamedTuple):
    """A ping to send."""

    destination: str
    ident: int
    sequence: int
    payload: bytes
    ttl: int = TTL


Taker: TypeAlias = Callable[[Endpoint, bytes | bytearray, int, float], bool]
"""The short way of a datagram into an application: source, packet, where in it the payload begins, now.

True if that was all: nothing to send, no other deadline, nothing to tell. False, with nothing done, for what has to go
the long way.
"""


class MediaApp(App, Protocol):
    """An application that takes most datagrams without a word."""

    def taker(self, port: int) -> Taker | None:
        """The short way to an open port, if there is one now. It closes by itself."""
        ...


class EchoApp(App, Protocol):
    """An application that pings."""

    def handle_echo_reply(self, reply: EchoReply, now: float) -> None: ...

    def poll_echo_requests(self) -> list[EchoRequest]: ...


class StreamApp(Protocol):
    """An application over TCP: it opens connections, or listens, with the stack of its host.

    Who opens or listens names the `StreamOwner` that hears what happens, usually itself.
    """

    def attach(self, tcp: TcpStack) -> None:
        """Its host is known from now on."""
        ...

    def handle_timeout(self, now: float) -> None: ...

    def poll_timeout(self) -> float: ...

    def poll_event(self) -> object | None: ...
