"""Load on a WireGuard hub, from its own namespace: `python -m tests.benchmarks.load VERB ...`; answers JSON.

What is measured is the hub's CPU time from /proc/PID/stat, over what was delivered. That survives a noisy
machine far better than a rate does. Every verb is bounded in packets and in seconds.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import select
import socket
import struct
import time
from dataclasses import dataclass

from tests.benchmarks import packets, peers
from tests.benchmarks.initiator import OVERHEAD, RESPONSE, TRANSPORT, Initiator

HUB = ("127.0.0.1", 51820)
SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
#: Sealed packets that are held in memory at a time.
CHUNK = 40_000
#: No verb sends for longer than this, in seconds.
LIMIT = 60.0
TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Measurement:
    sent: int
    received: int
    seconds: float
    cpu_seconds: float


class Caller:
    """One peer: a socket and a session with the hub."""

    def __init__(self, number: int, hub_public: bytes) -> None:
        self.number = number
        self.address = peers.address(number)
        self.session = Initiator(peers.private_key(number), hub_public)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        for option in (SO_SNDBUFFORCE, SO_RCVBUFFORCE):
            try:
                self.socket.setsockopt(socket.SOL_SOCKET, option, 16 << 20)
            except PermissionError:
                break  # without privilege the default has to do; the window keeps within it

    def call(self, tries: int = 5, patience: float = 1.0) -> None:
        for _ in range(tries):
            self.socket.sendto(self.session.initiation(time.time()), HUB)
            if self._answered(patience):
                self.keepalive()  # the hub may use the session only after it heard from us in it
                return
        raise SystemExit(f"peer {self.number}: no answer to {tries} initiations")

    def keepalive(self) -> None:
        self.socket.sendto(self.session.seal(b""), HUB)

    def _answered(self, patience: float) -> bool:
        deadline = time.monotonic() + patience
        while (left := deadline - time.monotonic()) > 0 and select.select([self.socket], [], [], left)[0]:
            answer = self.socket.recv(2048)
            if answer[0] == RESPONSE and answer[8:12] == self.session.index:
                self.session.finish(answer)
                return True
        return False


def cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def probe(sender: Caller, receiver: Caller, size: int) -> None:
    """One packet across, compared byte for byte: a hub that cheats is not worth measuring."""
    packet = packets.udp(sender.address, receiver.address, size, 7)
    for _ in range(5):
        sender.socket.sendto(sender.session.seal(packet), HUB)
        while select.select([receiver.socket], [], [], 1.0)[0]:
            datagram = receiver.socket.recv(4096)
            if datagram[0] == TRANSPORT and len(datagram) > OVERHEAD:
                got = receiver.session.open(datagram)[: len(packet)]
                assert packets.same_but_for_the_hop(packet, got), "the hub altered the packet"
                return
    raise SystemExit("the hub does not forward")


def bulk(pid: int, hub_public: bytes, count: int, size: int) -> Measurement:
    """One pair, bursts of equal packets: what UDP GRO and GSO were made for."""
    sender, receiver = Caller(0, hub_public), Caller(1, hub_public)
    receiver.call()
    sender.call()
    probe(sender, receiver, size)
    receiver.socket.setsockopt(SOL_UDP, UDP_GRO, 1)
    receiver.socket.setblocking(False)
    total = Measurement(0, 0, 0.0, 0.0)
    for first in range(0, count, CHUNK):
        numbers = range(first, min(first + CHUNK, count))
        sealed = [
            sender.session.seal(packets.udp(sender.address, receiver.address, size, number))
            for number in numbers
        ]
        receiver.keepalive()
        time.sleep(0.05)
        before = cpu_seconds(pid)
        received, seconds = _blast(sender.socket, receiver.socket, sealed)
        total.cpu_seconds += cpu_seconds(pid) - before
        total.sent += len(sealed)
        total.received += received
        total.seconds += seconds
    return total


def _blast(
    out: socket.socket, into: socket.socket, sealed: list[bytes], window: int = 400
) -> tuple[int, float]:
    size = len(sealed[0])
    burst = min(40, 65_000 // size)
    blobs = [b"".join(sealed[at : at + burst]) for at in range(0, len(sealed), burst)]
    segments = [(SOL_UDP, UDP_SEGMENT, struct.pack("H", size))]
    buffer = bytearray(65536)
    flying = received = position = 0
    start = last = time.monotonic()
    while time.monotonic() - start < LIMIT:
        if position < len(blobs) and flying < window:
            out.sendmsg([blobs[position]], segments, 0, HUB)
            flying += len(blobs[position]) // size
            position += 1
        else:
            select.select([into], [], [], 0.02)
        try:
            while True:
                length, ancillary, _, _ = into.recvmsg_into([buffer], 64)
                segment = struct.unpack("=i", ancillary[0][2][:4])[0] if ancillary else length
                if segment == size:
                    received += length // size
                    flying -= length // size
                    last = time.monotonic()
        except BlockingIOError:
            pass
        if received >= len(sealed):
            break
        if time.monotonic() - last > 0.5:  # what has not come by now is lost
            if position >= len(blobs):
                break
            flying, last = 0, time.monotonic()
    return received, last - start


def mix(pid: int, hub_public: bytes, count: int, size: int, pairs: int) -> dict[str, Measurement]:
    """Many pairs, one small packet of each in turn, so that nothing can be coalesced. Its sessions are the
    handshake
    measurement."""
    callers = [Caller(number, hub_public) for number in range(2 * pairs)]
    rounds = max(1, 2000 // len(callers))
    start, before = time.monotonic(), cpu_seconds(pid)
    for _ in range(rounds):
        for caller in callers:
            caller.call()
    time.sleep(0.05)
    handshakes = rounds * len(callers)
    handshake = Measurement(handshakes, handshakes, time.monotonic() - start, cpu_seconds(pid) - before)

    senders, receivers = callers[::2], callers[1::2]
    probe(senders[0], receivers[0], size)
    by_descriptor = {receiver.socket.fileno(): receiver.socket for receiver in receivers}
    poll = select.epoll()
    for descriptor, sock in by_descriptor.items():
        sock.setblocking(False)
        poll.register(descriptor, select.EPOLLIN)
    inbox = _Inbox(poll, by_descriptor)
    while inbox.drain(0.1):
        pass
    total = Measurement(0, 0, 0.0, 0.0)
    per_chunk = max(1, CHUNK // pairs)
    for first in range(0, max(1, count // pairs), per_chunk):
        numbers = range(first, min(first + per_chunk, max(1, count // pairs)))
        sealed = [
            (sender.socket, sender.session.seal(packets.udp(sender.address, receiver.address, size, number)))
            for number in numbers
            for sender, receiver in zip(senders, receivers, strict=True)
        ]
        before = cpu_seconds(pid)
        received, seconds = _interleave(sealed, inbox)
        total.cpu_seconds += cpu_seconds(pid) - before
        total.sent += len(sealed)
        total.received += received
        total.seconds += seconds
    return {"handshake": handshake, "mix": total}


class _Inbox:
    def __init__(self, poll: select.epoll, sockets: dict[int, socket.socket]) -> None:
        self._poll, self._sockets = poll, sockets

    def drain(self, timeout: float) -> int:
        """How many data packets came in; keepalives do not count."""
        count = 0
        for descriptor, _ in self._poll.poll(timeout, 256):
            receive = self._sockets[descriptor].recv
            try:
                while True:
                    datagram = receive(2048)
                    count += datagram[0] == TRANSPORT and len(datagram) > OVERHEAD
            except BlockingIOError:
                pass
        return count


def _interleave(
    sealed: list[tuple[socket.socket, bytes]], inbox: _Inbox, window: int = 200
) -> tuple[int, float]:
    received = lost = 0
    start = last = time.monotonic()
    for sent, (sock, datagram) in enumerate(sealed, 1):
        sock.sendto(datagram, HUB)
        if sent % 32:
            continue
        if got := inbox.drain(0):
            received, last = received + got, time.monotonic()
        while sent - received - lost > window:
            if got := inbox.drain(0.002):
                received, last = received + got, time.monotonic()
            elif time.monotonic() - last > 0.3:
                lost = sent - received
        if time.monotonic() - start > LIMIT:
            break
    while received < len(sealed) and time.monotonic() - last < 0.3:
        if got := inbox.drain(0.05):
            received, last = received + got, time.monotonic()
    return received, last - start


def ready(hub_public: bytes, number: int) -> dict[str, float]:
    """When the hub first answers this peer, on the clock that all processes share."""
    print("ready", flush=True)
    caller = Caller(number, hub_public)
    caller.call(tries=int(LIMIT / 0.02), patience=0.02)
    return {"answered_at": time.monotonic()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=["bulk", "mix", "ready"])
    parser.add_argument("--hub-public", type=base64.b64decode, required=True)
    parser.add_argument("--pid", type=int)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=200)
    parser.add_argument("--peer", type=int, default=0)
    parser.add_argument("--pairs", type=int, default=500)
    options = parser.parse_args()
    answer: object
    if options.verb == "bulk":
        answer = vars(bulk(options.pid, options.hub_public, options.count, options.size))
    elif options.verb == "mix":
        parts = mix(options.pid, options.hub_public, options.count, options.size, options.pairs)
        answer = {name: vars(part) for name, part in parts.items()}
    else:
        answer = ready(options.hub_public, options.peer)
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
