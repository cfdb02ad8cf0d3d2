"""The TCP of simulated hosts and that of the Linux kernel, through a TUN device in a namespace of its own.

Every test that has two roles is done with both: ours begins and the kernel answers, and the other way round.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.interop.namespaces import Lab, Namespace, Process, missing, wait_for
from tests.interop.tun_host import ADDRESS, ADDRESS6, KERNEL, KERNEL6, MTU, pattern, told

pytestmark = pytest.mark.interop

SIZE = 700_000
SMALL_MTU = 1280
FAR, FAR6 = "10.98.0.2", "fd98::2"
"""A kernel behind a router."""


class End:
    """One side: a program that obeys the words of ``tun_host`` and ``tcp_peer``."""

    def __init__(
        self, space: Namespace, module: str, log: Path, *arguments: str, at: tuple[str, str]
    ) -> None:
        self.space, self.addresses, self.log = space, at, log
        command = [sys.executable, "-m", f"tests.interop.{module}", *arguments]
        self.process: Process = space.start(*command, log=log, interactive=True)
        assert self.process.read_line() == "ready", self.process.output()

    def ask(self, line: str) -> str:
        self.begin(line)
        return self.answer()

    def begin(self, line: str) -> None:
        """Ask, and hear the answer later: until then it can be asked nothing else."""
        assert self.process.popen.stdin is not None
        self.process.popen.stdin.write(line + "\n")
        self.process.popen.stdin.flush()

    def answer(self) -> str:
        line = self.process.read_line()
        assert line, self.process.output()
        return line


class Both(NamedTuple):
    """A simulated host on one side of the device and a kernel on the other, or behind it."""

    guest: End
    kernel: End
    directory: Path

    def python(self, program: str) -> str:
        """What a program that uses the kernel's sockets prints."""
        return self.kernel.space.run(sys.executable, "-c", program).strip()

    def roles(self, opener: str) -> tuple[End, End]:
        """Who opens, who listens."""
        return (self.guest, self.kernel) if opener == "ours" else (self.kernel, self.guest)

    def joined(self, opener: str, version: int) -> tuple[End, End]:
        """A connection that both call `c`; first who opened it."""
        active, passive = self.roles(opener)
        assert passive.ask("listen 5000") == "ok"
        active.ask(f"open c {passive.addresses[version == 6]} 5000")
        assert passive.ask("accepted c") == "ok"
        assert active.ask("opened c") == "connected"
        return active, passive

    def wait_for_probes(self, sender: End) -> None:
        """Until it has asked twice whether a shut window is open again, as the kernel counts it."""
        # kernels differ in how they call a probe of ours: data for a window of nothing, or data beyond the window
        counters = ["TCPWinProbe"] if sender is self.kernel else ["TCPZeroWindowDrop", "BeyondWindow"]
        wait_for(
            lambda: sum(int(self.kernel.ask(f"count {counter}")) for counter in counters) > 1,
            "a second probe of a shut window",
        )


@contextmanager
def neighbours(directory: Path, loss: float = 0.0) -> Iterator[Both]:
    """The kernel is at the other end of the device."""
    with Lab() as lab:
        space = lab.namespace("tcp")
        guest = End(space, "tun_host", directory / "guest.log", "--loss", str(loss), at=(ADDRESS, ADDRESS6))
        yield Both(guest, End(space, "tcp_peer", directory / "kernel.log", at=(KERNEL, KERNEL6)), directory)


