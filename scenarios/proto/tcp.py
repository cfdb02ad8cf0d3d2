"""The TCP of a simulated host: which connection a segment belongs to, who may open one, and what routers report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from ipaddress import ip_address

from edge.proto.ip import (
    ICMP,
    MINIMUM_MTU,
    Header,
    build_tcp,
    is_ordinary,
    reported_mtu,
    tcp_reset,
    tcp_segment,
)
from edge.proto.ip.tcp import ACK, FIN, RST, SYN, Segment
from edge.proto.types import BadPacket
from scenarios.proto.digest import Rng
from scenarios.proto.tcp_connection import Connection, StreamOwner
from scenarios.proto.tcp_segment import DEFAULT_MSS, SMALLEST_MSS, Options, options_untrusted
from scenarios.proto.tcp_sender import Sender
from scenarios.proto.tcp_state import State, StreamError, StreamEvent, TcpLimits
from scenarios.proto.timer_queue import TimerQueue

HEADERS = {4: 40, 6: 60}
FIRST_PORT, PORTS = 49152, 16384  # RFC 6335: dynamic ports
PATH_MTU_LIFE = 600.0
"""Seconds after which a path may have become wider (RFC 1191 6.3)."""

MAX_PATHS = 1024
MAX_RECENT = 4096

# Codes that say that asking again is useless (RFC 1122 4.2.3.9; RFC 4443 3.1).
_HARD_ICMP = frozenset({(3, 2), (3, 3), (3, 9), (3, 10), (3, 13)})
_HARD_ICMPV6 = frozenset({(1, 1), (1, 4), (1, 5), (1, 6)})

_Key = tuple[bytes, int, int]  # remote address and port, local port


@dataclass(frozen=True, slots=True)
class StackLimits:
    """`mtu` is that of the host's interface; the caps are for the host as a whole."""

    mtu: int = 1420
    max_connections: int = 1024
    backlog: int = 128
    """Connections that strangers may have half open; the oldest makes way for one more."""
    connection: TcpLimits = field(default_factory=TcpLimits)


