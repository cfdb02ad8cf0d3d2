"""A fabric whose hosts are machines, as far as programs can tell: they all run in the namespaces of the test.

So a program of one host reaches those of others at 127.0.0.1; the PoP and its tunnels are those of loopback.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import trio

from scenarios.fabric import Loopback, Network
from scenarios.world import World
from tests.scenarios.runner.launch import launch

T = TypeVar("T")

MISSING = "" if sys.platform == "linux" and shutil.which("setpriv") else "needs Linux and setpriv"


class Here:
    """A place that is this machine."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, **files: int) -> Any:
        launched = launch(argv, env=env, cwd=cwd, **files)
        self.started.append(launched.popen)
        return launched

    def table(self, name: str) -> str:
        return Path("/proc/net", name).read_text()


class MachinesNetwork:
    """A network of loopback that has a place for everybody."""

    def __init__(self, network: Network, here: Here) -> None:
        self._network = network
        self._here = here

    def place(self, actor: str) -> Here:
        return self._here

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)


class Machines:
    """The fabric."""

    name = "netns"
    virtual = False

    def __init__(self) -> None:
        self.here = Here()

    def prepare(self) -> None:
        """Nothing."""

    def execute(self, main: Callable[[], Awaitable[T]], *, seed: int) -> T:
        return trio.run(main)

    @asynccontextmanager
    async def bring_up(self, world: World) -> AsyncIterator[Any]:
        async with Loopback().bring_up(world) as network:
            yield MachinesNetwork(network, self.here)

    @property
    def left(self) -> list[int]:
        """Processes of what was started that are still there, be they of a group or a session of it."""
        groups = {popen.pid for popen in self.here.started}
        table = subprocess.run(
            ["ps", "-eo", "pid=,pgid=,sid=,stat="], capture_output=True, text=True, check=True
        )
        rows = [line.split() for line in table.stdout.splitlines()]
        running = [tuple(map(int, row[:3])) for row in rows if not row[3].startswith("Z")]  # init reaps those
        return [pid for pid, group, session in running if groups & {pid, group, session}]
