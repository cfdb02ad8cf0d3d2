"""A world that is up, in the hands of a test: steps of the language, called like methods."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import trio

from edge.errors import ConfigError, FabricUnavailable, PoplabError
from edge.metrics import Snapshot
from edge.proto.ip import build_udp
from scenarios import runner
from scenarios import world as worlds
from scenarios.casting import Member
from scenarios.checks import Plain, invariants, parse
from scenarios.fabric import Fabric, named
from scenarios.fabric.sim.clock import VirtualClock, seeded_scheduler
from scenarios.lab.clock import LabClock
from scenarios.lab.faults import Faults, seconds
from scenarios.lab.source import Source, as_text, script_of
from scenarios.report import RunRecord, State, StepRecord, explain
from scenarios.runner import Nobody, Observer
from scenarios.runner.lazy import Lazy
from scenarios.runner.names import names
from scenarios.runner.stage import Stage
from scenarios.runner.stepping import Stepping
from scenarios.runner.verdict import judged
from scenarios.schema import Script, Step

UP = 30.0
"""Seconds for all tunnels to come up."""

KEPT = ("version", "name", "vnets", "topology", "policy", "templates")
"""What of a file makes the world; what happens in it is up to the test."""


class StepFailed(AssertionError):
    """A step or a condition did not come out as expected; the text is what ``poplab run`` says."""


class Done:
    """What came of a step: its results are attributes, such as ``call.mos`` and ``call.outcome``."""

    def __init__(self, stepping: Stepping) -> None:
        self._stepping = stepping
        self._ended = trio.Event()

    @property
    def record(self) -> StepRecord:
        return self._stepping.record

    @property
    def results(self) -> Mapping[str, Plain]:
        return self._stepping.results()

    @property
    def passed(self) -> bool:
        return self.record.state is State.PASSED

    def __getattr__(self, name: str) -> Any:
        results = self.results
        if name.startswith("_") or name not in results:
            raise AttributeError(f"a {self.record.verb} has no {name!r}, but {', '.join(results)}")
        return results[name]

    def __repr__(self) -> str:
        record = self.record
        return f"<{record.name}: {record.state}{': ' if record.summary else ''}{record.summary}>"

    async def wait(self) -> Done:
        """Wait for a step that runs in the background."""
        await self._ended.wait()
        return self

    async def perform(self, begun: Callable[[], None]) -> None:
        """Do it, and judge it."""
        await self._stepping.run(begun)
        self._stepping.judge()
        self._ended.set()


class LabWorld:
    """Every method does what the step of that name does in a file; times are seconds of the world."""

    def __init__(self, stage: Stage, script: Script, nursery: trio.Nursery) -> None:
        self.stage = stage
        stage.given = self._given
        self.fault = Faults(self.step)
        self._script = script
        self._nursery = nursery
        self._steps: list[tuple[dict[str, Any], Done]] = []

    # -- looking

    @property
    def now(self) -> float:
        """Since the world began."""
        return self.stage.elapsed()

    def member(self, name: str) -> Member:
        """A client or a host of a site, with its applications."""
        return self.stage.member(name)

    def snapshot(self) -> Snapshot:
        """Everything that the PoP counts."""
        return self.stage.network.snapshot()

    @property
    def drops(self) -> dict[str, int]:
        """Packets that the PoP dropped, by reason."""
        found: dict[str, int] = {}
        for vnet in self.snapshot().vnets:
            for reason, count in vnet.drops.items():
                if count:
                    found[reason.value] = found.get(reason.value, 0) + count
        return found

    @property
    def verdicts(self) -> dict[str, dict[str, int]]:
        """Flows that each rule decided, by network."""
        return {
            vnet.name: {
                rule: sum(hits for (other, _), hits in vnet.rule_hits.items() if other == rule)
                for rule, _ in vnet.rule_hits
            }
            for vnet in self.snapshot().vnets
        }

    def value(self, expression: str) -> Plain:
        """What an expression of the language is now, such as ``tunnels.alice.up``."""
        return parse(expression).compute(self._given())

    def expect(self, condition: str) -> None:
        """StepFailed, with the values that it saw, unless `condition` holds now."""
        check = judged(condition, self._given())
        if not check.holds:
            raise StepFailed(explain(check))

    # -- doing

    async def up(self, within: float = UP) -> Done:
        """Every tunnel has had a handshake."""
        return await self.step({"wait": {"tunnels": "up"}, "within": seconds(within)})

    async def sleep(self, duration: float) -> None:
        await trio.sleep(duration)

    async def register(self, *phones: str, **options: Any) -> Done:
        """``sip.register``: `registered`, `status`, `seen`, `true_sources`."""
        return await self._do("sip.register", {**options, "phones": list(phones)})

    async def call(self, caller: str, to: str, *, background: bool = False, **options: Any) -> Done:
        """``sip.call``: `outcome`, `status`, `setup_time`, `mos`, `loss`, `gap_max`, ... `hold` in seconds."""
        return await self._do("sip.call", {**options, "from": caller, "to": to}, background=background)

    async def dial(self, pbx: str, to: str, *, background: bool = False, **options: Any) -> Done:
        """``pbx.dial``: the PBX itself calls a phone."""
        return await self._do("pbx.dial", {**options, "pbx": pbx, "to": to}, background=background)

    async def ping(self, sender: str, to: str, **options: Any) -> Done:
        """``ping``: `sent`, `received`, `loss`, `rtt_avg`, `denied_by`, ..."""
        return await self._do("ping", {**options, "from": sender, "to": to})

    async def udp(self, sender: str, to: str, **options: Any) -> Done:
        """``udp.send`` to an echo server: the same."""
        return await self._do("udp.send", {**options, "from": sender, "to": to})

    def send(
        self,
        host: str,
        to: str,
        payload: bytes,
        *,
        port: int = 9,
        source_port: int = 40000,
        source: str | None = None,
    ) -> None:
        """One datagram from `host`, now; `source` may be an address that it does not have."""
        member = self.member(host)
        target = self.stage.world.members.get(to)
        destination = ip_address(target.host.address if target is not None else to).packed
        origin = member.host.packed if source is None else ip_address(source).packed
        self.send_packet(host, build_udp(origin, destination, source_port, port, payload))

    def send_packet(self, host: str, packet: bytes | bytearray) -> None:
        """Any IP packet, a broken one too."""
        member = self.member(host)
        member.host.send_packet(packet, self.stage.now())
        self.stage.wake(member)

    async def step(self, step: Mapping[str, Any], *, judge: bool = True) -> Done:
        """Any step of the language. StepFailed if it does not come out as it expects, or by default should.

        With ``background: true`` it returns at once; wait for its end with ``await done.wait()``.
        """
        written = dict(step)
        done = self._begin(written)
        self._steps.append((written, done))
        if written.get("background"):
            await self._nursery.start(self._perform, done, judge)
        else:
            await self._perform(done, judge)
        return done

    async def _do(self, word: str, verb: Mapping[str, Any], *, background: bool = False) -> Done:
        """Without a verdict: the test looks at the results."""
        written = {
            key: seconds(value) if key in _TIMES and isinstance(value, int | float) else value
            for key, value in verb.items()
        }
        step: dict[str, Any] = {word: written}
        return await self.step({**step, "background": True} if background else step, judge=False)

    def _begin(self, written: dict[str, Any]) -> Done:
        """Check the step as if it stood in the file, behind those that were done already."""
        data = {key: value for key, value in self._script.places.data.items() if key in KEPT}
        before = [other for other, _ in self._steps if other.get("id")]
        scripts = runner.check(as_text({**data, "steps": [*before, written]}), "<step>", build=False)
        checked: Step = scripts[0].scenario.steps[-1]
        return Done(Stepping(self.stage, checked, self._given, self._is_running))

    async def _perform(
        self, done: Done, judge: bool, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        await done.perform(task_status.started)
        if judge and not done.passed:
            raise StepFailed(said(done.record))

    def _is_running(self, name: str) -> bool:
        return any(d.record.id == name and d.record.state is State.RUNNING for _, d in self._steps)

    def _given(self) -> Mapping[str, Plain]:
        world = names(self.stage)
        own = {done.record.id: done for _, done in self._steps if done.record.id is not None}
        return Lazy([*world, *own], lambda key: dict(own[key].results) if key in own else world[key])


_TIMES = frozenset({"hold", "give_up", "interval", "patience"})


def said(record: StepRecord) -> str:
    """Why a step failed, as the command says it."""
    reasons = [record.error] if record.error else []
    reasons += [explain(check) for check in record.checks if not check.holds]
    return f"{record.name}: " + "; ".join(reasons or ["failed"])


@asynccontextmanager
async def open_world(
    source: Source,
    *,
    seed: int | None = None,
    fabric: str = "sim",
    cell: Mapping[str, Any] | None = None,
    folder: Path | None = None,
) -> AsyncIterator[LabWorld]:
    """The world of a scenario, without its steps, up while the block runs and judged at its end.

    StepFailed if a law of the network was broken: a packet crossed into another network, had a false source, ...
    """
    script = script_of(source, cell, folder)
    world = worlds.build(script, seed=seed)
    try:
        where = named(fabric)
        with _time_of(where, world.seed):
            async with where.bring_up(world) as network:
                with trio.fail_after(script.scenario.deadline):
                    stage = Stage(world, network)
                    async with trio.open_nursery() as nursery, stage.programs.at_work():
                        yield LabWorld(stage, script, nursery)
                        nursery.cancel_scope.cancel()
                await network.drain()
                _judge(stage)
    except BaseExceptionGroup as group:  # of our nurseries, not of the test
        only = list(_leaves(group))
        if len(only) == 1:
            raise only[0] from only[0].__cause__
        raise


def _time_of(fabric: Fabric, seed: int) -> ExitStack:
    """Virtual time for a virtual fabric."""
    stack = ExitStack()
    if not fabric.virtual:
        return stack
    clock = trio.lowlevel.current_clock()
    if not isinstance(clock, VirtualClock):
        raise FabricUnavailable(
            "a simulated world needs a clock that can stand still: take the fixture poplab_world as an argument of "
            "the trio test itself, or poplab_world.run(...) in a test without trio"
        )
    if isinstance(clock, LabClock):
        if clock.virtual:
            raise PoplabError("one simulated world at a time: their clock cannot be in two")
        stack.enter_context(clock.stopped())
    stack.enter_context(seeded_scheduler(seed))
    return stack


def _judge(stage: Stage) -> None:
    broken = [law for law in invariants.check(stage.world.ledger, stage.network.snapshot()) if not law.holds]
    if broken:
        raise StepFailed("\n".join(f"{law.id}: {law.text}: {'; '.join(law.details)}" for law in broken))


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def run_file(
    source: Source | Script,
    *,
    seed: int | None = None,
    fabric: str | None = None,
    cell: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    observer: Observer | None = None,
) -> RunRecord:
    """Run a whole scenario, as ``poplab run`` does, and return what came of it. Not inside ``trio.run``."""
    script = source if isinstance(source, Script) else script_of(source, cell, folder)
    where = named(fabric or script.scenario.fabrics[0])
    chosen = script.scenario.seed if seed is None else seed
    repeat = script.command(where.name, chosen)
    watching = Nobody() if observer is None else observer
    main = partial(runner.run, script, where, seed=chosen, repeat=repeat, observer=watching)
    return where.execute(main, seed=chosen)


__all__ = ["ConfigError", "Done", "LabWorld", "StepFailed", "open_world", "run_file", "said"]