class TcpStack:
    """Packets and time in, packets and events out. `address` is the host's, packed; ISNs come from `rng`."""

    def __init__(self, address: bytes, rng: Rng, limits: StackLimits | None = None) -> None:
        self.counters: Counter[str] = Counter()
        """Segments that reached no application, by reason."""
        self._address = address
        self._version = 4 if len(address) == 4 else 6
        self._limits = limits or StackLimits()
        self._rng = rng
        self._listeners: dict[int, StreamOwner] = {}
        self._connections: dict[_Key, Connection] = {}
        self._keys: dict[Connection, _Key] = {}
        self._half_open: dict[Connection, None] = {}
        self._waiting: dict[Connection, None] = {}
        self._timers: TimerQueue[Connection] = TimerQueue()
        self._touched: dict[Connection, None] = {}  # may have events
        self._unsent: dict[Connection, None] = {}  # may have segments
        self._resets: list[bytearray] = []
        self._paths: dict[bytes, tuple[int, float]] = {}
        self._recent: dict[_Key, None] = {}
        self._ident = 0
        self._port = rng.getrandbits(14)

    # -- what an application does

    @property
    def connections(self) -> list[Connection]:
        return list(self._keys)

    def listen(self, port: int, owner: StreamOwner) -> None:
        """Accept connections to `port`; the first that `owner` hears of one is CONNECTED."""
        if port in self._listeners:
            raise ValueError(f"port {port} is taken")
        self._listeners[port] = owner

    def stop_listening(self, port: int) -> None:
        self._listeners.pop(port, None)

    def connect(self, remote: tuple[str, int], owner: StreamOwner, now: float) -> Connection:
        """Open a connection. One that cannot be had is CLOSED already, as its event will say."""
        target = ip_address(remote[0]).packed
        port = self._free_port(target, remote[1])
        connection = self._make((target, remote[1], port or 0), owner, self._largest(target, now))
        if len(target) != len(self._address):
            connection.discard(StreamError.UNREACHABLE)
        elif port is None or not self._has_room():
            connection.discard(StreamError.EXHAUSTED)
        else:
            self._add((target, remote[1], port), connection)
        return connection

    # -- what the host does

    def receive(self, packet: bytearray, header: Header, now: float) -> None:
        """An unfragmented segment for this host, its checksum verified."""
        segment = tcp_segment(packet, header)
        key = (header.source, header.source_port, header.destination_port)
        connection = self._connections.get(key)
        mss = DEFAULT_MSS[self._version]
        if segment.flags & SYN:
            try:
                mss = _mss(options_untrusted(segment.options), mss)
            except BadPacket as bad:
                self.counters[bad.reason] += 1
                return
        if connection is not None:
            connection.receive(segment, mss, now)
            self._changed(connection)
        elif segment.flags & (SYN | ACK | RST | FIN) == SYN and header.destination_port in self._listeners:
            self._accept(key, header, segment, mss, now)
        elif (reset := tcp_reset(packet, header)) is not None:
            self.counters["port_closed"] += 1
            self._remember(key)
            self._resets.append(reset)
        else:
            self.counters["stray"] += 1

    def receive_error(self, packet: bytearray, header: Header, inner: Header, now: float) -> bool:
        """An ICMP error that quotes a segment from this host; False if we have had no such connection."""
        key = (inner.destination, inner.destination_port, inner.source_port)
        connection = self._connections.get(key)
        if connection is None:
            return key in self._recent
        at = header.header_length + 8 + inner.header_length + 4
        sequence = int.from_bytes(packet[at : at + 4], "big")
        mtu = reported_mtu(packet, header)
        code = (header.icmp_type, header.icmp_code)
        if mtu is not None:
            if not MINIMUM_MTU[self._version] <= mtu < inner.total_length:
                used = False  # RFC 8201 4: nothing real is smaller, and what fits was not too big
            elif used := connection.path_shrank(sequence, mtu - HEADERS[self._version]):
                self._path_is(inner.destination, mtu, now)
        else:
            hard = code in (_HARD_ICMP if header.protocol == ICMP else _HARD_ICMPV6)
            used = hard and connection.unreachable(sequence)
        self.counters["errors_used" if used else "errors_ignored"] += 1
        return True

    @property
    def idle(self) -> bool:
        """Nothing to send, to tell or to wait for."""
        return not (self._connections or self._resets or self._touched)

    def handle_timeout(self, now: float) -> None:
        while (connection := self._timers.pop_due(now)) is not None:
            connection.handle_timeout(now)
            self._changed(connection)

    def poll_timeout(self) -> float:
        return self._timers.next()

    def poll_transmit(self, now: float) -> list[bytearray]:
        """Packets to send now."""
        packets, self._resets = self._resets, []
        unsent, self._unsent = self._unsent, {}
        for connection in unsent:
            key = self._keys.get(connection)
            if key is None:
                continue  # refused before it began
            for out in connection.poll_transmit(now):
                self._ident = self._ident % 0xFFFF + 1
                packets.append(
                    build_tcp(
                        self._address,
                        key[0],
                        key[2],
                        key[1],
                        sequence=out.sequence,
                        acknowledgment=out.acknowledgment,
                        flags=out.flags,
                        window=out.window,
                        options=out.options,
                        payload=out.payload,
                        ident=self._ident,
                    )
                )
            if connection.state is State.CLOSED:
                self._forget(connection)
            else:
                self._timers.set(connection, connection.poll_timeout())
        return packets

    def poll_events(self) -> list[tuple[Connection, StreamEvent]]:
        """What happened, for each connection's owner, oldest first."""
        touched, self._touched = self._touched, {}
        return [(connection, event) for connection in touched for event in connection.take_events()]

    # -- connections

    def _accept(self, key: _Key, header: Header, segment: Segment, mss: int, now: float) -> None:
        if header.source == self._address or not is_ordinary(header):
            self.counters["bad_source"] += 1
            return
        if len(self._half_open) >= self._limits.backlog:
            self.counters["half_open_evicted"] += 1
            self._drop(next(iter(self._half_open)), StreamError.EXHAUSTED)
        if not self._has_room():
            self.counters["connections_full"] += 1
            return
        owner = self._listeners[header.destination_port]
        connection = self._make(key, owner, min(mss, self._largest(key[0], now)))
        connection.accept(segment)
        self._half_open[connection] = None
        self._add(key, connection)

    def _make(self, key: _Key, owner: StreamOwner, mss: int) -> Connection:
        floor = MINIMUM_MTU[self._version] - HEADERS[self._version]
        limits = self._limits.connection
        return Connection(
            key[2],
            (str(ip_address(key[0])), key[1]),
            owner,
            sender=Sender(self._rng.getrandbits(32), mss, floor, limits.sending),
            announced_mss=self._limits.mtu - HEADERS[self._version],
            limits=limits,
            changed=self._changed,
        )

    def _add(self, key: _Key, connection: Connection) -> None:
        self._connections[key] = connection
        self._keys[connection] = key
        self._changed(connection)

    def _changed(self, connection: Connection) -> None:
        self._touched[connection] = self._unsent[connection] = None
        if connection.state is not State.SYN_RECEIVED:
            self._half_open.pop(connection, None)
        if connection.state is State.TIME_WAIT:
            self._waiting.setdefault(connection)

    def _forget(self, connection: Connection) -> None:
        key = self._keys.pop(connection)
        del self._connections[key]
        self._waiting.pop(connection, None)
        self._timers.cancel(connection)
        self._remember(key)

    def _drop(self, connection: Connection, error: StreamError | None) -> None:
        connection.discard(error)
        self._forget(connection)

    def _has_room(self) -> bool:
        if len(self._keys) >= self._limits.max_connections and self._waiting:
            self._drop(next(iter(self._waiting)), None)
        return len(self._keys) < self._limits.max_connections

    def _remember(self, key: _Key) -> None:
        """Errors about what we sent may come later than the end."""
        self._recent[key] = None
        if len(self._recent) > MAX_RECENT:
            del self._recent[next(iter(self._recent))]

    def _free_port(self, target: bytes, remote_port: int) -> int | None:
        for _ in range(PORTS):
            self._port = (self._port + 1) % PORTS
            port = FIRST_PORT + self._port
            if (target, remote_port, port) not in self._connections:
                return port
        return None

    # -- paths

    def _largest(self, target: bytes, now: float) -> int:
        mtu, until = self._paths.get(target, (self._limits.mtu, 0.0))
        return (mtu if now < until else self._limits.mtu) - HEADERS[self._version]

    def _path_is(self, target: bytes, mtu: int, now: float) -> None:
        self._paths.pop(target, None)
        self._paths[target] = (mtu, now + PATH_MTU_LIFE)
        if len(self._paths) > MAX_PATHS:
            del self._paths[next(iter(self._paths))]


def _mss(options: Options, default: int) -> int:
    return max(SMALLEST_MSS, default if options.mss is None else options.mss)