@contextmanager
def routed(directory: Path) -> Iterator[Both]:
    """The kernel is behind a router; both links of that carry less than the ends think, either way."""
    with Lab() as lab:
        router, far = lab.namespace("router"), lab.namespace("far")
        for space in (router, far):  # an address is used at once, nobody else is there
            space.sysctl(ipv6__conf__default__accept_dad=0)
        guest = End(
            router, "tun_host", directory / "guest.log", "--mtu", str(SMALL_MTU), at=(ADDRESS, ADDRESS6)
        )
        lab.join(router, "10.98.0.1/24", far, f"{FAR}/24")
        near, cable = f"l1-{lab.tag}", f"r1-{lab.tag}"
        for space, end, address in ((router, near, "fd98::1/64"), (far, cable, f"{FAR6}/64")):
            space.ip("-6", "address", "add", address, "dev", end, "nodad")
        far.ip("route", "add", "default", "via", "10.98.0.1")
        far.ip("-6", "route", "add", "default", "via", "fd98::1")
        router.ip("link", "set", near, "mtu", str(SMALL_MTU))
        router.sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)
        yield Both(guest, End(far, "tcp_peer", directory / "kernel.log", at=(FAR, FAR6)), directory)


@pytest.fixture(autouse=True)
def possible() -> None:
    if reason := missing():
        pytest.skip(reason)


@pytest.fixture(params=[0.0, 0.03], ids=["clean", "lossy"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Both]:
    with neighbours(tmp_path, request.param) as made:
        yield made


@pytest.fixture
def clean(tmp_path: Path) -> Iterator[Both]:
    with neighbours(tmp_path) as made:
        yield made


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Both]:
    with routed(tmp_path) as made:
        yield made


opener = pytest.mark.parametrize("opener", ["ours", "linux"])
version = pytest.mark.parametrize("version", [4, 6], ids=["ipv4", "ipv6"])


def digest(size: int) -> str:
    return hashlib.sha256(pattern(size)).hexdigest()


