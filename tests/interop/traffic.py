"""Small traffic programs that run inside a namespace, as `python traffic.py VERB ...`; the answer is JSON.

Nothing but the standard library, so that any interpreter in any namespace can run them. Every program ends by
itself after a bounded time, and earlier when its standard input closes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import select
import socket
import struct
import sys
import time
from collections import Counter
from itertools import pairwise

#: Upper bound for servers, in seconds, in case nobody closes their standard input.
SERVER_LIFE = 900.0
#: How long after its last datagram a flow waits for the echo of it.
LINGER = 1.5
#: Seconds that a TCP transfer may stand still.
TRANSFER = 20.0
FLOOD_SOURCES = 500
#: Linux socket option numbers that this module's oldest Python does not name.
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def echo(address: str, port: int) -> dict[str, object]:
    sources: Counter[str] = Counter()
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as sock:
        sock.bind((address, port))
        print("ready", flush=True)
        deadline = time.monotonic() + SERVER_LIFE
        while time.monotonic() < deadline:
            readable, _, _ = select.select([sock, sys.stdin], [], [], 1.0)
            if sys.stdin in readable and not sys.stdin.readline():
                break
            if sock in readable:
                data, source = sock.recvfrom(65535)
                sources[source[0]] += 1
                sock.sendto(data[:8] + source[0].encode().ljust(len(data) - 8, b"\0"), source)
    return {"sources": dict(sources)}


def flow(address: str, port: int, rate: float, seconds: float, size: int) -> dict[str, object]:
    sent: list[float] = []
    received: dict[int, float] = {}
    duplicates = unsent = 0
    seen_as: set[str] = set()
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)  # whole or not at all
        start = time.monotonic()
        stop = start + seconds
        watched = [sock, sys.stdin]
        while (now := time.monotonic()) < stop + LINGER:
            if now < stop and now >= (due := start + len(sent) / rate):
                try:
                    sock.sendto(struct.pack("!Q", len(sent)).ljust(size, b"x"), (address, port))
                except OSError:
                    unsent += 1  # a full queue or an ICMP error: counts as lost, since nothing will come back
                sent.append(now)
                continue
            due = start + len(sent) / rate if now < stop else stop + LINGER
            readable, _, _ = select.select(watched, [], [], max(0.0, min(due - now, 0.5)))
            if sys.stdin in readable and not sys.stdin.readline():
                watched, stop = [sock], min(stop, now)
            if sock in readable:
                try:
                    data = sock.recv(2048)
                except OSError:
                    continue
                (number,) = struct.unpack("!Q", data[:8])
                duplicates += number in received
                received.setdefault(number, time.monotonic())
                seen_as.add(data[8:].rstrip(b"\0").decode())
    times = sorted(received.values())
    return {
        "sent": len(sent),
        "received": len(received),
        "duplicates": duplicates,
        "unsent": unsent,
        "lost": [n for n in range(len(sent)) if n not in received],
        "longest_gap": max((b - a for a, b in pairwise(times)), default=0.0),
        "sent_at": sent,
        "received_at": times,
        "seen_as": sorted(seen_as),
    }


def ping(address: str, count: int) -> dict[str, object]:
    """ICMP echo by a raw socket; the kernel at the other end answers."""
    six = ":" in address
    protocol = socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP
    request, reply = (128, 129) if six else (8, 0)
    ident = os.getpid() & 0xFFFF
    answered: dict[int, float] = {}
    with socket.socket(family_of(address), socket.SOCK_RAW, protocol) as sock:
        for number in range(count):
            packet = struct.pack("!BBHHH", request, 0, 0, ident, number) + b"poplab".ljust(56, b".")
            if not six:  # for ICMPv6 the kernel computes it, since it covers the addresses
                packet = packet[:2] + struct.pack("!H", checksum(packet)) + packet[4:]
            started = time.monotonic()
            sock.sendto(packet, (address, 0))
            while (left := started + 2.0 - time.monotonic()) > 0 and select.select([sock], [], [], left)[0]:
                data = sock.recv(2048)
                body = data if six else data[(data[0] & 15) * 4 :]
                kind, _, _, got_ident, got_number = struct.unpack("!BBHHH", body[:8])
                if (kind, got_ident, got_number) == (reply, ident, number):
                    answered[number] = time.monotonic() - started
                    break
            time.sleep(0.02)
    return {"sent": count, "received": len(answered), "round_trips": list(answered.values())}


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def tcp_echo(address: str, port: int) -> dict[str, object]:
    """A TCP server that sends back what it got, once the client has said all, and behind it the source that it saw."""
    sources: Counter[str] = Counter()
    with socket.socket(family_of(address), socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen()
        print("ready", flush=True)
        deadline = time.monotonic() + SERVER_LIFE
        while time.monotonic() < deadline:
            readable, _, _ = select.select([listener, sys.stdin], [], [], 1.0)
            if sys.stdin in readable and not sys.stdin.readline():
                break
            if listener in readable:
                sock, source = listener.accept()
                with sock:
                    sources[source[0]] += 1
                    sock.settimeout(TRANSFER)
                    sock.sendall(read_all(sock) + source[0].encode())
    return {"sources": dict(sources)}


def tcp_transfer(address: str, port: int, size: int) -> dict[str, object]:
    """`size` random octets there and back; whether they are the same, and the source that the server saw."""
    data = os.urandom(size)
    with socket.create_connection((address, port), timeout=TRANSFER) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        answer = read_all(sock)
    return {"same": answer[:size] == data, "seen_as": answer[size:].decode(errors="replace")}


def read_all(sock: socket.socket) -> bytes:
    parts = []
    while part := sock.recv(65536):
        parts.append(part)
    return b"".join(parts)


def capture(port: int, kind: int, seconds: float) -> dict[str, object]:
    """The first UDP payload to `port` on any interface whose first byte is `kind`."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800)) as sock:
        print("ready", flush=True)
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([sock], [], [], left)[0]:
                break
            packet = sock.recv(65535)
            header = (packet[0] & 15) * 4
            if packet[9] == socket.IPPROTO_UDP and struct.unpack_from("!H", packet, header + 2)[0] == port:
                payload = packet[header + 8 :]
                if payload[:1] == bytes([kind]):
                    return {"payload": payload.hex()}
    return {"payload": ""}


