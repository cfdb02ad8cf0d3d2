"""What a fabric is: it brings a world up, says what time it is there, and does to it what a scenario wants done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol, TypeVar

from edge.config import EdgeConfig
from edge.metrics import Snapshot
from scenarios.fabric.door import Door
from scenarios.proto.host import Host
from scenarios.proto.link_pair import LinkPair
from scenarios.proto.program_output import ProgramOutput
from scenarios.proto.route_table import Hop
from scenarios.world import World

T = TypeVar("T")

KEPT_CHANGES = 10_000

EDGE = "edge"
"""The PoP among the machines that faults name."""


class WayChange(NamedTuple):
    """From `at` on, in the time of the world, packets of `tunnel` take another way; empty: none."""

    at: float
    tunnel: str
    way: str


class Started(Protocol):
    """A program that was started, in a session of its own."""

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative is the signal that ended it."""

    async def wait(self) -> int:
        """Until it has ended and nothing of its group is left; then the same."""

    def send_signal(self, number: int) -> None:
        """To its whole process group; harmless if it has ended."""


class FarEndEnded(Exception):
    """The process that should make a tunnel is no more, and the tunnel never came up; the text says why."""


class Agent(Protocol):
    """A process that makes a tunnel, in place of a task of ours."""

    @property
    def name(self) -> str:
        """Of the tunnel."""

    @property
    def program(self) -> str: ...

    @property
    def output(self) -> ProgramOutput:
        """What it has written, in all its lives."""

    @property
    def trouble(self) -> str:
        """What became of it that nobody had asked for; empty if nothing."""


class Place(Protocol):
    """A machine of the world on which programs can be started."""

    def start(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str,
        stdin: int,
        stdout: int,
        stderr: int,
    ) -> Started:
        """A program, with these open files and no others; the kernel kills it when the world's process ends.

        OSError or ValueError if it cannot be; or it ends with 127, and has written why.
        """

    def table(self, name: str) -> str:
        """A file of /proc/net as that machine has it, such as ``tcp``; OSError if there is none."""


class Network(Protocol):
    """A world that is up. `machine` is a tunnel's name or EDGE; times are seconds of this world."""

    @property
    def address(self) -> str:
        """Where the PoP listens."""

    def now(self) -> float:
        """The time of this world, in seconds."""

    def wake(self, host: Host) -> None:
        """Somebody gave `host` something to do."""

    def attention(self) -> None:
        """A task has been woken by what a host said: let it run before anything else happens."""

    def snapshot(self) -> Snapshot:
        """What the PoP has counted in all processes that it has been; what is true now is of the last one."""

    def up(self) -> dict[str, bool]:
        """Which tunnels have had a handshake since their process started."""

    def handshake_seconds(self) -> dict[str, float]:
        """How long the last handshake of each tunnel took, as the far end saw it."""

    def ways(self) -> dict[str, str]:
        """How each tunnel reaches the PoP now, as its far end has it: h3, h2 or wireguard; empty if it does not."""

    @property
    def way_changes(self) -> Sequence[WayChange]:
        """What became of that, in order; of very many the latest."""

    def active(self, site: str) -> str | None:
        """The connector that the PoP sends the traffic of a site to; None if there is none."""

    def next_hop(self, machine: str, destination: str) -> Hop | None:
        """Where a machine sends what is for an address: `machine` is a host (hq/pbx), a client, a connector, or the
        router of a site (router:hq). None: network unreachable. KeyError if there is no such machine."""

    @property
    def events(self) -> int:
        """What has happened so far; 0 in real time, where nobody counts."""

    def place(self, actor: str) -> Place | None:
        """Where programs of a host or client run; None where it is no real machine."""

    @property
    def shells(self) -> Mapping[str, str]:
        """By machine what a person puts before a command to run it there, such as ``nsenter ...``, while this world is
        up; the most wanted first. Empty where no machine is real."""

    async def wait_up(self) -> None:
        """Until every tunnel is up. FarEndEnded if one will not be."""

    @property
    def agents(self) -> Sequence[Agent]:
        """Processes that make tunnels."""

    @property
    def damage(self) -> Sequence[str]:
        """What programs have broken of the machines that nothing works without, a sentence each."""

    def every(self, seconds: float, look: Callable[[], None]) -> None:
        """Call `look` again and again in the time of this world."""

    def watch(self, look: Callable[[], None]) -> None:
        """Call `look` a few times per second of the watcher's own time."""

    def reload(self, config: EdgeConfig) -> None:
        """The PoP goes on with the policy of `config`. ConfigError, and nothing changes, if it does not take that."""

    async def drain(self) -> None:
        """Until what is on its way has arrived; then nothing new is sent."""

    async def leftovers(self) -> list[str]:
        """What is left when every far end has stopped and every timeout has passed: a line each, none if all is well.

        Nothing can be done with this network afterwards.
        """

    # -- faults

    def kill(self, machine: str, *, graceful: bool) -> None:
        """Its process is gone at once; `graceful`: it may do first what a stop on request does."""

    def restart(self, machine: str) -> None:
        """A new process; harmless if it runs."""

    def pause(self, machine: str) -> None:
        """It stands still as after SIGSTOP; datagrams and deadlines wait."""

    def resume(self, machine: str) -> None: ...

    def path(self, tunnel: str) -> LinkPair:
        """Between the far end and the PoP: to be cut, degraded, healed."""

    def roam(self, tunnel: str) -> None:
        """The far end gets another outer address, as a phone that leaves the Wi-Fi."""

    def rebind(self, tunnel: str) -> None:
        """The NAT in front of the far end forgets its mappings, as after a reboot."""

    def rekey(self, tunnel: str) -> None:
        """The far end starts a handshake now."""

    def zombie(self, tunnel: str, *, on: bool) -> None:
        """A connector whose tunnel is alive, but which forwards nothing."""


class Fabric(Protocol):
    """Where a scenario runs."""

    @property
    def name(self) -> str: ...

    @property
    def virtual(self) -> bool:
        """Whether its time is not the real one."""

    def prepare(self) -> None:
        """What the process must do before it runs a world, and before it has threads. FabricUnavailable."""

    def execute(self, main: Callable[[], Awaitable[T]], *, seed: int) -> T:
        """``trio.run`` with the clock and the scheduler that this fabric needs."""

    def bring_up(self, world: World, door: Door | None = None) -> AbstractAsyncContextManager[Network]:
        """The world is up inside the block, and gone after it; devices from outside come in by `door`.

        FabricUnavailable if this machine cannot.
        """
