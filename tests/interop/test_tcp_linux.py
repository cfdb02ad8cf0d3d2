"""The TCP of simulated hosts and that of the Linux kernel, through a TUN device in a namespace of its own."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.namespaces import Lab, Namespace, Process, missing, wait_for
from tests.interop.tun_host import ADDRESS, KERNEL, pattern

pytestmark = pytest.mark.interop

SIZE = 700_000


class Both:
    """A namespace with a kernel on one side of the device and a simulated host on the other."""

    def __init__(self, space: Namespace, directory: Path, loss: float) -> None:
        self.space, self.directory = space, directory
        self.guest: Process = space.start(
            sys.executable,
            "-m",
            "tests.interop.tun_host",
            "--loss",
            str(loss),
            log=directory / "guest.log",
            interactive=True,
        )
        assert self.guest.read_line() == "ready", self.guest.output()

    def python(self, program: str) -> str:
        """What a program that uses the kernel's sockets prints."""
        return self.space.run(sys.executable, "-c", program).strip()

    def ask(self, line: str) -> list[str]:
        """What the simulated host's client says of a request."""
        assert self.guest.popen.stdin is not None
        self.guest.popen.stdin.write(line + "\n")
        self.guest.popen.stdin.flush()
        return self.guest.read_line().split()


@pytest.fixture(params=[0.0, 0.03], ids=["clean", "lossy"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Both]:
    if reason := missing():
        pytest.skip(reason)
    with Lab() as lab:
        yield Both(lab.namespace("tcp"), tmp_path, request.param)


def digest(size: int) -> str:
    return hashlib.sha256(pattern(size)).hexdigest()


def test_linux_reads_from_and_writes_to_our_server(both: Both) -> None:
    read = (
        "import hashlib, urllib.request as u;"
        f"print(hashlib.sha256(u.urlopen('http://{ADDRESS}/{SIZE}', timeout=60).read()).hexdigest())"
    )
    assert both.python(read) == digest(SIZE)
    write = (
        "import random, urllib.request as u;"
        f"print(u.urlopen('http://{ADDRESS}/', random.Random({SIZE}).randbytes({SIZE}), timeout=60).read().decode())"
    )
    assert both.python(write) == digest(SIZE)


def test_our_client_reads_from_linux(both: Both) -> None:
    (both.directory / "page").write_bytes(pattern(SIZE))
    server = both.space.start(
        sys.executable,
        "-um",
        "http.server",
        "--directory",
        str(both.directory),
        "--bind",
        KERNEL,
        "8000",
        log=both.directory / "server.log",
    )
    wait_for(lambda: "Serving" in server.output(), "the server to listen")
    answer = both.ask(f"get {KERNEL} 8000 /page")
    assert answer == ["200", str(SIZE), digest(SIZE)], server.output()


def test_both_refuse_at_a_closed_port(both: Both) -> None:
    assert both.ask(f"get {KERNEL} 9 /")[0] == "refused"
    program = (
        "import socket\n"
        f"try: socket.create_connection(('{ADDRESS}', 9), 10)\n"
        "except ConnectionRefusedError: print('refused')"
    )
    assert both.python(program) == "refused"
