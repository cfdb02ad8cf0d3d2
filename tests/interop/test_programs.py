"""The recipes of docs/programs.md, each host and client in a network namespace of its own, with its true address."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio

from edge.errors import FabricUnavailable
from scenarios.fabric import Loopback, Network
from scenarios.report import State, findings
from scenarios.runner import check, run
from scenarios.world import World
from tests.interop.namespaces import Lab, Namespace, missing

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
PAGES = [(ROOT / "docs" / page).read_text() for page in ("programs.md", "scenarios.md")]
RECIPES = [
    block
    for page in PAGES
    for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    if block.startswith("version:") and "exec" in block
]


def name_of(recipe: str) -> str:
    found = re.search("^name: (.*)$", recipe, re.MULTILINE)
    assert found is not None
    return found[1]


class Machine:
    """A place that is a namespace."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace

    def start(self, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, **files: int) -> Any:
        enter = [word for word in self._namespace.command(*argv) if not word.startswith("--wd=")]
        at = enter.index("setpriv")
        command = [*enter[:at], f"--wd={cwd}", *enter[at:]]
        return subprocess.Popen(command, env={**env}, start_new_session=True, **files)  # type: ignore[call-overload]


class Spaces:
    """A fabric whose tunnels are on loopback, and whose programs meet on a network of their own."""

    name = "netns"
    virtual = False

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def execute(self, main: Callable[[], Awaitable[T]], *, seed: int) -> T:
        return trio.run(main)

    @asynccontextmanager
    async def bring_up(self, world: World) -> AsyncIterator[Any]:
        self._lab.root.sysctl(ipv4__ip_forward=1, ipv4__conf__all__proxy_arp=1)
        places = {name: Machine(self._machine(name, world)) for name in world.members}
        async with Loopback().bring_up(world) as network:
            yield WithPlaces(network, places)

    def _machine(self, name: str, world: World) -> Namespace:
        made = self._lab.namespace(name)
        address = world.members[name].host.address
        before = set(links(self._lab.root))
        self._lab.join(self._lab.root, "192.0.2.1/32", made, f"{address}/32")
        (end,) = set(links(self._lab.root)) - before
        (own,) = links(made)
        self._lab.root.sysctl(**{f"ipv4__neigh__{end}__proxy_delay": 0})
        self._lab.root.ip("route", "add", f"{address}/32", "dev", end)
        made.ip("route", "add", "default", "dev", own, "src", address)
        return made


class WithPlaces:
    def __init__(self, network: Network, places: Mapping[str, Machine]) -> None:
        self._network = network
        self._places = places

    def place(self, actor: str) -> Machine:
        return self._places[actor]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)


def links(namespace: Namespace) -> list[str]:
    table = namespace.ip("-o", "link", "show", "type", "veth")
    return [line.split(": ")[1].partition("@")[0] for line in table.splitlines()]


@pytest.fixture
def lab() -> Iterator[Lab]:
    with contextlib.ExitStack() as stack:
        yield stack.enter_context(Lab())


@pytest.mark.parametrize("recipe", RECIPES, ids=name_of)
def test_a_recipe_is_a_good_scenario_for_the_fabric_with_machines(recipe: str) -> None:
    (script,) = check(recipe, "programs.md")
    assert script.scenario.fabrics == ("netns",)


@pytest.mark.interop
@pytest.mark.skipif(bool(missing()), reason=missing() or "-")
@pytest.mark.parametrize("recipe", RECIPES, ids=name_of)
def test_a_recipe_passes(recipe: str, lab: Lab, tmp_path: Path) -> None:
    if "sshd" in recipe and os.geteuid():
        pytest.skip("sshd must be started by root")
    (script,) = check(recipe, "programs.md")
    fabric = Spaces(lab)
    try:
        record = fabric.execute(lambda: run(script, fabric, folder=tmp_path), seed=7)
    except FabricUnavailable as error:
        pytest.skip(str(error))
    logs = {file.name: file.read_text()[-2000:] for file in tmp_path.glob("programs/*")}
    assert record.state is State.PASSED, (record.error, findings(record), logs)
