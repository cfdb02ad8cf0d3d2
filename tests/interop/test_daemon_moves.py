"""`poplab client` on a machine that changes its network, and towards a PoP that changes its address."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.interop.conftest import LISTEN, Star
from tests.interop.enrolled import EnrolledPop
from tests.interop.namespaces import Lab, missing, wait_for
from tests.interop.test_daemons import POPLAB, End, World, traffic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.interop.namespaces import Namespace

pytestmark = pytest.mark.interop

POP = LISTEN[0]
NEXT = "203.0.113.1"  # the router of the next network
SOON = 15.0  # seconds, on a busy machine; without being told, a PoP waits for a keepalive of minutes
NAMES_AGAIN = 120.0  # seconds, of which it waits 30 until it asks again


@pytest.fixture
def lab() -> Iterator[Lab]:
    if reason := missing():
        pytest.skip(reason)
    with Lab() as lab:
        yield lab


class Laptop:
    """Alice's, between two networks: a cable to each, and an address in one of them at a time."""

    def __init__(self, lab: Lab, directory: Path, kind: str) -> None:
        self.world = World(lab, directory, kind)
        self.space = self.world.home.space
        file = Path(self.world.home.command[-1])
        file.write_text(file.read_text().replace("keepalive: 25s", "keepalive: 10m"))
        way = self.space.ip("route", "get", POP).split()
        self.first = (way[way.index("via") + 1], way[way.index("dev") + 1], way[way.index("src") + 1])
        lab.join(self.space, "203.0.113.2/30", self.world.pop.place, f"{NEXT}/30")  # type: ignore[arg-type]
        self.second = (NEXT, self._device("203.0.113.2"), "203.0.113.2")
        self.space.ip("address", "del", "203.0.113.2/30", "dev", self.second[1])

    def _device(self, address: str) -> str:
        links = json.loads(self.space.ip("-json", "address"))
        return next(
            link["ifname"] for link in links for each in link["addr_info"] if each["local"] == address
        )

    def leaves(self, network: tuple[str, str, str]) -> list[str]:
        """As words of `ip -batch`."""
        return [f"address del {network[2]}/30 dev {network[1]}"]

    def joins(self, network: tuple[str, str, str]) -> list[str]:
        router, device, address = network
        return [f"address add {address}/30 dev {device}", f"route add {POP} via {router}"]

    def does(self, *steps: list[str]) -> None:
        self.space.run("ip", "-batch", "-", text="\n".join(line for step in steps for line in step))

    def moves(self) -> None:
        self.does(self.leaves(self.first), self.joins(self.second))

    def said(self, event: str) -> list[str]:
        return [line for line in self.world.home.process.output().splitlines() if f"event={event} " in line]

    def is_reached(self) -> None:
        """By a host of the site, without a word of her own before."""

        def answered() -> bool:
            return bool(traffic(self.world.host, "ping", self.world.alice, "1")["received"])

        wait_for(answered, "an answer from where she is now", timeout=SOON)


@pytest.mark.parametrize(("kind", "options"), [("wireguard", ()), ("masque", ("--include", "0.0.0.0/0"))])
def test_who_is_silent_is_reached_in_its_new_network(
    lab: Lab, tmp_path: Path, kind: str, options: tuple[str, ...]
):
    laptop = Laptop(lab, tmp_path, kind)
    laptop.world.start(*options)
    laptop.is_reached()
    laptop.moves()
    laptop.is_reached()
    (moved,) = laptop.said("moved")
    assert f"before={laptop.first[2]}" in moved and f"now={laptop.second[2]}" in moved
    assert len(laptop.said("tunnel-up")) == 1  # neither WireGuard nor QUIC begins anew
    laptop.does(laptop.leaves(laptop.second))
    wait_for(lambda: laptop.said("no-way"), "it to see that there is no network", timeout=SOON)
    laptop.does(laptop.joins(laptop.first))
    laptop.is_reached()
    assert laptop.world.home.stop() == 0


def test_by_tcp_it_connects_anew(lab: Lab, tmp_path: Path):
    laptop = Laptop(lab, tmp_path, "masque")
    laptop.world.pop.place.run(
        "ip", "rule", "add", "pref", "5", "ipproto", "udp", "sport", "443", "blackhole"
    )
    laptop.world.start()
    assert "way=h2" in laptop.said("tunnel-up")[0]
    laptop.moves()
    wait_for(lambda: len(laptop.said("tunnel-up")) == 2, "a second connection", timeout=SOON)
    laptop.is_reached()
    assert len(laptop.said("moved")) == 1
    assert laptop.world.home.stop() == 0


def test_a_network_that_flaps_costs_a_few_lines_and_nothing_else(lab: Lab, tmp_path: Path):
    laptop = Laptop(lab, tmp_path, "wireguard")
    laptop.world.start()
    there = [laptop.leaves(laptop.first), laptop.joins(laptop.second)]
    back = [laptop.leaves(laptop.second), laptop.joins(laptop.first)]
    laptop.does(*(there + back) * 100, *there)
    laptop.is_reached()
    assert laptop.world.home.process.alive
    assert len(laptop.said("moved")) + len(laptop.said("no-way")) <= 10
    assert laptop.world.home.stop() == 0


