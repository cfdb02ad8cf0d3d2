"""The language of scenario files: these structs are its only source; the JSON Schema follows from them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from edge.config import RuleFile
from edge.document import Duration
from scenarios.schema.scalars import Moment, PerSecond
from scenarios.schema.tolerance import Differences
from scenarios.schema.topology import Topology, TunnelWord, Vnet
from scenarios.schema.verbs import EXEC_WORDS, VERBS, Verb, Verbs
from scenarios.schema.words import Actors, Condition, Identifier, Name, Section, written

FabricName = Literal["sim", "loopback", "netns"]
EVERYWHERE: tuple[FabricName, ...] = ("sim", "loopback", "netns")
WITH_PROGRAMS: tuple[FabricName, ...] = ("netns",)
"""Where real programs can run: every machine there is one of its own."""


class Step(Verbs, frozen=True, kw_only=True):
    """One thing that is done: at most one verb, and what is expected of it."""

    id: Identifier | None = None
    """Later conditions call the results of this step by it."""
    name: str = ""
    at: Moment | None = None
    """When: seconds since the start, or since an event, such as: 10s, call.confirmed + 20s."""
    background: bool = False
    """Later steps do not wait for this one."""
    until: Condition | None = msgspec.field(name="await", default=None)
    """After the verb, wait for this."""
    within: Duration | None = None
    """A step that takes longer, from `at` on, has failed."""
    expect: tuple[Condition, ...] = ()
    may_fail: bool = False
    """What becomes of it does not matter here: the run is not failed by it."""

    @property
    def verb(self) -> tuple[str, Verb] | None:
        """The one verb of a checked step; None if it only waits for a condition."""
        return next(iter(self.verbs.items()), None)


class LoadStage(Section, frozen=True, kw_only=True):
    """The rate moves in a straight line to `to`, over `over`."""

    to: PerSecond
    over: Duration


class Load(Section, frozen=True, kw_only=True):
    """Something that many actors do, again and again, at a rate that follows stages."""

    actors: Actors = msgspec.field(name="actor")
    do: Verbs
    """One verb; its `from` is whoever's turn it is."""
    start: PerSecond = written(PerSecond(0.0))
    stages: Annotated[tuple[LoadStage, ...], msgspec.Meta(min_length=1)]
    at: Duration = written(Duration(0.0))
    """When the first stage begins, after every tunnel is up and every phone of it has registered."""
    max_running: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 10_000
    """At once; what would be more is counted as not started."""


class Invariant(Section, frozen=True, kw_only=True):
    """What must hold at every moment, or be seen at some moment."""

    id: Name
    always: Condition | None = None
    sometimes: Condition | None = None
    """A run in which it was never so has failed: it proved nothing."""


class Limit(Section, frozen=True, kw_only=True):
    """A threshold that ends the run when it is crossed."""

    expr: str
    abort: bool = False


class Captures(Section, frozen=True, kw_only=True):
    """Decrypted inner packets, in capture.pcapng."""

    at: Actors = "edge"
    """The PoP, connectors, hosts, clients; a site is all of its connectors."""
    packets: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 100_000
    """At most."""


Report = Literal["junit", "json", "html", "events", "trace"]
REPORTS: tuple[Report, ...] = ("junit", "json", "html", "events")


class Outputs(Section, frozen=True, kw_only=True):
    """What ``--out`` gets."""

    report: tuple[Report, ...] = REPORTS
    captures: Captures | None = None


FaultKind = Literal[
    "kill", "restart", "partition", "block", "degrade", "loss-burst", "reorder", "duplicate", "corrupt",
    "roam", "rebind", "rekey-now", "pause", "blackhole", "zombie",
]  # fmt: skip
EVERY_FAULT: tuple[FaultKind, ...] = (
    "kill", "partition", "loss-burst", "reorder", "duplicate", "corrupt", "roam", "rekey-now", "pause",
)  # fmt: skip


class Draw(Section, frozen=True, kw_only=True):
    """How many faults of which kinds."""

    count: Annotated[
        str,
        msgspec.Meta(
            pattern=r"^[0-9]{1,4}\.\.[0-9]{1,4}$",
            description="a number of faults, least and most",
            extra={"write": "write for example 1..6"},
        ),
    ] = "1..6"
    kinds: tuple[FaultKind, ...] = msgspec.field(name="from", default=EVERY_FAULT)


class Faults(Section, frozen=True, kw_only=True):
    """What ``poplab fuzz`` may do to the world; ``run`` does none of it."""

    draw: Draw = Draw()
    spare: Actors = ()
    """Tunnels that nothing is done to."""
    recover: Duration = written(Duration(30.0))
    """So long after everything has healed, all must be well again."""


class Scenario(Section, frozen=True, kw_only=True):
    """A world, what happens in it, and what must come of it."""

    version: Literal[1]
    name: Name
    about: str = ""
    include: tuple[str, ...] | str = ()
    """Other files, beside this one, whose parts this one adds to."""
    templates: dict[Name, dict[str, Any]] = {}
    """Parts that hosts, clients, sites, connectors and steps take over with `use: NAME`."""
    fabric: Annotated[tuple[FabricName, ...], msgspec.Meta(min_length=1)] | FabricName | None = None
    """Where it can run; the first is where it does if nobody says otherwise. Without it: sim, loopback and netns, but
    with real programs, or an `agent` that is a process, netns alone."""
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] = 7
    deadline: Duration = written(Duration(60.0))
    crypto: Literal["real"] | None = "real"
    """null: tunnels that only frame, in sim, for worlds that are too large to encrypt."""
    tunnel: TunnelWord = "wireguard"
    """Of all connectors and clients that say nothing else; ``--set tunnel=masque`` runs the same file otherwise."""
    matrix: dict[str, Any] = {}
    """Names to lists of values: the file runs once for each combination, ${matrix.NAME} being one of them."""
    vnets: Annotated[dict[Name, Vnet], msgspec.Meta(min_length=1)]
    topology: Topology
    policy: tuple[RuleFile, ...] = ()
    load: dict[Identifier, Load] = {}
    steps: tuple[Step, ...] = ()
    expect: tuple[Condition, ...] = ()
    """Checked once, after the last step."""
    invariants: tuple[Invariant, ...] = ()
    thresholds: dict[str, tuple[Limit | str, ...] | str] = {}
    """Metrics to limits, such as: "rtp.mos{call=call}": [avg >= 4.0]."""
    faults: Faults | None = None
    differences: Differences = written(Differences())
    """What may differ between fabrics, when it runs on several."""
    outputs: Outputs = Outputs()

    @property
    def fabrics(self) -> tuple[FabricName, ...]:
        if self.fabric is None:
            return WITH_PROGRAMS if self.runs_programs or self.has_agents else EVERYWHERE
        return (self.fabric,) if isinstance(self.fabric, str) else self.fabric

    @property
    def runs_programs(self) -> bool:
        """Whether any host or step runs real programs."""
        hosts = (host for site in self.topology.sites.values() for host in site.hosts.values())
        return (
            any(word in EXEC_WORDS for step in self.steps for word in step.verbs)
            or any(client.app.programs for client in self.topology.clients.values())
            or any(host.app.programs for host in hosts)
        )

    @property
    def has_agents(self) -> bool:
        """Whether the tunnel of anybody is made by a process of its own."""
        sites = self.topology.sites.values()
        return any(client.agent != "poplab" for client in self.topology.clients.values()) or any(
            connector.agent != "poplab" for site in sites for connector in site.connectors.values()
        )


__all__ = ["VERBS", "Scenario", "Step"]
