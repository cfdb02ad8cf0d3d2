"""A simulated host on a TUN device: the kernel of this namespace is its only neighbour.

``python -m tests.interop.tun_host`` prints ``ready``, then obeys lines on standard input, one answer each:
``get IP PORT PATH`` and ``post IP PORT PATH SIZE`` print what became of a request. It ends when its input does.
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

from scenarios.proto.host import Host
from scenarios.proto.http import HttpRequest, HttpResponse
from scenarios.proto.http_client import HttpClient, HttpExchange
from scenarios.proto.http_server import HttpServer
from scenarios.proto.ledger import Ledger

KERNEL, ADDRESS, MTU = "10.99.0.1", "10.99.0.2", 1420
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


class Trusting(Ledger):
    """The kernel does not write into it what it sends."""

    def received(self, vnet: str, host: str, packet: bytes | bytearray, now: float) -> None:
        return None


def pattern(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def respond(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        return HttpResponse(body=hashlib.sha256(request.body).hexdigest().encode())
    return HttpResponse(body=pattern(int(request.path.strip("/") or "0")))


def open_tun(name: str) -> int:
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN | _IFF_NO_PI))
    for line in (f"address add {KERNEL}/24 dev {name}", f"link set {name} mtu {MTU} up"):
        subprocess.run(["ip", *line.split()], check=True)
    return device


class TunHost:
    def __init__(self, loss: float) -> None:
        self.device = open_tun("poplab0")
        self.loss = loss
        self.rng = random.Random(7)
        self.host = Host("guest", ADDRESS, vnet="tun", ledger=Trusting(), rng=random.Random(5))
        self.client = HttpClient(max_body=8 << 20)
        self.host.add_stream(HttpServer(80, handler=respond))
        self.host.add_stream(self.client)
        self.waiting: HttpExchange | None = None

    def run(self) -> None:
        selector = selectors.DefaultSelector()
        selector.register(self.device, selectors.EVENT_READ, self.read)
        selector.register(sys.stdin, selectors.EVENT_READ)
        print("ready", flush=True)
        while True:
            wake = max(0.0, min(self.host.poll_timeout() - time.monotonic(), 60.0))
            for key, _ in selector.select(wake):
                if key.data is None:
                    line = sys.stdin.readline()
                    if not line:
                        return
                    self.obey(line.split())
                else:
                    key.data()
            self.host.handle_timeout(time.monotonic())
            self.write()
            self.report()

    def obey(self, words: list[str]) -> None:
        method, host, port, path = words[0].upper(), words[1], int(words[2]), words[3]
        body = pattern(int(words[4])) if len(words) > 4 else b""
        now = time.monotonic()
        self.waiting = self.client.request(method, host, port, path, body=body, now=now, timeout=60.0)

    def report(self) -> None:
        exchange = self.waiting
        if exchange is not None and exchange.ended:
            self.waiting = None
            print(
                exchange.reason or exchange.status,
                len(exchange.body),
                hashlib.sha256(exchange.body).hexdigest(),
                flush=True,
            )

    def read(self) -> None:
        packets = []
        for _ in range(64):
            try:
                packet = bytearray(os.read(self.device, 65536))
            except BlockingIOError:
                break
            if packet[0] >> 4 == 4 and self.rng.random() >= self.loss:
                packets.append(packet)
        self.host.handle_packets(packets, time.monotonic())

    def write(self) -> None:
        for packet in self.host.poll_packets():
            if self.rng.random() >= self.loss:
                os.write(self.device, packet)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--loss", type=float, default=0.0)
    TunHost(parser.parse_args().loss).run()