def test_a_pop_with_another_address_is_found_by_its_name(lab: Lab, tmp_path: Path):
    """Alice has never reached it, and finds it by the other version of IP; bob and carol were connected, with full
    tunnels. Carol's is the only way that she has to the address that her system would prefer. Dave's system prefers
    one at which nobody is."""
    star = Star(lab, tmp_path)
    middle, pops = star.middle, ("192.0.2.1", "192.0.2.2", "2001:db8:1::1")
    middle.ip("address", "add", f"{pops[1]}/32", "dev", "lo")
    middle.ip("address", "add", f"{pops[2]}/128", "dev", "lo")
    hosts = tmp_path / "hosts"
    both = f"2001:db8:1::99 both.example.net\n{pops[1]} both.example.net\n"
    hosts.write_text(f"192.0.2.99 wg.example.net\n192.0.2.1 masque.example.net dual.example.net\n{both}")
    lab.root.run("mount", "--bind", str(hosts), "/etc/hosts")
    pool6 = {"    pool: ": "    pool6: 2001:db8:96::/64"}
    pop = EnrolledPop(middle, tmp_path, wireguard=f"{pops[0]}:51820", masque=f"{pops[0]}:443", more=pool6)

    def end(name: str, server: str, space: Namespace, *options: str) -> End:
        file = tmp_path / f"{name}.yaml"
        file.write_text(pop.add_client(name, *options).replace(f'server: "{pops[0]}:', f'server: "{server}:'))
        file.chmod(0o600)
        assert server in file.read_text()
        return End(space, (*POPLAB, "client", str(file)), tmp_path / f"{name}.log")

    spaces = [star.outside(name) for name in ("alice", "bob", "carol", "dave")]
    for number, space in enumerate(spaces):
        router = f"198.51.100.{4 * number + 1}"
        for address in ("192.0.2.2", "192.0.2.99"):
            space.ip("route", "add", address, "via", router)
        if space is spaces[2]:
            continue
        near = middle.ip("route", "get", f"198.51.100.{4 * number + 2}").split("dev ")[1].split()[0]
        far = space.ip("route", "get", router).split("dev ")[1].split()[0]
        middle.ip("address", "add", f"2001:db8:{number + 2}::1/64", "dev", near, "nodad")
        space.ip("address", "add", f"2001:db8:{number + 2}::2/64", "dev", far, "nodad")
        space.ip("-6", "route", "add", "default", "via", f"2001:db8:{number + 2}::1")
    alice = end("alice", "wg.example.net", spaces[0], "--for", "poplab")
    bob = end("bob", "masque.example.net", spaces[1], "--tunnel", "masque")
    carol = end("carol", "dual.example.net", spaces[2], "--tunnel", "masque")
    dave = end("dave", "both.example.net", spaces[3], "--tunnel", "masque")
    pop.start()
    alice.begin()
    dave.begin()
    bob.begin("--include", "0.0.0.0/0")
    carol.begin("--include", "0.0.0.0/0", "--include", "::/0")
    bob.wait_up()
    carol.wait_up()
    link = bob.space.ip("-oneline", "link", "show", "poplab0"), bob.space.ip("route", "get", "203.0.113.77")
    pop.stop()
    config = pop.config.read_text()
    config = config.replace(f"{pops[0]}:51820", f"[{pops[2]}]:51820").replace(
        f"{pops[0]}:443", f"{pops[1]}:443"
    )
    pop.config.write_text(config)
    pop.start()
    hosts.write_text(
        f"{pops[2]} wg.example.net dual.example.net\n{pops[1]} masque.example.net dual.example.net\n{both}"
    )
    found = ((alice, 1, pops[2]), (bob, 2, pops[1]), (carol, 2, pops[1]), (dave, 1, pops[1]))
    for one, times, address in found:

        def up(one: End = one, times: int = times) -> bool:
            assert one.process.alive, one.process.output()
            return one.process.output().count("event=tunnel-up") == times

        wait_for(up, f"{one.space.name} to find the PoP", timeout=NAMES_AGAIN)
        assert traffic(one.space, "ping", "100.96.0.1", "2")["received"] == 2
        assert one.process.output().count("event=server-moved") == 1
        assert address in one.process.output().split("event=server-moved")[1].splitlines()[0]
    assert link == (
        bob.space.ip("-oneline", "link", "show", "poplab0"),
        bob.space.ip("route", "get", "203.0.113.77"),
    )
    rules = bob.space.ip("rule")
    assert rules.count(f"to {pops[1]} ") == 2 and f"to {pops[0]} " not in rules
    for one in (alice, bob, carol, dave):
        assert one.stop() == 0
        assert one.state() == one.before
