"""TCP under tunnels that run over it: a simulated stack at each machine; segments take the paths of datagrams."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from itertools import count

from edge.proto.ip import parse_untrusted
from edge.proto.types import Address, BadPacket, Eof, Octets, Opened, StreamOutput, Written
from edge.proto.types import StreamEvent as Event
from scenarios.proto.digest import Rng
from scenarios.proto.host import checksum_right
from scenarios.proto.tcp import StackLimits, TcpStack
from scenarios.proto.tcp_connection import Connection
from scenarios.proto.tcp_state import StreamEvent

MTU = 1500


class Streams:
    """The TCP connections of one machine, by number, as its core sees them. `address` is its own on the underlay.

    `mtu` is that of its interface: a network whose packets are smaller says so to those who are in it.
    """

    def __init__(self, address: str, rng: Rng, *, mtu: int = MTU) -> None:
        self._address = ip_address(address).packed
        self._rng = rng
        self._limits = StackLimits(mtu=mtu, max_connections=20_000, backlog=4096)
        self._stack = TcpStack(self._address, rng, self._limits)
        self._listening: dict[int, None] = {}
        self._numbers: dict[Connection, int] = {}
        self._connections: dict[int, Connection] = {}
        self._unwritten: dict[int, bytearray] = {}
        self._closing: set[int] = set()
        self._fresh = count(1)
        self._events: list[Event] = []

    def listen(self, port: int) -> None:
        self._listening[port] = None
        self._stack.listen(port, self)

    def reset(self) -> None:
        """All connections break: a NAT has forgotten them, so what they send is answered by a reset.

        The other end hears nothing of it.
        """
        self._stack = TcpStack(self._address, self._rng, self._limits)
        for port in self._listening:
            self._stack.listen(port, self)
        self._events += [Eof(number, "connection reset") for number in self._connections]
        self._numbers.clear()
        self._connections.clear()
        self._unwritten.clear()
        self._closing.clear()

    @property
    def waiting(self) -> int:
        """Octets that were to be written and that TCP has not taken yet."""
        return sum(map(len, self._unwritten.values()))

    def dial(self, number: int, remote: Address, now: float) -> None:
        """Open connection `number`; Opened or Eof tells how it went."""
        connection = self._stack.connect(remote, self, now)
        self._add(number, connection)

    def send(self, outputs: Sequence[StreamOutput]) -> None:
        """Write what fits; the rest follows as the peer takes it."""
        for number, data, close in outputs:
            connection = self._connections.get(number)
            if connection is None:
                continue
            self._unwritten[number] += data
            if close:
                self._closing.add(number)
            self._write(number, connection)

    def receive(self, packets: Sequence[bytes], now: float) -> None:
        """Segments for this machine."""
        for packet in packets:
            try:
                header = parse_untrusted(packet)
            except BadPacket:
                continue
            if not checksum_right(packet, header):
                continue
            self._stack.receive(bytearray(packet), header, now)

    def handle_stream(self, connection: Connection, event: StreamEvent, now: float) -> None:
        """What the stack tells about a connection."""
        number = self._numbers.get(connection)
        if number is None:
            if event is not StreamEvent.CONNECTED:
                return
            number = next(self._fresh)
            self._add(number, connection)
        if event is StreamEvent.CONNECTED:
            self._events.append(Opened(number, connection.remote))
        elif event is StreamEvent.WRITABLE:
            self._write(number, connection)
        elif event is StreamEvent.READABLE:
            data = connection.read()
            if data:  # several of these events may be of one read
                self._events.append(Octets(number, data))
        else:
            self._end(number, connection)

    def poll_events(self, now: float) -> list[Event]:
        """What has happened since the last call."""
        if self._stack.poll_timeout() <= now:
            self._stack.handle_timeout(now)
        for connection, event in self._stack.poll_events():
            self.handle_stream(connection, event, now)
        events, self._events = self._events, []
        return events

    @property
    def has_events(self) -> bool:
        return bool(self._events)

    def poll_transmit(self, now: float) -> list[tuple[str, bytes]]:
        """Segments to send: the other machine's address, IP packet."""
        return [
            (str(ip_address(parse_untrusted(packet).destination)), bytes(packet))
            for packet in self._stack.poll_transmit(now)
        ]

    def poll_timeout(self) -> float:
        return self._stack.poll_timeout()

    def _add(self, number: int, connection: Connection) -> None:
        self._numbers[connection] = number
        self._connections[number] = connection
        self._unwritten[number] = bytearray()

    def _write(self, number: int, connection: Connection) -> None:
        waiting = self._unwritten[number]
        taken = connection.write(waiting) if waiting else 0
        if taken:
            del waiting[:taken]
            self._events.append(Written(number, taken))
        if number in self._closing and not waiting:
            self._closing.discard(number)
            connection.close()

    def _end(self, number: int, connection: Connection) -> None:
        """The peer writes no more: for these protocols that is the end of both directions."""
        if connection.readable:
            self._events.append(Octets(number, connection.read()))
        self._events.append(Eof(number, str(connection.error or "")))
        connection.close()
        del self._numbers[connection], self._connections[number], self._unwritten[number]
        self._closing.discard(number)
