"""MASQUE through a whole PoP: its process forwards between tunnels over loopback, beside aioquic alone in memory.

The load is bounded in packets and in seconds. `python -m tests.benchmarks.masque` prints the figures; what counts is
the CPU time of the PoP's process over what was delivered, and the ratio within one run.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path

from connectors.proto.choice import Health
from connectors.proto.way import Way
from connectors.ways import MasqueTarget, masque_ways
from edge.io.udp import UdpPort
from edge.proto.ip import build_udp
from edge.proto.types import Address
from tests.benchmarks.load import cpu_seconds
from tests.benchmarks.quic import Alone, Pop, cost

SIZE = 1200
BATCH = 8
LIMIT = 60.0  # seconds that any part may take
FLYING = 64  # packets under way


@dataclass(frozen=True)
class Tunnel:
    name: str
    token: str
    address: bytes


class Process:
    """`poplab edge` with so many MASQUE clients; nothing is left of it afterwards."""

    def __init__(self, folder: Path, count: int) -> None:
        self.tunnels = [
            Tunnel(
                f"c{n}", secrets.token_urlsafe(32), ip_address("100.96.0.2").packed[:2] + (2 + n).to_bytes(2)
            )
            for n in range(count)
        ]
        poplab = [sys.executable, "-m", "scenarios", "edge"]
        run = [
            *poplab,
            "init",
            str(folder),
            "--listen",
            f"127.0.0.1:{_free()}",
            "--listen-masque",
            f"127.0.0.1:{_free()}",
        ]
        subprocess.run(run, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        text = (folder / "edge.yaml").read_text()
        self.address: Address = ("127.0.0.1", int(text.split('masque: "127.0.0.1:')[1].split('"')[0]))
        (folder / "edge.yaml").write_text(
            text.replace("9180", str(_free())).replace("100.96.0.0/24", "100.96.0.0/16")
        )
        for tunnel in self.tunnels:
            (folder / "tunnels.d" / f"{tunnel.name}.yaml").write_text(
                f"kind: client\nvnet: lab\ntunnel: masque\naddresses: [{ip_address(tunnel.address)}]\n"
                f"token_sha256: {sha256(tunnel.token.encode()).hexdigest()}\n"
            )
        self.ca = next(folder.glob("*ca*.crt")).read_bytes()
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            [*poplab, "--config", str(folder / "edge.yaml")], stdout=self._log, stderr=self._log
        )
        self.pid = self._process.pid
        try:
            _wait(lambda: b"serving" in (folder / "log").read_bytes())
        except SystemExit:
            sys.stderr.buffer.write((folder / "log").read_bytes())
            raise

    @property
    def resident_kb(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._log.close()


class Caller:
    """One tunnel's far end over HTTP/3, on a socket of its own."""

    def __init__(self, process: Process, tunnel: Tunnel) -> None:
        target = MasqueTarget(
            process.address,
            "127.0.0.1",
            ca=process.ca,
            user=tunnel.name,
            token=tunnel.token.encode(),
            http2=False,
        )
        self.address = tunnel.address
        self.port = UdpPort.bind(("127.0.0.1", 0), reads=16)
        self.way: Way = masque_ways(target, rng=os.urandom)[0]
        self.received = 0
        now = time.monotonic()
        self.way.begin(now)
        self.flush()

    def turn(self) -> None:
        now = time.monotonic()
        self.received += len(self.way.turn(self.port.receive(), (), now))
        self.flush()

    def flush(self) -> None:
        self.port.send(self.way.poll_transmit())

    @property
    def up(self) -> bool:
        return self.way.health(time.monotonic()) is Health.UP


def _free() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _wait(done: Callable[[], bool]) -> None:
    until = time.monotonic() + LIMIT
    while not done():
        if time.monotonic() > until:
            raise SystemExit("the PoP does not come up")
        time.sleep(0.005)


@contextmanager
def serving(count: int) -> Iterator[Process]:
    with tempfile.TemporaryDirectory(prefix="poplab-bench-") as folder:
        process = Process(Path(folder) / "pop", count)
        try:
            yield process
        finally:
            process.close()


def connect(process: Process, tunnels: list[Tunnel]) -> list[Caller]:
    """All of them up, a few at a time."""
    callers: list[Caller] = []
    until = time.monotonic() + LIMIT
    for tunnel in tunnels:
        caller = Caller(process, tunnel)
        while not caller.up:
            if time.monotonic() > until:
                raise SystemExit(f"{tunnel.name} does not come up")
            caller.port.poll(0.02)
            caller.turn()
        callers.append(caller)
    return callers


def forward(process: Process, pairs: list[tuple[Caller, Caller]], packets: int) -> tuple[float, float]:
    """(microseconds of the PoP per delivered packet, share that was delivered)."""
    ends = [caller for pair in pairs for caller in pair]
    sent = lost = 0
    before, start = cpu_seconds(process.pid), time.monotonic()
    arrived_before = sum(caller.received for _, caller in pairs)
    arrived, last = 0, start
    while time.monotonic() < start + LIMIT and (sent < packets or arrived + lost < sent):
        if sent < packets and sent - arrived - lost < FLYING * len(pairs):
            for near, far in pairs:
                packet = build_udp(near.address, far.address, 4000, 5000, bytes(SIZE - 28))
                near.way.seal([bytearray(packet) for _ in range(BATCH)], time.monotonic())
                near.flush()
                sent += BATCH
        for caller in ends:
            caller.turn()
        now_arrived = sum(caller.received for _, caller in pairs) - arrived_before
        if now_arrived > arrived:
            arrived, last = now_arrived, time.monotonic()
        elif time.monotonic() > last + 0.3:  # what has not come by now is lost
            lost, last = sent - arrived, time.monotonic()
    spent = cpu_seconds(process.pid) - before
    return spent / max(1, arrived) * 1e6, arrived / max(1, sent)


def main(packets: int = 20_000, tunnels: int = 200, runs: int = 3) -> None:
    print(f"{SIZE} byte packets between MASQUE tunnels; batches of {BATCH}; median of {runs}")
    ours, alone, memory = [], [], []
    for _ in range(runs):
        with serving(2) as process:
            near, far = connect(process, process.tunnels)
            forward(process, [(near, far)], packets // 10)
            ours.append(forward(process, [(near, far)], packets))
        alone.append(cost(Alone().forward, BATCH, packets // 2))
        memory.append(cost(Pop().forward, BATCH, packets // 2))
    floor = sorted(alone)[runs // 2]
    cpu, share = sorted(ours)[runs // 2]
    in_memory = sorted(memory)[runs // 2]
    print(
        f"the PoP, one pair: {cpu:.1f} us, {share:.1%} delivered; aioquic alone {floor:.1f} us; ratio {cpu / floor:.2f}"
    )
    print(f"ours in memory, QUIC only: {in_memory:.1f} us; ratio {in_memory / floor:.2f}")
    with serving(tunnels) as process:
        idle, before = process.resident_kb, cpu_seconds(process.pid)
        callers = connect(process, process.tunnels)
        handshake = (cpu_seconds(process.pid) - before) / tunnels * 1e3
        each = (process.resident_kb - idle) / tunnels
        pairs = list(zip(callers[::2], callers[1::2], strict=True))
        cpu, share = forward(process, pairs, packets)
    print(f"{tunnels} tunnels: handshake {handshake:.2f} ms of the PoP, {each:.0f} KB each")
    print(
        f"{tunnels // 2} pairs at once: {cpu:.1f} us per packet, {share:.1%} delivered; ratio {cpu / floor:.2f}"
    )


if __name__ == "__main__":
    main()
