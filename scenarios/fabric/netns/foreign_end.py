"""The far end of a tunnel that is made by a program in a process of its own; what it does is seen at the PoP."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from signal import SIGCONT, SIGSTOP, SIGTERM
from typing import Any

import trio

from connectors.endpoint import NOTHING_YET
from connectors.proto import EndpointStatistics
from edge.errors import FabricUnavailable
from edge.metrics import TunnelSnapshot
from scenarios.fabric.base import FarEndEnded
from scenarios.fabric.netns.agents import Launch, Program, environment
from scenarios.fabric.netns.device_watch import DeviceWatch
from scenarios.fabric.netns.place import MachinePlace
from scenarios.fabric.netns.places import TUNNEL, Places
from scenarios.fabric.process import Process
from scenarios.proto.program_output import ProgramOutput
from scenarios.scratch import Scratch
from scenarios.world import End

GRACE = 3.0
"""Seconds that a program gets to end when it is asked to."""

LOOK_AGAIN = 0.02
"""Seconds between two looks whether it has made its interface, or listens."""

NUDGE = 0.5
"""Seconds between two packets to nobody for a program that waits for something to send."""

DISCARD = 9
"""The port of what is for nobody (RFC 863)."""


class ForeignEnd:
    """Of `end`. `seen` asks the PoP for its tunnel; whoever asks it often tells what it says to ``saw``."""

    core = None

    def __init__(
        self,
        end: End,
        program: Program,
        places: Places,
        seen: Callable[[], TunnelSnapshot | None],
        *,
        gateway: str,
    ) -> None:
        """`gateway` is the address that the PoP has in the network."""
        self.name = end.name
        self.output = ProgramOutput()
        self.on_way: Callable[[str], None] | None = None
        self.trouble = ""
        self._end = end
        self._program = program
        self._places = places
        self._machine = places.ends[end.name]
        self._seen = seen
        self._gateway = gateway
        self._process: Process | None = None
        self._nursery: trio.Nursery | None = None
        self._asked_to_end = self._to_live_again = False
        self._before = 0
        self._up = False
        self._ready = False
        self._settled = trio.Event()
        self._gone = trio.Event()
        self._way = ""
        self._outcome = "does not run"

    def __repr__(self) -> str:
        return f"<ForeignEnd {self.name} by {self.program} up={self.up}>"

    @property
    def program(self) -> str:
        return self._program.name

    @property
    def up(self) -> bool:
        return self._up and self.ending is None

    @property
    def way(self) -> str:
        return self._way

    def statistics(self) -> EndpointStatistics:
        """Nobody but the program knows."""
        return NOTHING_YET

    @property
    def ending(self) -> trio.Event | None:
        """While it dies: what is set when it has. A process that was killed takes its time."""
        return self._gone if self._process is not None and self._asked_to_end else None

    def expect_another_life(self) -> None:
        """It is dead or dying, and will be run again: who waits for it from now on, waits for that."""
        self._to_live_again = True
        self._up = False
        self._settled = trio.Event()

    async def wait_up(self) -> None:
        await self._settled.wait()
        if not self._up:
            raise FarEndEnded(f"{self.program}, which makes the tunnel of {self.name}, {self._outcome}")

    # -- what the fabric does to it

    def stop(self, *, graceful: bool) -> None:
        process = self._process
        if process is None or self._nursery is None:
            return
        self._asked_to_end = True
        if graceful:
            self._nursery.start_soon(self._ask_to_end, process)
        else:
            process.kill()

    def pause(self) -> None:
        if self._process is not None:
            self._process.send(SIGSTOP)

    def resume(self) -> None:
        if self._process is not None:
            self._process.send(SIGCONT)

    def wake(self) -> None:
        """Its kernel does."""

    def moved(self) -> None:
        """Its kernel tells it."""

    # -- a life

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        self._up = self._ready = self._asked_to_end = False
        self._gone = trio.Event()
        if not self._to_live_again:
            self._settled = trio.Event()
        self._to_live_again = False
        tunnel = self._seen()
        self._before = 0 if tunnel is None else tunnel.handshakes
        self._outcome = "has not come up"
        launch = self._program.launch()
        with _folder(self.name) if launch.talks else nullcontext("") as folder:
            process = self._process = self._start(launch, folder)
            try:
                async with trio.open_nursery() as self._nursery:
                    self._nursery.start_soon(process.run)
                    task_status.started(self)
                    self._nursery.start_soon(self._attend, Path(folder))
                    try:
                        await process.ended.wait()
                    except trio.Cancelled:
                        self._asked_to_end = True
                        await self._ask_to_end(process)
                        raise
                    self._nursery.cancel_scope.cancel()
            finally:
                self._process = self._nursery = None
                self._note_end(process)

    def _start(self, launch: Launch, folder: str) -> Process:
        place = MachinePlace(self._machine, self._places.spawner, launch.files, folder)
        try:
            return Process(
                place, launch.argv, env=environment(), cwd="/", stdin=launch.stdin, output=self.output
            )
        except (OSError, ValueError) as error:
            raise FabricUnavailable(f"{self.name}: cannot start {self.program}: {error}") from error

    async def _ask_to_end(self, process: Process) -> None:
        process.send(SIGCONT)
        await process.end(SIGTERM, grace=GRACE)

    async def _attend(self, folder: Path) -> None:
        """What it needs of us on the way to a tunnel that is up."""
        while self._machine.index(TUNNEL) is None:  # noqa: ASYNC110 - an interface tells nobody
            await trio.sleep(LOOK_AGAIN)
        if self._end.watch is not None and self._nursery is not None:
            with suppress(OSError):  # it may just be ending
                catch_up = self._places.cards.catch_up
                watch = DeviceWatch(self._machine.space, TUNNEL, self._end.watch, catch_up)
                self._nursery.start_soon(watch.run)
        while True:
            try:
                await self._program.begun(folder)
                break
            except OSError:  # it does not listen yet
                await trio.sleep(LOOK_AGAIN)
        if not self._program.sets_up:
            self._places.set_up_tunnel(self._end, [])
        self._places.watch_tunnel(self._end)
        while self._program.sets_up and not self._leads_in():  # noqa: ASYNC110 - routes tell nobody
            await trio.sleep(LOOK_AGAIN)
        self._ready = True
        while self._program.waits and not self._up:
            self._nudge()
            await trio.sleep(NUDGE)
        await self._settled.wait()
        with suppress(OSError):  # it may just be ending
            await self._program.came_up(folder)

    def _leads_in(self) -> bool:
        """Whether the program has made routes into the tunnel."""
        found = self._machine.route_to(self._gateway)
        return found is not None and found.interface == TUNNEL

    def _nudge(self) -> None:
        family = socket.AF_INET6 if ":" in self._gateway else socket.AF_INET
        with (
            suppress(OSError),
            self._machine.space.inside(),
            socket.socket(family, socket.SOCK_DGRAM) as sock,
        ):
            sock.sendto(b"", (self._gateway, DISCARD))

    def saw(self, tunnel: TunnelSnapshot) -> None:
        """What the PoP knows of it now."""
        if self._process is None:
            return
        alive = tunnel.up and tunnel.handshakes > self._before and self.ending is None
        if alive and self._ready and not self._up:
            self._up = True
            self._settled.set()
        way = (tunnel.http or tunnel.tunnel) if alive else ""
        if way != self._way:
            self._took(way)

    def _took(self, way: str) -> None:
        self._way = way
        if self.on_way is not None:
            self.on_way(way)

    def _note_end(self, process: Process) -> None:
        how = f"signal {process.signal}" if process.signal is not None else f"code {process.code}"
        self._outcome = f"has ended with {how}"
        if not self._asked_to_end:
            said = f": {self.output.last_line}" if self.output.last_line else ""
            self.trouble = f"{self.program}, which makes the tunnel of {self.name}, {self._outcome}{said}"
        if not self._to_live_again:
            self._settled.set()
        self._gone.set()
        if self._way:
            self._took("")


@contextmanager
def _folder(name: str) -> Iterator[str]:
    """For the sockets of one life."""
    with closing(Scratch(name)) as scratch:
        yield str(scratch.folder)
