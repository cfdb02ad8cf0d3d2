"""A simulated machine: an address, applications over UDP and TCP, ping, and a memory of what reached it.

It is the packet side of a client's tunnel, or a member of a `Lan` behind a connector. It verifies every
checksum, and shows each packet that arrives to the world's `Ledger`, which knows who sent it.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from struct import Struct, error
from typing import NamedTuple, Protocol, cast

from edge.proto.ip import (
    ICMP,
    ICMPV6,
    TCP,
    UDP,
    Header,
    Unreachable,
    build_icmp_echo,
    checksum,
    echo,
    fragment_ipv4,
    is_error,
    parse_untrusted,
    quoted_untrusted,
    reported_mtu,
    transport_checksum,
    udp_builder,
    udp_payload,
    unreachable,
)
from edge.proto.types import NEVER, BadPacket
from scenarios.proto.app import App, EchoApp, EchoReply, EchoRequest, Endpoint, MediaApp, StreamApp, Taker
from scenarios.proto.digest import Rng
from scenarios.proto.ledger import Ledger
from scenarios.proto.tcp import StackLimits, TcpStack

_KEPT_ERRORS = 100
ETHERNET_MTU = 1500
MAX_REMEMBERED = 4096
"""Sources, ports and flows that a host remembers: whoever may send to it chooses them."""

# version+IHL+TOS, total length, identification, fragment bits + TTL + protocol, checksum, both addresses, both ports,
# UDP length, UDP checksum
_unpack4 = Struct(">HHHIHQIHH").unpack_from


@dataclass(slots=True)
class Seen:
    """What arrived from one source address, as IP packets and their bytes."""

    packets: int = 0
    bytes: int = 0


class IcmpError(NamedTuple):
    """An error that a router or a host sent about a packet of ours."""

    at: float
    source: str
    icmp_type: int
    icmp_code: int
    about: str
    mtu: int | None = None
    """That it names, if it says that the packet was too big."""
    size: int = 0
    """Of the packet that it quotes, as that says of itself."""


class HostEvent(NamedTuple):
    """Something that an application said, with its time and place."""

    at: float
    host: Host
    app: App | StreamApp
    event: object


class Tap(Protocol):
    """Sees copies of what passes the network card of a host."""

    def sent(self, host: Host, packets: Sequence[bytes], now: float) -> None: ...

    def received(self, host: Host, packets: Sequence[bytes], now: float) -> None: ...


class _Known:
    """A conversation: where its datagrams go, and what counts them."""

    __slots__ = ("app", "key", "port", "seen", "source", "take")

    def __init__(self, app: App, port: int, source: Endpoint, seen: Seen) -> None:
        self.app = app
        self.port = port
        self.source = source
        self.seen = seen
        self.key = (source[0], port)
        self.take: Taker | None = None


class _Way:
    """From a port of ours to a destination: what all datagrams there have in common."""

    __slots__ = ("build", "flow")

    def __init__(
        self,
        flow: tuple[int, bytes, int, int],
        build: Callable[[bytes | bytearray | memoryview, int], bytearray],
    ) -> None:
        self.flow = flow
        self.build = build


class Host:
    """Sans-IO; the shell calls handle_packets and handle_timeout, and after each of them poll_packets.

    TCP needs `rng`, for its initial sequence numbers; a host without it knows no TCP. `mtu` is that of its interface,
    which says no to what is larger.
    """

    def __init__(
        self,
        name: str,
        address: str,
        *,
        vnet: str,
        ledger: Ledger,
        rng: Rng | None = None,
        mtu: int = ETHERNET_MTU,
        tcp_limits: StackLimits | None = None,
    ) -> None:
        self.name = name
        self.address = str(ip_address(address))
        self.packed = ip_address(address).packed
        self.vnet = vnet
        self.mtu = mtu
        self.apps: list[App] = []
        self.stream_apps: list[StreamApp] = []
        self.tcp = None if rng is None else TcpStack(self.packed, rng, tcp_limits)
        self.seen: defaultdict[str, Seen] = defaultdict(Seen)
        self.port_bytes: Counter[tuple[str, int]] = Counter()
        """UDP payload bytes by (source address, local port): who sent how much to which application."""
        self.counters: Counter[str] = Counter()
        """Packets that were not for an application, by reason; ``sent`` and ``received`` count all."""
        self.icmp_errors: deque[IcmpError] = deque(maxlen=_KEPT_ERRORS)
        self.on_event: Callable[[HostEvent], None] | None = None
        self.tap: Tap | None = None
        self.settled = False
        """After ``handle_packets``: it has nothing to send and no other deadline than before."""
        self.watchers: list[Callable[[Header, int], None]] = []
        """Told the header and the size of what arrives for this host, fragments too; not of conversations under way."""
        self._ledger = ledger
        self._out: list[bytearray] = []
        # Sent: protocol, destination, ports; the latest last.
        self._flows: dict[tuple[int, bytes, int, int], None] = {}
        self._pingers: list[EchoApp] = []
        self._takers: dict[App, MediaApp] = {}
        self._streams: TcpStack | None = None  # once there is a reason to look at it
        # Addresses and ports of IPv4 datagrams that came before -> whose they are; see _receive_known.
        self._known: dict[tuple[int, int], _Known] = {}
        self._ways: dict[tuple[int, Endpoint], _Way] = {}
        self._packed: dict[str, bytes] = {self.address: self.packed}
        self._latest: tuple[int, bytes, int, int] | None = None
        self._ident = 0
        self._now = 0.0

    def add(self, app: App) -> None:
        self.apps.append(app)
        if hasattr(app, "poll_echo_requests"):
            self._pingers.append(cast("EchoApp", app))
        if hasattr(app, "taker"):
            self._takers[app] = cast("MediaApp", app)

    def add_stream(self, app: StreamApp) -> None:
        """Run an application over TCP; ValueError if this host has none."""
        if self.tcp is None:
            raise ValueError(f"{self.name} knows no TCP: it was made without rng")
        app.attach(self.tcp)
        self._streams = self.tcp
        self.stream_apps.append(app)

    # -- the packet side of a tunnel

    def handle_packets(self, packets: list[bytearray], now: float) -> None:
        self._now = now
        self.settled = True
        if self.tap is not None:
            self.tap.received(self, [bytes(packet) for packet in packets], now)
        for packet in packets:
            if not self._receive_known(packet):
                self.settled = False
                self._receive(packet)
        if not self.settled:
            self._events()

    def poll_packets(self) -> list[bytearray]:
        for app in self.apps:
            for local_port, destination, payload in app.poll_transmit():
                self._send_udp(local_port, destination, payload)
        for pinger in self._pingers:
            for request in pinger.poll_echo_requests():
                self._send_echo(request)
        streams = self._streams
        if streams is not None and not streams.idle:
            for packet in streams.poll_transmit(self._now):
                self._send(packet)
        out, self._out = self._out, []
        if self.tap is not None:
            self.tap.sent(self, [bytes(packet) for packet in out], self._now)
        return out

    def handle_timeout(self, now: float) -> None:
        self._now = now
        for app in self.apps:
            if app.poll_timeout() <= now:
                app.handle_timeout(now)
        streams = self._streams
        if streams is not None and not streams.idle:
            streams.handle_timeout(now)
        for stream_app in self.stream_apps:
            if stream_app.poll_timeout() <= now:
                stream_app.handle_timeout(now)
        self._events()

    def poll_timeout(self) -> float:
        wake = NEVER
        for app in self.apps:
            at = app.poll_timeout()
            if at < wake:
                wake = at
        streams = self._streams
        if streams is not None and not streams.idle:
            wake = min(wake, streams.poll_timeout())
        for stream_app in self.stream_apps:
            wake = min(wake, stream_app.poll_timeout())
        return wake

    # -- receiving

    def _receive_known(self, packet: bytearray) -> bool:
        """The short way for what most packets are: a good IPv4 datagram of a conversation that has begun.

        False, with nothing done, if it is not: then the long way says what it is.
        """
        try:
            word0, total, ident, bits, check, addresses, ports, length, data_check = _unpack4(packet)
        except error:
            return False
        known = self._known.get((addresses, ports))
        if (
            known is None
            or word0 >> 8 != 0x45
            or bits & 0x3FFF00FF != UDP  # no fragment
            or total != len(packet)
            or length != total - 20
            or not data_check
            or (word0 + total + ident + bits + check + addresses) % 0xFFFF
        ):
            return False
        # A right header is a multiple of 0xffff, so the sum over all of the packet is that over the datagram.
        number = int.from_bytes(packet, "big")
        if total & 1:
            number <<= 8
        if (addresses + UDP + length + number) % 0xFFFF:
            return False
        now, take = self._now, known.take
        taken = take is not None and take(known.source, packet, 28, now)
        if not taken and not known.app.wants(known.port):
            return False
        self.counters["received"] += 1
        if self._ledger.received(self.vnet, self.name, packet, now) is not None:
            self.counters["not_as_sent"] += 1
        seen = known.seen
        seen.packets += 1
        seen.bytes += total
        self.port_bytes[known.key] += length - 8
        if not taken:
            self.settled = False
            known.app.handle_datagram(known.port, known.source, bytes(packet[28:]), now)
            self._shorten(known)
        return True

    def _receive(self, packet: bytearray) -> None:
        now = self._now
        self.counters["received"] += 1
        try:
            header = parse_untrusted(packet)
        except BadPacket as bad:
            self.counters[bad.reason] += 1
            return
        del packet[header.total_length :]
        if header.destination != self.packed:
            self.counters["misdelivered"] += 1
            self._ledger.misdelivered(self.vnet, self.name, header, now)
            return
        for watcher in self.watchers:
            watcher(header, header.total_length)
        if header.is_fragment:
            self.counters["fragments"] += 1  # our applications send what fits; nothing is put together here
            return
        if not checksum_right(packet, header):
            self.counters["bad_checksum"] += 1
            return
        if is_error(header) and self._receive_error(packet, header):
            return
        if self._ledger.received(self.vnet, self.name, packet, now) is not None:
            self.counters["not_as_sent"] += 1
        source = self._count_source(header)
        if header.protocol == UDP:
            self._receive_udp(packet, header, source)
        elif header.protocol in (ICMP, ICMPV6):
            self._receive_icmp(packet, header, source)
        elif header.protocol == TCP and self.tcp is not None:
            self._streams = self.tcp
            self.tcp.receive(packet, header, self._now)
        else:
            self.counters["no_such_protocol"] += 1

    def _count_source(self, header: Header) -> str:
        source = str(ip_address(header.source))
        if source in self.seen or len(self.seen) < MAX_REMEMBERED:
            seen = self.seen[source]
            seen.packets += 1
            seen.bytes += header.total_length
        return source

    def _note_error(self, packet: bytearray | bytes, header: Header, inner: Header, now: float) -> None:
        """An ICMP error about a packet of ours."""
        self.counters["icmp_errors"] += 1
        about = f"{ip_address(inner.destination)}:{inner.destination_port}"
        source = str(ip_address(header.source))
        mtu = reported_mtu(packet, header)
        self.icmp_errors.append(
            IcmpError(now, source, header.icmp_type, header.icmp_code, about, mtu, inner.total_length)
        )

    def _receive_udp(self, packet: bytearray, header: Header, source: str) -> None:
        data = bytes(udp_payload(packet, header))
        key = (source, header.destination_port)
        if key in self.port_bytes or len(self.port_bytes) < MAX_REMEMBERED:
            self.port_bytes[key] += len(data)
        for app in self.apps:
            if app.wants(header.destination_port):
                endpoint = (source, header.source_port)
                app.handle_datagram(header.destination_port, endpoint, data, self._now)
                if header.version == 4 and header.header_length == 20 and key in self.port_bytes:
                    self._know(packet, _Known(app, header.destination_port, endpoint, self.seen[source]))
                return
        self.counters["port_unreachable"] += 1
        answer = unreachable(packet, header, self.packed, Unreachable.PORT)
        if answer is not None:
            self._send(answer)

    def _know(self, packet: bytearray, known: _Known) -> None:
        if len(self._known) >= MAX_REMEMBERED:
            self._known.clear()
        *_, addresses, ports, _, _ = _unpack4(packet)
        self._known[addresses, ports] = known
        self._shorten(known)

    def _shorten(self, known: _Known) -> None:
        """The application may have a shorter way now, or none any more."""
        taking = self._takers.get(known.app)
        known.take = None if taking is None else taking.taker(known.port)

    def _receive_icmp(self, packet: bytearray, header: Header, source: str) -> None:
        ping = echo(packet, header)
        if ping is None:
            self.counters["other_icmp"] += 1
        elif ping.is_request:
            self.counters["echo_requests"] += 1
            ident, sequence = ping.ident, ping.sequence
            self._send(
                build_icmp_echo(
                    self.packed,
                    header.source,
                    ident=ident,
                    sequence=sequence,
                    payload=ping.payload,
                    reply=True,
                )
            )
        else:
            reply = EchoReply(source, ping.ident, ping.sequence, bytes(ping.payload))
            for app in self.apps:
                handle = getattr(app, "handle_echo_reply", None)
                if handle is not None:
                    handle(reply, self._now)

    def _receive_error(self, packet: bytearray, header: Header) -> bool:
        """Note an ICMP error about a packet of ours; False if we never sent what it quotes."""
        try:
            inner = quoted_untrusted(packet, header)
        except BadPacket as bad:
            self.counters[bad.reason] += 1
            return True
        if inner is None:
            return False
        if inner.protocol == TCP and self.tcp is not None:
            known = self.tcp.receive_error(packet, header, inner, self._now)
        else:
            known = False
        flow = (inner.protocol, inner.destination, inner.source_port, inner.destination_port)
        if not known and flow not in self._flows:
            return False
        self._note_error(packet, header, inner, self._now)
        return True

    # -- sending

    def send_packet(self, packet: bytes | bytearray, now: float) -> None:
        """Put any packet on the wire, a false one too. The ledger believes it if its source is this host."""
        self._now = now
        source = packet[12:16] if packet[:1] and packet[0] >> 4 == 4 else packet[8:24]
        self.counters["sent"] += 1
        if source == self.packed:
            self._ledger.sent(self.vnet, self.name, packet, now)
        self._out.append(bytearray(packet))

    def output(self, packet: bytearray, now: float) -> int | None:
        """Send a packet of this host's own as its system would: in pieces if it is larger than the interface takes.

        Returns the interface's MTU, with nothing sent, if it must not be cut.
        """
        header = parse_untrusted(packet)
        self._now = now
        pieces = [packet]
        if len(packet) > self.mtu:
            if header.dont_fragment:
                return self.mtu
            pieces = fragment_ipv4(packet, self.mtu)
        self._remember((header.protocol, header.destination, header.source_port, header.destination_port))
        for piece in pieces:
            self._send(piece)
        return None

    def _send_udp(self, local_port: int, destination: Endpoint, payload: bytes) -> None:
        way = self._ways.get((local_port, destination)) or self._open(local_port, destination)
        if way is None:
            self.counters["no_address_of_family"] += 1
            return
        if way.flow is not self._latest:
            self._remember(way.flow)
        self._ident = ident = self._ident % 0xFFFF + 1
        packet = way.build(payload, ident)
        if len(packet) <= self.mtu:
            self._send(packet)
        else:
            self._send_cut(packet)

    def _open(self, local_port: int, destination: Endpoint) -> _Way | None:
        """The way there; None if it is in the other address family."""
        target = self._pack(destination[0])
        if len(target) != len(self.packed):
            return None
        if len(self._ways) >= MAX_REMEMBERED:
            self._ways.clear()
        build = udp_builder(self.packed, target, local_port, destination[1])
        way = self._ways[local_port, destination] = _Way((UDP, target, local_port, destination[1]), build)
        return way

    def _send_echo(self, request: EchoRequest) -> None:
        target = ip_address(request.destination).packed
        if len(target) != len(self.packed):
            self.counters["no_address_of_family"] += 1
            return
        self._remember((ICMP if len(target) == 4 else ICMPV6, target, 0, 0))
        packet = build_icmp_echo(
            self.packed,
            target,
            ident=request.ident,
            sequence=request.sequence,
            payload=request.payload,
            ttl=request.ttl,
        )
        if len(packet) <= self.mtu:
            self._send(packet)
        else:
            self._send_cut(packet)

    def _send_cut(self, packet: bytearray) -> None:
        """What is larger than the interface takes goes in pieces without DF, as systems do it; in IPv6 not at all."""
        if packet[0] >> 4 == 6:
            self.counters["too_big"] += 1
            return
        packet[6] &= 0xBF  # fragment_ipv4 makes checksums anew
        for piece in fragment_ipv4(packet, self.mtu):
            self._send(piece)

    def _pack(self, address: str) -> bytes:
        packed = self._packed.get(address)
        if packed is None:
            if len(self._packed) >= MAX_REMEMBERED:
                self._packed.clear()
            packed = self._packed[address] = ip_address(address).packed
        return packed

    def _remember(self, flow: tuple[int, bytes, int, int]) -> None:
        if flow == self._latest:
            return
        self._latest = flow
        self._flows.pop(flow, None)
        self._flows[flow] = None
        if len(self._flows) > MAX_REMEMBERED:
            del self._flows[next(iter(self._flows))]

    def _send(self, packet: bytearray) -> None:
        self.counters["sent"] += 1
        self._ledger.sent(self.vnet, self.name, packet, self._now)
        self._out.append(packet)

    def _events(self) -> None:
        streams = self._streams
        if streams is not None and not streams.idle:
            while happenings := streams.poll_events():
                for connection, happened in happenings:
                    connection.owner.handle_stream(connection, happened, self._now)
        for stream_app in self.stream_apps:
            while (event := stream_app.poll_event()) is not None:
                self._tell(stream_app, event)
        for app in self.apps:
            while (event := app.poll_event()) is not None:
                self._tell(app, event)

    def _tell(self, app: App | StreamApp, event: object) -> None:
        if self.on_event is not None:
            self.on_event(HostEvent(self._now, self, app, event))


def checksum_right(packet: bytes | bytearray, header: Header) -> bool:
    """Whether the transport's checksum fits, where there is one."""
    segment = memoryview(packet)[header.header_length : header.total_length]
    if header.protocol == ICMP:
        return checksum(segment) == 0
    if header.protocol == UDP and header.version == 4 and not any(segment[6:8]):
        return True  # RFC 768: the sender made none
    if header.protocol in (UDP, ICMPV6, TCP):
        return transport_checksum(header.source, header.destination, header.protocol, segment) == 0
    return True
