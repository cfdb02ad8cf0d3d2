"""A simulated host on a TUN device, one address of each family: the kernel of this namespace is its only neighbour.

``python -m tests.interop.tun_host`` prints ``ready``, then obeys lines on standard input, one answer each:
``get IP PORT PATH`` and ``post IP PORT PATH SIZE`` print what became of a request; the words of `Wires` are those
of ``tcp_peer``, which does the same with the sockets of a kernel. ``hold`` and ``release`` stop what it sends
meanwhile, ``deaf`` throws away the ICMP errors that it gets. It ends when its input does.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import random
import selectors
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from edge.proto.ip import is_error, parse_untrusted
from edge.proto.types import NEVER
from scenarios.proto.host import Host
from scenarios.proto.http import HttpRequest, HttpResponse
from scenarios.proto.http_client import HttpClient
from scenarios.proto.http_server import HttpServer
from scenarios.proto.ledger import Ledger
from scenarios.proto.tcp import TcpStack
from scenarios.proto.tcp_connection import Connection
from scenarios.proto.tcp_state import State, StreamEvent

KERNEL, ADDRESS, MTU = "10.99.0.1", "10.99.0.2", 1420
KERNEL6, ADDRESS6 = "fd99::1", "fd99::2"
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000

Answer = Callable[[], "str | None"]
"""Looked at again and again; None as long as there is none."""


class Trusting(Ledger):
    """The kernel does not write into it what it sends."""

    def received(self, vnet: str, host: str, packet: bytes | bytearray, now: float) -> None:
        return None


def pattern(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def told(data: bytes | bytearray) -> str:
    return f"{len(data)} {hashlib.sha256(data).hexdigest()}"


def respond(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        return HttpResponse(body=hashlib.sha256(request.body).hexdigest().encode())
    return HttpResponse(body=pattern(int(request.path.strip("/") or "0")))


def open_tun(name: str, mtu: int) -> int:
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN | _IFF_NO_PI))
    for line in (
        f"address add {KERNEL}/24 dev {name}",
        f"-6 address add {KERNEL6}/64 dev {name} nodad",
        f"link set {name} mtu {mtu} up",
    ):
        subprocess.run(["ip", *line.split()], check=True)
    return device


@dataclass
class Wire:
    """A connection that reads only when it is told to."""

    connection: Connection
    pending: bytearray = field(default_factory=bytearray)
    closing: bool = False

    @property
    def over(self) -> bool:
        return self.connection.state in (State.CLOSED, State.TIME_WAIT)

    def go_on(self) -> None:
        if self.pending:
            del self.pending[: self.connection.write(bytes(self.pending))]
        if self.closing and not self.pending:
            self.connection.close()


class Wires:
    """Connections by name. Every word returns where its answer comes from."""

    def __init__(self) -> None:
        self.stacks: list[TcpStack] = []
        self.wires: dict[str, Wire] = {}
        self.strangers: deque[Connection] = deque()

    def attach(self, tcp: TcpStack) -> None:
        self.stacks.append(tcp)

    def handle_stream(self, connection: Connection, event: StreamEvent, now: float) -> None:
        wire = next((wire for wire in self.wires.values() if wire.connection is connection), None)
        if wire is not None:
            wire.go_on()
        elif event is StreamEvent.CONNECTED:
            self.strangers.append(connection)

    def handle_timeout(self, now: float) -> None:
        """Nothing here waits."""

    def poll_timeout(self) -> float:
        return NEVER

    def poll_event(self) -> None:
        return None

    def listen(self, port: str) -> Answer:
        for stack in self.stacks:
            stack.listen(int(port), self)
        return lambda: "ok"

    def open(self, name: str, ip: str, port: str) -> Answer:
        connection = self.stacks[":" in ip].connect((ip, int(port)), self, time.monotonic())
        self.wires[name] = Wire(connection)
        return lambda: str(connection.local_port)

    def opened(self, name: str) -> Answer:
        connection = self.wires[name].connection
        waiting = (State.SYN_SENT, State.SYN_RECEIVED)
        return lambda: None if connection.state in waiting else str(connection.error or "connected")

    def accepted(self, name: str) -> Answer:
        def look() -> str | None:
            if not self.strangers:
                return None
            self.wires[name] = Wire(self.strangers.popleft())
            return "ok"

        return look

    def send(self, name: str, size: str) -> Answer:
        wire = self.wires[name]
        wire.pending += pattern(int(size))
        wire.go_on()
        return lambda: "ok"

    def sent(self, name: str) -> Answer:
        wire = self.wires[name]
        return lambda: str(wire.connection.error or "ok") if wire.over or not wire.pending else None

    def stuck(self, name: str) -> Answer:
        wire = self.wires[name]
        return lambda: "yes" if wire.pending else "no"

    def read(self, name: str, size: str) -> Answer:
        wire, data = self.wires[name], bytearray()

        def look() -> str | None:
            data.extend(wire.connection.read(int(size) - len(data)))
            if len(data) == int(size):
                return told(data)
            return str(wire.connection.error) if wire.over else None

        return look

    def rest(self, name: str) -> Answer:
        wire, data = self.wires[name], bytearray()

        def look() -> str | None:
            data.extend(wire.connection.read())
            if wire.connection.at_end:
                return told(data)
            return str(wire.connection.error) if wire.over else None

        return look

    def close(self, name: str) -> Answer:
        """After what is being sent."""
        wire = self.wires[name]
        wire.closing = True
        wire.go_on()
        return lambda: "ok"

    def abort(self, name: str) -> Answer:
        self.wires[name].connection.abort()
        return lambda: "ok"

    def ended(self, name: str) -> Answer:
        wire = self.wires[name]
        return lambda: str(wire.connection.error or "orderly") if wire.over else None

    def mss(self, name: str) -> Answer:
        return lambda: str(self.wires[name].connection.mss)

    def state(self, name: str) -> Answer:
        return lambda: str(self.wires[name].connection.state)


class TunHost:
    def __init__(self, loss: float, mtu: int) -> None:
        self.device = open_tun("poplab0", mtu)
        self.loss = loss
        self.rng = random.Random(7)
        ledger = Trusting()
        self.hosts = {
            version: Host("guest", address, vnet="tun", ledger=ledger, rng=random.Random(version))
            for version, address in ((4, ADDRESS), (6, ADDRESS6))
        }
        self.wires = Wires()
        self.client = HttpClient(max_body=8 << 20)
        self.hosts[4].add_stream(HttpServer(80, handler=respond))
        self.hosts[4].add_stream(self.client)
        for host in self.hosts.values():
            host.add_stream(self.wires)
        self.holds = self.deaf = False
        self.unsent: list[bytes | bytearray] = []
        self.waiting: Answer | None = None

    def run(self) -> None:
        selector = selectors.DefaultSelector()
        selector.register(self.device, selectors.EVENT_READ, self.read)
        selector.register(sys.stdin, selectors.EVENT_READ)
        print("ready", flush=True)
        while True:
            due = min(host.poll_timeout() for host in self.hosts.values())
            for key, _ in selector.select(max(0.0, min(due - time.monotonic(), 60.0))):
                if key.data is None:
                    line = sys.stdin.readline()
                    if not line:
                        return
                    self.waiting = self.obey(*line.split())
                else:
                    key.data()
            self.turn()
            answer = self.waiting() if self.waiting is not None else None
            if answer is not None:
                self.waiting = None
                print(answer, flush=True)
            self.turn()  # what was read makes room, of which the peer is told

    def obey(self, word: str, *rest: str) -> Answer:
        match word:
            case "get" | "post":
                return self.request(word.upper(), *rest)
            case "hold" | "release":
                self.holds = word == "hold"
            case "deaf":
                self.deaf = True
            case _:
                act: Callable[..., Answer] = getattr(self.wires, word)
                return act(*rest)
        return lambda: "ok"

    def request(self, method: str, ip: str, port: str, path: str, size: str = "0") -> Answer:
        body, now = pattern(int(size)), time.monotonic()
        exchange = self.client.request(method, ip, int(port), path, body=body, now=now, timeout=60.0)
        return lambda: (
            f"{exchange.reason or exchange.status} {told(exchange.body)}" if exchange.ended else None
        )

    def read(self) -> None:
        packets: dict[int, list[bytearray]] = {4: [], 6: []}
        for _ in range(64):
            try:
                packet = bytearray(os.read(self.device, 65536))
            except BlockingIOError:
                break
            version = packet[0] >> 4
            target = packet[16:20] if version == 4 else packet[24:40]
            if target != self.hosts[version].packed or self.rng.random() < self.loss:
                continue
            if not (self.deaf and is_error(parse_untrusted(packet))):
                packets[version].append(packet)
        for version, some in packets.items():
            self.hosts[version].handle_packets(some, time.monotonic())

    def turn(self) -> None:
        for host in self.hosts.values():
            host.handle_timeout(time.monotonic())
            self.unsent += host.poll_packets()
        if self.holds:
            return
        for packet in self.unsent:
            if self.rng.random() >= self.loss:
                os.write(self.device, packet)
        self.unsent.clear()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--loss", type=float, default=0.0)
    parser.add_argument("--mtu", type=int, default=MTU)
    arguments = parser.parse_args()
    TunHost(arguments.loss, arguments.mtu).run()