# -- data


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
    server = both.kernel.space.start(
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
    answer = both.guest.ask(f"get {KERNEL} 8000 /page").split()
    assert answer == ["200", str(SIZE), digest(SIZE)], server.output()


@version
@opener
def test_both_send_at_once(both: Both, opener: str, version: int) -> None:
    ends = both.joined(opener, version)
    for end, size in zip(ends, (SIZE, SIZE // 2), strict=True):
        end.ask(f"send c {size}")
    for end in ends:
        end.begin("read c 350000")
    assert [end.answer() for end in ends] == [told(pattern(SIZE // 2)), told(pattern(SIZE)[:350_000])]
    ends[0].ask("close c")
    assert ends[1].ask("rest c") == told(pattern(SIZE)[350_000:])
    ends[1].ask("close c")
    assert [end.ask("ended c") for end in ends] == ["orderly", "orderly"]


@version
@opener
def test_a_reader_that_pauses_is_waited_for_and_asked_for_room(both: Both, opener: str, version: int) -> None:
    """The window is shut, and probes are sent that find no room (RFC 9293 3.8.6.1)."""
    size = 8_000_000
    sender, reader = both.joined(opener, version)
    sender.ask(f"send c {size}")
    both.wait_for_probes(sender)
    assert sender.ask("stuck c") == "yes"
    assert reader.ask("read c 100000") == told(pattern(size)[:100_000])
    assert reader.ask("read c 900000") == told(pattern(size)[100_000:1_000_000])


@version
@opener
def test_a_slow_reader_gets_everything(clean: Both, opener: str, version: int) -> None:
    size, step = 1_000_000, 10_000
    sender, reader = clean.joined(opener, version)
    sender.ask(f"send c {size}")
    if sender is clean.guest:
        sender.ask("close c")
    whole = pattern(size)
    for at in range(0, size, step):
        assert reader.ask(f"read c {step}") == told(whole[at : at + step])
    assert sender.ask("sent c") == "ok"
    sender.ask("close c")
    assert reader.ask("rest c") == told(b"")


# -- the end


@version
@opener
def test_who_has_finished_writing_still_reads(both: Both, opener: str, version: int) -> None:
    """Half closed: the request ends with a FIN, and the answer comes after it."""
    asks, answers = both.joined(opener, version)
    asks.ask("send c 100000")
    asks.ask("close c")
    assert answers.ask("rest c") == told(pattern(100_000))
    assert answers.ask("state c") == "close_wait"
    answers.ask(f"send c {SIZE}")
    answers.ask("close c")
    assert asks.ask("rest c") == told(pattern(SIZE))
    assert [asks.ask("ended c"), answers.ask("ended c")] == ["orderly", "orderly"]


@version
@opener
@pytest.mark.parametrize("who", [0, 1], ids=["opener", "listener"])
def test_an_abort_in_the_middle_is_heard_as_a_reset(clean: Both, opener: str, version: int, who: int) -> None:
    ends = clean.joined(opener, version)
    breaks, hears = ends[who], ends[1 - who]
    hears.ask("send c 5000000")
    breaks.ask("read c 50000")
    breaks.ask("abort c")
    assert hears.ask("sent c") == "reset"
    again = clean.roles(opener)
    again[0].ask(f"open d {again[1].addresses[version == 6]} 5000")
    assert again[0].ask("opened d") == "connected"


@version
@opener
def test_a_reset_is_heard_although_the_window_is_shut(clean: Both, opener: str, version: int) -> None:
    """RFC 9293 3.10.7.4: its number is the next expected one. It is sent once, so on a path that loses nothing."""
    sender, reader = clean.joined(opener, version)
    sender.ask("send c 8000000")
    clean.wait_for_probes(sender)
    assert sender.ask("stuck c") == "yes"
    sender.ask("abort c")
    assert reader.ask("ended c") == "reset"


@version
@opener
def test_nobody_listens(clean: Both, opener: str, version: int) -> None:
    active, passive = clean.roles(opener)
    active.ask(f"open c {passive.addresses[version == 6]} 9")
    assert active.ask("opened c") == "refused"


# -- the beginning


@version
def test_both_open_at_once(clean: Both, version: int) -> None:
    """RFC 9293 3.5, figure 7: two SYNs cross."""
    guest, kernel = clean.guest, clean.kernel
    guest.ask("hold")
    port = guest.ask(f"open c {kernel.addresses[version == 6]} 6000")
    kernel.ask(f"open c {guest.addresses[version == 6]} {port} 6000")
    wait_for(lambda: guest.ask("state c") == "syn_received", "the SYN of the kernel")
    guest.ask("release")
    assert [guest.ask("opened c"), kernel.ask("opened c")] == ["connected", "connected"]
    for end, other in ((guest, kernel), (kernel, guest)):
        end.ask("send c 200000")
        assert other.ask("read c 200000") == told(pattern(200_000))


def test_a_silent_connection_answers_keepalives(clean: Both) -> None:
    clean.joined("ours", 4)
    clean.kernel.ask("keepalive c")
    time.sleep(4.5)
    assert clean.kernel.ask("state c") == "established"
    clean.guest.ask("send c 1000")
    assert clean.kernel.ask("read c 1000") == told(pattern(1000))


# -- the path


@version
@opener
def test_a_router_says_that_the_path_is_narrow(narrow: Both, opener: str, version: int) -> None:
    """RFC 1191, RFC 8201: both ends begin with more than the router between them can pass on."""
    ends = narrow.joined(opener, version)
    headers = 40 if version == 4 else 60
    for end, other in (ends, ends[::-1]):
        assert int(end.ask("mss c")) > SMALL_MTU - headers
        end.ask(f"send c {SIZE}")
        assert other.ask(f"read c {SIZE}") == told(pattern(SIZE))
        assert int(end.ask("mss c")) == SMALL_MTU - headers
    assert MTU > SMALL_MTU


@version
def test_we_find_a_path_that_swallows_large_packets(narrow: Both, version: int) -> None:
    """RFC 4821 7.7: nobody says why, and small ones get through."""
    ours, linux = narrow.joined("ours", version)
    ours.ask("deaf")
    ours.ask(f"send c {SIZE}")
    assert linux.ask(f"read c {SIZE}") == told(pattern(SIZE))
    assert int(ours.ask("mss c")) == (536 if version == 4 else 1220)