def ask(address: str, port: int, payload: str, seconds: float) -> dict[str, object]:
    """Send one datagram, list what comes back."""
    answers: list[str] = []
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as sock:
        sock.sendto(bytes.fromhex(payload), (address, port))
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and select.select([sock], [], [], left)[0]:
            answers.append(sock.recv(65535).hex())
    return {"answers": answers}


def flood(
    address: str, port: int, hub_public: str, rate: float, seconds: float, valid: float
) -> dict[str, object]:
    """Handshake initiations that lead nowhere, from many addresses that this namespace calls its own. The share
    `valid` of them has a right mac1, which anybody can compute who knows the hub's public key. Rate 0: no pause."""
    key = hashlib.blake2s(b"mac1----" + bytes.fromhex(hub_public)).digest()
    sockets = []
    for number in range(FLOOD_SOURCES):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((f"198.18.{number // 250}.{number % 250 + 1}", 0))
        sock.setblocking(False)
        sockets.append(sock)
    sent = with_mac1 = bytes_in = 0
    answers: Counter[int] = Counter()
    start = time.monotonic()
    while (now := time.monotonic()) < start + seconds:
        due = min(int((now - start) * rate) - sent, 64) if rate else 64
        for _ in range(due):
            message = b"\1\0\0\0" + os.urandom(112)
            if with_mac1 <= sent * valid and valid:
                mac1 = hashlib.blake2s(message, key=key, digest_size=16).digest()
                with_mac1 += 1
            else:
                mac1 = os.urandom(16)
            sockets[sent % FLOOD_SOURCES].sendto(message + mac1 + bytes(16), (address, port))
            sent += 1
        if due <= 0:
            time.sleep(0.001)
    time.sleep(0.3)
    for sock in sockets:
        try:
            while True:
                answer = sock.recv(2048)
                answers[answer[0]] += 1
                bytes_in += len(answer)
        except BlockingIOError:
            sock.close()
    return {"sent": sent, "bytes_out": sent * 148, "bytes_in": bytes_in, "answers": dict(answers)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(required=True)
    shapes: dict[object, dict[str, type]] = {
        echo: {"address": str, "port": int},
        flow: {"address": str, "port": int, "rate": float, "seconds": float, "size": int},
        ping: {"address": str, "count": int},
        capture: {"port": int, "kind": int, "seconds": float},
        flood: {
            "address": str,
            "port": int,
            "hub_public": str,
            "rate": float,
            "seconds": float,
            "valid": float,
        },
        tcp_echo: {"address": str, "port": int},
        tcp_transfer: {"address": str, "port": int, "size": int},
        ask: {"address": str, "port": int, "payload": str, "seconds": float},
    }
    for program, arguments in shapes.items():
        verb = verbs.add_parser(program.__name__)
        verb.set_defaults(program=program)
        for name, kind in arguments.items():
            verb.add_argument(name, type=kind)
    options = vars(parser.parse_args())
    program = options.pop("program")
    print(json.dumps(program(**options)), flush=True)


if __name__ == "__main__":
    main()
