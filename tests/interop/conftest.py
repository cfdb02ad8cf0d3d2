"""What every interop test stands on: a lab of namespaces, a hub in the middle, peers by other people around
it.

POPLAB_INTEROP_HUB=wireguard-go puts wireguard-go in the place of the PoP. That run says whether a failure is
ours or the test's.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from scenarios import doctor
from tests.interop.hubs import WireguardGoHub
from tests.interop.namespaces import Lab, missing
from tests.interop.peers import WireguardGoPeer
from tests.interop.poplab_hub import PoplabHub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.interop.hubs import Hub
    from tests.interop.namespaces import Namespace, Process

#: Where the hub listens: an address of its own, to which every peer has a cable and a route.
LISTEN = ("192.0.2.1", 51820)
HUBS = {"poplab": PoplabHub, "wireguard-go": WireguardGoHub}


class Star:
    """A namespace in the middle, and as many around it as a test asks for, each behind its own cable."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self.lab, self.directory = lab, directory
        self.middle = lab.namespace("hub")
        self.middle.ip("address", "add", f"{LISTEN[0]}/32", "dev", "lo")
        self._addresses: dict[str, str] = {}

    def outside(self, name: str) -> Namespace:
        """A namespace from which the middle's address can be reached."""
        space = self.lab.namespace(name)
        base = 4 * len(self._addresses)
        near, far = f"198.51.100.{base + 1}", f"198.51.100.{base + 2}"
        self._addresses[name] = far
        self.lab.join(space, f"{far}/30", self.middle, f"{near}/30")
        space.ip("route", "add", LISTEN[0], "via", near)
        return space

    def address_of(self, name: str) -> str:
        """The address that a namespace made by `outside` has towards the middle."""
        return self._addresses[name]


class World(Star):
    """A hub in the middle, and peers around it."""

    def __init__(self, lab: Lab, directory: Path, hub: str) -> None:
        super().__init__(lab, directory)
        self.hub: Hub = HUBS[hub](self.middle, directory, LISTEN)

    def peer(self, name: str, *, psk: bool = False) -> WireguardGoPeer:
        """A wireguard-go peer that is configured at the hub; `up` starts it."""
        return WireguardGoPeer(self.outside(name), self.directory, self.hub.add_client(name, psk=psk))


#: Seconds after which a WireGuard initiator that sends makes a new session.
REKEY_AFTER_TIME = 120


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests come last: what they wait for goes on while the others run."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
    if not (config.getoption("--slow", default=False) or os.environ.get("POPLAB_SLOW")):
        skip = pytest.mark.skip(reason="waits for minutes: POPLAB_SLOW=1 runs it")
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def hub_kind() -> str:
    kind = os.environ.get("POPLAB_INTEROP_HUB", "poplab")
    assert kind in HUBS, f"POPLAB_INTEROP_HUB={kind}: one of {', '.join(HUBS)}"
    return kind


@pytest.fixture(scope="session")
def namespaces_available() -> None:
    reason = missing("wireguard-go", "wg")
    if reason:
        pytest.skip(reason)


@pytest.fixture
def world(namespaces_available: None, hub_kind: str, tmp_path: Path) -> Iterator[World]:
    with Lab() as lab:
        yield World(lab, tmp_path, hub_kind)


@pytest.fixture
def star(namespaces_available: None, tmp_path: Path) -> Iterator[Star]:
    with Lab() as lab:
        yield Star(lab, tmp_path)


@pytest.fixture
def pair(world: World) -> tuple[WireguardGoPeer, WireguardGoPeer]:
    """Alice and Bob, both up, through a running hub."""
    alice, bob = world.peer("alice"), world.peer("bob")
    world.hub.start()
    alice.up()
    bob.up()
    return alice, bob


@dataclass
class LongTraffic:
    """A flow through several rekeys, and what the peers said of their sessions before it."""

    pair: tuple[WireguardGoPeer, WireguardGoPeer]
    flow: Process
    handshakes: list[str]
    seconds: float


@pytest.fixture(scope="session")
def _long_traffic(hub_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LongTraffic]:
    seconds = REKEY_AFTER_TIME * int(os.environ.get("POPLAB_REKEYS", "1")) + 12.0
    with Lab() as lab:
        world = World(lab, tmp_path_factory.mktemp("rekey"), hub_kind)
        alice, bob = world.peer("alice"), world.peer("bob")
        world.hub.start()
        alice.up()
        bob.up()
        bob.echo(bob.config.v4, 7)
        alice.ping(bob.config.v4)
        handshakes = [peer.show("latest-handshakes") for peer in (alice, bob)]
        flow = alice.flow(bob.config.v4, 7, rate=50, seconds=seconds)
        yield LongTraffic((alice, bob), flow, handshakes, seconds)


@pytest.fixture(scope="session", autouse=True)
def _start_long_traffic(request: pytest.FixtureRequest) -> None:
    """Start it before the first test when some test will look at it."""
    slow = [item for item in request.session.items if "long_traffic" in getattr(item, "fixturenames", ())]
    skipped = all(item.get_closest_marker("skip") for item in slow)
    if not skipped and not missing("wireguard-go", "wg"):
        request.getfixturevalue("_long_traffic")


@pytest.fixture
def long_traffic(namespaces_available: None, request: pytest.FixtureRequest) -> LongTraffic:
    return request.getfixturevalue("_long_traffic")


@pytest.fixture
def iperf3() -> str:
    program = shutil.which("iperf3")
    if program is None:
        pytest.skip(doctor.find_program("iperf3").sentence)
    return program
