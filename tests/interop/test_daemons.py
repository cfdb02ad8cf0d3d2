"""`poplab connector` and `poplab client` as processes with interfaces of their own, behind a `poplab edge` process.

Kernels send and receive: no program here knows of a tunnel.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.interop.conftest import LISTEN, Star
from tests.interop.enrolled import EnrolledPop
from tests.interop.hubs import REPOSITORY
from tests.interop.namespaces import Lab, missing, wait_for
from tests.interop.peers import TRAFFIC

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.interop.namespaces import Namespace, Process

POPLAB = (
    sys.executable,
    "-c",
    """
from connectors.cli import client, connector
from edge.cli import ErrorsInWords
ErrorsInWords(commands=[client, connector]).main(prog_name='poplab')
""",
)  # all of `poplab` takes three times as long to start
START = 30.0  # seconds; a busy machine takes a few
SITE, HOST, GATEWAY = "10.0.50.0/24", "10.0.50.7", "10.0.50.1"
SIZE = "3000000"
INT_IGNORED = ("sh", "-c", "trap '' INT; exec \"$@\"", "sh")  # as a script does to what it starts with &
NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")

pytestmark = pytest.mark.interop


@dataclass
class End:
    """A machine with one of our daemons on it, and what it was like before."""

    space: Namespace
    command: tuple[str, ...]
    log: Path

    def __post_init__(self) -> None:
        self.before = self.state()

    def start(self, *options: str) -> None:
        self.begin(*options)
        self.wait_up()

    def begin(self, *options: str) -> None:
        """Start it; several take their time together."""
        self.log.write_text("")
        command = (*self.command, *options)
        self.process: Process = self.space.start(*command, log=self.log, PYTHONPATH=str(REPOSITORY))
        # by MASQUE the PoP tells the routes once the tunnel is there, unless they are chosen here
        told = "masque" in str(self.command) and "--include" not in options
        self._events = ("event=started", "event=tunnel-up", *(["event=routes"] if told else []))

    def wait_up(self) -> None:
        def up() -> bool:
            text = self.process.output()
            assert self.process.alive, text
            return all(event in text for event in self._events)

        wait_for(up, f"{self.space.name} to come up", timeout=START)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        return self.process.stop(how)

    def state(self) -> str:
        """Interfaces, rules and routes of all tables, but what the kernel does about link-local addresses by itself."""
        show = (
            ["rule"],
            ["-6", "rule"],
            ["route", "show", "table", "all"],
            ["-6", "route", "show", "table", "all"],
        )
        lines = [line.split()[0] for line in self.space.ip("-brief", "link").splitlines()]
        lines += [line for words in show for line in self.space.ip(*words).splitlines()]
        return "\n".join(sorted(line for line in lines if "fe80:" not in line and "ff00::" not in line))

    def tried(self, *options: str, prefix: tuple[str, ...] = ()) -> tuple[int, str]:
        """Exit code and output of a run that ends by itself."""
        return self.all_tried([options], prefix=prefix)[0]

    def all_tried(
        self, several: list[tuple[str, ...]], *, prefix: tuple[str, ...] = ()
    ) -> list[tuple[int, str]]:
        """The same of several runs; one process does them all, for to start is what takes time."""
        arguments = [[*self.command[len(POPLAB) :], *options] for options in several]
        words = ("env", f"PYTHONPATH={REPOSITORY}", "PYTHONDONTWRITEBYTECODE=1", *prefix, sys.executable)
        said = self.space.run(*words, "-c", RUN_EACH, text=json.dumps(arguments))
        return [(code, output) for code, output in json.loads(said)]


RUN_EACH = """
import json, sys
from click.testing import CliRunner
from scenarios.cli import poplab  # the command as it is
done = [CliRunner().invoke(poplab, arguments, prog_name="poplab") for arguments in json.load(sys.stdin)]
json.dump([(each.exit_code, each.output) for each in done], sys.stdout)
"""


def traffic(space: Namespace, *words: str) -> Any:
    return json.loads(space.run(sys.executable, TRAFFIC, *words))


class World:
    """Alice at home; a site with a connector and a host behind it; a PoP between them."""

    def __init__(self, lab: Lab, directory: Path, kind: str) -> None:
        star = Star(lab, directory)
        self.directory, self.kind = directory, kind
        self.pop = EnrolledPop(
            star.middle, directory, wireguard=f"{LISTEN[0]}:51820", masque=f"{LISTEN[0]}:443"
        )
        config = self.pop.config
        config.write_text(config.read_text().replace("default: block", "default: allow"))
        how = ("--tunnel", "masque") if kind == "masque" else ("--for", "poplab")
        hq = self._file("hq", self.pop.add_connector("hq", "--route", SITE, *how))
        alice = self._file("alice", self.pop.add_client("alice", *how))
        site, home = star.outside("hq"), star.outside("alice")
        self.host = lab.namespace("host")
        lab.join(site, f"{GATEWAY}/24", self.host, f"{HOST}/24")
        self.host.ip("route", "add", "default", "via", GATEWAY)
        self.site = End(site, (*POPLAB, "connector", hq), directory / "hq.log")
        self.home = End(home, (*POPLAB, "client", alice), directory / "alice.log")
        self.alice, self.hq = "100.96.0.3", "100.96.0.2"

    def _file(self, name: str, text: str) -> str:
        path = self.directory / f"{name}-{self.kind}.yaml"
        path.write_text(text)
        path.chmod(0o600)
        return str(path)

    def start(self, *options: str) -> None:
        """All three, the client with `options`."""
        self.pop.start()
        self.site.begin("--enable-forwarding")
        self.home.begin(*options)
        self.site.wait_up()
        self.home.wait_up()

    def pings(self) -> None:
        for space, address in (
            (self.home.space, HOST),
            (self.host, self.alice),
            (self.home.space, self.hq),  # the connector's own
            (self.host, self.hq),
        ):
            assert traffic(space, "ping", address, "2")["received"] == 2, f"{space.name} to {address}"


@pytest.fixture
def lab() -> Iterator[Lab]:
    if reason := missing():
        pytest.skip(reason)
    with Lab() as lab:
        yield lab


@pytest.fixture(params=["wireguard", "masque"])
def world(lab: Lab, tmp_path: Path, request: pytest.FixtureRequest) -> World:
    return World(lab, tmp_path, request.param)


@pytest.fixture
def one(lab: Lab, tmp_path: Path) -> World:
    """For what is the same with every kind of tunnel."""
    return World(lab, tmp_path, "wireguard")


def serve(space: Namespace, address: str, directory: Path) -> Process:
    log = directory / f"tcp-{space.name}.log"
    server = space.start(sys.executable, TRAFFIC, "tcp_echo", address, "8000", log=log, interactive=True)
    assert server.read_line() == "ready"
    return server


def test_kernels_reach_each_other_by_their_true_addresses(world: World, tmp_path: Path):
    world.start()
    world.pings()
    serve(world.host, HOST, tmp_path)
    serve(world.home.space, world.alice, tmp_path)
    there = traffic(world.home.space, "tcp_transfer", HOST, "8000", SIZE)
    back = traffic(world.host, "tcp_transfer", world.alice, "8000", SIZE)
    assert there == {"same": True, "seen_as": world.alice}
    assert back == {"same": True, "seen_as": HOST}
    assert world.pop.metrics().unaccounted == 0
    for end in (world.home, world.site):
        assert end.stop() == 0
        assert end.state() == end.before, end.space.name


def test_after_kill_9_nothing_is_in_the_way_of_the_next_start(one: World):
    world = one
    world.start("--include", "0.0.0.0/0")
    for end, options in ((world.home, ("--include", "0.0.0.0/0")), (world.site, ())):
        end.stop(signal.SIGKILL)
        assert "poplab0" not in end.space.ip("route", "show", "table", "all")
        end.command = (*INT_IGNORED, *end.command)
        end.begin(*options)
    world.home.wait_up()
    world.site.wait_up()
    assert "event=swept" in world.home.process.output()
    world.pings()
    for end in (world.home, world.site):
        assert end.stop(signal.SIGINT) == 0
        assert end.state() == end.before, end.space.name


def test_a_full_tunnel_does_not_swallow_itself(world: World):
    home = world.home
    gateway = home.space.ip("route", "get", LISTEN[0]).split("via ")[1].split()[0]
    home.space.ip("route", "del", LISTEN[0])
    home.space.ip("route", "add", "default", "via", gateway)
    home.space.ip("-6", "route", "add", "default", "dev", "lo")  # one that is not in the PoP's way
    home.space.sysctl(ipv4__conf__all__rp_filter=1)  # strict
    home.before = home.state()
    world.start("--include", "0.0.0.0/0", "--include", "::/0")
    world.pings()

    def way(address: str) -> str:
        return home.space.ip("route", "get", address).split("dev ")[1].split()[0]

    assert way("203.0.113.9") == "poplab0"
    assert way(LISTEN[0]) != "poplab0"
    assert way(gateway) != "poplab0"  # what the machine knows better than by its default route
    home.space.ip("route", "del", "default")  # as when the network goes
    assert home.space.run("ip", "route", "get", LISTEN[0], check=False) == ""
    home.space.ip("route", "add", "default", "via", gateway)
    world.pings()
    assert home.stop() == 0
    assert home.state() == home.before


def test_two_tunnels_on_one_machine_do_not_meet(one: World, tmp_path: Path):
    bob_file = tmp_path / "bob.yaml"
    bob_file.write_text(one.pop.add_client("bob", "--for", "poplab"))
    bob = End(one.home.space, (*POPLAB, "client", str(bob_file)), tmp_path / "bob.log")
    one.start("--include", "0.0.0.0/0")
    bob.start("--name", "poplab1", "--include", "0.0.0.0/0")
    assert one.home.stop() == 0
    rules = one.home.space.ip("rule")
    assert rules.count("proto 112") == 4  # bob's own, and nothing of alice's
    assert traffic(one.home.space, "ping", HOST, "2")["received"] == 2
    assert bob.stop() == 0
    assert one.home.state() == one.home.before


def test_what_cannot_be_is_refused_and_nothing_is_changed(one: World):
    home, site = one.home, one.site
    own = home.space.ip("-brief", "-4", "address").split()
    network = next(str(ip_address(int(ip_address(word[:-3])) & ~3)) for word in own if word.endswith("/30"))
    refused: list[tuple[tuple[str, ...], str]] = [
        (("--include", f"{network}/30"), f"--exclude {network}/30"),
        (("--name", "a-name-of-16-char"), "at most 15 characters"),
        (("--name", "a b", "--systemd"), "cannot be the name of an interface"),
        (("--include", "10.0.0.1/8"), "did you mean 10.0.0.0/8"),
        (("--name", "lo"), "--name, such as poplab1"),
    ]
    found = home.all_tried([options for options, _ in refused])
    for (options, words), (code, said) in zip(refused, found, strict=True):
        assert code == 2 and words in said, (options, said)
    home.space.ip("address", "add", f"{one.alice}/32", "dev", "lo")
    code, said = home.tried()
    assert code == 2 and "is on lo already" in said
    home.space.ip("address", "del", f"{one.alice}/32", "dev", "lo")
    code, said = site.tried()
    assert code == 2 and "sysctl -w net.ipv4.ip_forward=1" in said
    assert home.state() == home.before and site.state() == site.before


def test_the_wrong_command_for_a_file_is_told_the_right_one(one: World):
    file = one.site.command[-1]
    wrong = End(one.home.space, (*POPLAB, "client", file), one.directory / "wrong.log")
    code, said = wrong.tried()
    assert code == 2 and f"poplab connector {file}" in said


def test_check_says_what_would_be_done(one: World):
    everything = ("--include", "0.0.0.0/0", "--exclude", "128.0.0.0/1", "--check")
    nothing = ("--include", "198.51.100.0/24", "--exclude", "0.0.0.0/0", "--check")
    Path(one.home.command[-1]).chmod(0o644)
    (code, said), (full, all_said), (none, none_said) = one.home.all_tried(
        [("--check",), everything, nothing]
    )
    assert code == 0 and "poplab0: 100.96.0.3, MTU 1420" in said and SITE in said
    assert "others can read" in said
    assert full == 0 and "routes: 0.0.0.0/1" in all_said
    assert none == 0 and "routes" not in none_said
    code, said = one.site.tried("--check", "--enable-forwarding", "--mode", "per-host")
    assert code == 0 and f"ip route add 100.96.0.0/24 via {GATEWAY}" in said
    for end in (one.home, one.site):
        assert end.state() == end.before
        secret = Path(end.command[-1]).read_text().split('private_key: "')[1].split('"')[0]
        assert secret not in said + all_said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_without_privilege_the_fix_is_named(one: World, tmp_path: Path):
    Path(one.home.command[-1]).chmod(0o644)
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    code, said = one.home.tried(prefix=NOBODY)
    assert code == 3 and "fix: run as root" in said, said


def test_who_gets_no_answer_says_so(world: World):
    log = world.home.log
    process = world.home.space.start(*world.home.command, log=log, PYTHONPATH=str(REPOSITORY))
    wait_for(lambda: "event=no-tunnel" in process.output(), "the warning", timeout=START)
    if "masque" in str(world.home.command):
        assert re.search(r'reasons="h3: .+; h2: connection refused"', process.output())
    assert process.stop() == 0 and world.home.state() == world.home.before


def test_a_hangup_is_an_end_unless_it_was_ignored_at_the_start(one: World):
    one.pop.start()
    one.site.command = ("nohup", *one.site.command)
    one.site.begin("--enable-forwarding")
    one.home.begin()
    for end in (one.site, one.home):
        end.wait_up()
        end.process.popen.send_signal(signal.SIGHUP)
    wait_for(lambda: not one.home.process.alive, "its end")
    assert one.home.process.popen.returncode == 0 and one.home.state() == one.home.before
    assert one.site.process.alive
    assert one.site.stop() == 0 and one.site.state() == one.site.before


def test_a_deleted_interface_ends_the_daemon(one: World):
    one.start()
    one.home.space.ip("link", "delete", "poplab0")
    wait_for(lambda: not one.home.process.alive, "its end")
    assert one.home.process.popen.returncode == 3 and "was deleted" in one.home.process.output()
    assert one.home.state() == one.home.before
