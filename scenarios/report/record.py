"""What a run was, as plain data: the shape of results.json and all that the live screen knows.

The runner fills these while the run goes on. Fields are added, never renamed or given another meaning, as
long as `FORMAT` stays the same.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

FORMAT = 1


DROPPED = "dropped"
"""Who it is, where a packet was dropped: nobody else has that name among happenings."""


class State(StrEnum):
    """Of a step, or of a whole run."""

    PENDING = "pending"
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"  # by Ctrl-C: says nothing about the network
    ERROR = "error"  # poplab itself is wrong
    SKIPPED = "skipped"  # the file does not want to run there
    UNAVAILABLE = "unavailable"  # this machine cannot run it there


class Record(msgspec.Struct, kw_only=True):
    """Mutable while the run goes on."""


class CheckRecord(Record):
    """One condition, and the values that decided it as people read them."""

    text: str
    holds: bool
    saw: list[tuple[str, str]] = []
    error: str = ""


class StepRecord(Record):
    """One step; times are seconds since the run began."""

    name: str
    verb: str
    id: str | None = None
    background: bool = False
    may_fail: bool = False  # what became of it does not matter
    place: str = ""  # where it was written, as FILE:LINE
    state: State = State.PENDING
    started: float | None = None
    ended: float | None = None
    waiting: str = ""  # what it is doing, or was doing when it was cut off
    summary: str = ""
    table: list[list[str]] = []  # more than the summary; the first row is the head
    error: str = ""
    checks: list[CheckRecord] = []
    output: list[str] = []  # the last lines of what a program wrote
    results: dict[str, Any] = {}

    @property
    def excused(self) -> bool:
        """Whether it failed, and that does not matter."""
        return self.may_fail and self.state is State.FAILED


class DirectionRecord(Record):
    """What one end of a call heard."""

    listener: str
    packets: int = 0
    windows: list[WindowRecord] = []
    loss: float | None = None
    jitter: float | None = None
    gap_max: float | None = None
    mos: float | None = None
    r: float | None = None
    profile: str = ""


class CallRecord(Record):
    """One call and how it sounded on both sides."""

    caller: str
    callee: str
    step: str = ""  # its id, or the name of the load
    outcome: str = ""
    started: float | None = None  # seconds since the run began
    ended: float | None = None
    server_initiated: bool = False
    setup_time: float | None = None
    directions: list[DirectionRecord] = []
    path: str = ""  # where the media goes


class SightingRecord(Record):
    """Which source address a PBX saw for a user, and which one the user really has."""

    pbx: str
    user: str
    seen: str
    true: str


class InvariantRecord(Record):
    """What must hold in every run."""

    id: str
    holds: bool
    text: str
    details: list[str] = []
    at: float | None = None  # when it was first seen broken


class AccountRecord(Record):
    """Where the packets of one virtual network went: in + generated = out + dropped + held."""

    vnet: str
    packets_in: int = 0
    generated: int = 0
    packets_out: int = 0
    dropped: dict[str, int] = {}
    held: int = 0
    rules: dict[str, int] = {}  # flows that each rule decided, those that decided none left out


class MemberRecord(Record):
    """A tunnel in the topology tree; `hosts` are (name, address, what runs there)."""

    name: str
    kind: str
    address: str
    tunnel: str = "wireguard"
    tags: list[str] = []
    hosts: list[tuple[str, str, str]] = []
    way: str = ""  # how it reaches the PoP: h3, h2, wireguard; empty if it does not
    up: bool = False
    site: str = ""  # of a connector; those of one site have the same hosts
    role: str = ""  # what runs on a client
    outside: bool = False  # a device of the user
    endpoint: str = ""  # where the PoP sees it; for who looks on while a world is kept up
    packets_in: int = 0  # that the PoP had from it; likewise
    packets_out: int = 0


class HostRecord(Record):
    """What reached a host. Of longer lists only the first are here; `more` counts what is not."""

    name: str
    address: str
    sources: list[str] = []  # addresses that it saw
    told: list[str] = []  # ICMP errors that it believed, each kind once
    apps: dict[str, list[str]] = {}  # such as "dns.sources"
    more: int = 0


class WindowRecord(Record):
    """One stretch of a call as one end heard it; `start` is seconds since the run began."""

    start: float
    mos: float | None = None
    loss: float | None = None


class ThresholdRecord(Record):
    """One limit of a metric, and what was measured."""

    key: str  # the metric and its tags
    text: str  # such as p(95) < 800ms
    holds: bool
    saw: str = ""
    aborted: bool = False  # it ended the run


class LoadRecord(Record):
    """What many actors did."""

    name: str
    verb: str
    started: int = 0
    running: int = 0
    passed: int = 0
    failed: int = 0
    skipped: int = 0  # too many at once, or nobody was free
    rate: float = 0.0  # started per second, lately
    target: float = 0.0  # what the stages ask for now
    figures: list[tuple[str, str]] = []  # such as ("setup time p95", "41 ms")


class ProgramRecord(Record):
    """A real program that a host runs; times are seconds since the run began."""

    host: str
    name: str
    command: list[str]
    state: str = ""  # not_started, failed, starting, running, exited, signalled
    code: int | None = None
    signal: str = ""  # that ended it, such as TERM
    starts: int = 0
    started: float | None = None  # the last time
    ended: float | None = None
    ready_after: float | None = None
    trouble: str = ""  # why it is not as it should be
    output: list[str] = []  # the last lines of what it wrote
    output_bytes: int = 0


class FaultRecord(Record):
    """Something that was done to the world."""

    at: float
    kind: str
    target: str
    text: str = ""


class WayRecord(Record):
    """From then on the packets of a tunnel that has a choice took another way to the PoP; empty: none."""

    at: float
    tunnel: str
    way: str
    before: str = ""


class DropRecord(Record):
    """Packets of one kind that died in the PoP."""

    at: float  # the last one
    vnet: str
    tunnel: str  # that they came from
    flow: str
    reason: str
    rule: str = ""
    count: int = 0


class HappeningRecord(Record):
    """Something that was noticed while a world was kept up."""

    at: float
    who: str
    text: str
    bad: bool = False


class MasqueRecord(Record):
    """What the PoP counted of MASQUE."""

    sessions: dict[str, int] = {}  # by http: h3, h2
    fallbacks: int = 0  # from h3 to h2
    returns: int = 0
    refused: int = 0


class SampleRecord(Record):
    """The PoP at one moment; rates are since the sample before."""

    at: float
    packets_per_second: float = 0.0
    dropped_per_second: float = 0.0
    flows: int = 0
    tunnels_up: int = 0


class VnetRecord(Record):
    """One virtual network of the topology tree."""

    name: str
    note: str = ""
    members: list[MemberRecord] = []


class RunRecord(Record):
    """One scenario file, run once: one cell of its matrix."""

    file: str
    name: str
    about: str
    fabric: str
    seed: int
    deadline: float
    repeat: str  # the command that does exactly this again
    determinism: str = ""  # what the comparison with a second run says, if there was one
    divergence: str = ""  # where that one parted
    incomplete: list[str] = []  # what a trace or a capture lacks, and why
    cell: dict[str, Any] = {}  # the values of the matrix
    beside: list[str] = []  # the fabrics where the same was run, this one among them, if it is compared
    virtual: bool = False  # its time is not the real one
    kept: bool = False  # up until somebody stops it, without a deadline
    door: str = ""  # where devices from outside come in
    happenings: list[HappeningRecord] = []  # the latest, of a world that was kept up
    drops: list[DropRecord] = []  # kinds, the latest last; likewise
    pop: str = ""
    state: State = State.PENDING
    started_at: str = ""  # wall clock, ISO 8601
    elapsed: float = 0.0  # of the world's time
    wall: float = 0.0  # of ours
    late: float = 0.0  # by so much this process was woken too late, at worst; 0 in virtual time
    error: str = ""  # also why it was skipped or not available
    stopped_by: str = ""  # a threshold that ended the run
    vnets: list[VnetRecord] = []
    steps: list[StepRecord] = []
    checks: list[CheckRecord] = []
    calls: list[CallRecord] = []
    sightings: list[SightingRecord] = []
    invariants: list[InvariantRecord] = []
    accounts: list[AccountRecord] = []
    hosts: list[HostRecord] = []  # at most 1,000
    thresholds: list[ThresholdRecord] = []
    loads: list[LoadRecord] = []
    faults: list[FaultRecord] = []
    ways: list[WayRecord] = []
    masque: MasqueRecord | None = None  # if it took MASQUE
    programs: list[ProgramRecord] = []
    samples: list[SampleRecord] = []  # evenly spaced
    events: int = 0  # that the simulated world had, 0 in real time

    @property
    def title(self) -> str:
        """The name, the matrix cell if there are several, and where it ran if it is compared."""
        where = f" on {self.fabric}" if self.beside else ""
        return f"{_named(self.name, self.cell)}{where}"

    @property
    def failed_checks(self) -> list[CheckRecord]:
        """Every condition that does not hold, of steps and of the whole run."""
        of_steps = [check for step in self.steps if not step.may_fail for check in step.checks]
        return [check for check in [*of_steps, *self.checks] if not check.holds]


class DifferenceRecord(Record):
    """Something that was not the same on two fabrics."""

    name: str  # of the fact, such as steps.ask.received
    left: str  # what it was on the first fabric, as people read it
    fabric: str  # the other one
    right: str
    counts: bool = True  # if not, it is tolerated or ignored
    why: str = ""  # the rule that says so
    about: str = ""  # of what is called by a number: the condition, the name of the step
    place: str = ""  # FILE:LINE


class ComparisonRecord(Record):
    """One scenario file, or cell of its matrix, on several fabrics; the first one is what the others should be like."""

    file: str
    name: str
    fabrics: list[str]
    seed: int
    repeat: str
    cell: dict[str, Any] = {}
    state: State = State.PENDING  # passed: they agree; failed: they differ
    reason: str = ""  # why they were not compared
    note: str = ""  # what explains differences in times: a machine that was too busy
    facts: int = 0  # so many were compared
    differing: int = 0  # so many of them count as different
    tolerated: int = 0  # not equal, but within the tolerance
    ignored: int = 0  # not equal, and the file says that this does not matter
    differences: list[DifferenceRecord] = []  # those that count first, at most 300

    @property
    def title(self) -> str:
        """The name, and the matrix cell if there are several."""
        return _named(self.name, self.cell)

    def is_of(self, run: RunRecord) -> bool:
        """Whether `run` is one of those that were compared."""
        return (self.file, self.cell, self.fabrics) == (run.file, run.cell, run.beside)


class ResultsRecord(Record):
    """results.json: all runs of one command."""

    format: int = FORMAT
    runs: list[RunRecord] = []
    comparisons: list[ComparisonRecord] = []  # if it ran on several fabrics


def _named(name: str, cell: dict[str, Any]) -> str:
    values = ", ".join(f"{axis}={value}" for axis, value in cell.items())
    return f"{name} [{values}]" if values else name
