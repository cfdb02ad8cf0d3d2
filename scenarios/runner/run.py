"""One run of one scenario: bring the world up, do the steps, judge, take it down; a record remains in any case."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path

import trio

from edge.errors import PoplabError
from edge.metrics import HTTP_VERSIONS, Snapshot
from scenarios import world as worlds
from scenarios.checks import Plain, Seconds, invariants, threshold
from scenarios.fabric import Fabric, Network
from scenarios.report import AccountRecord, InvariantRecord, MasqueRecord, RunRecord, SampleRecord, State
from scenarios.runner import programs, streaming
from scenarios.runner.catalogue import metrics
from scenarios.runner.hosts import hits, host_records
from scenarios.runner.lateness import Lateness
from scenarios.runner.lazy import Lazy
from scenarios.runner.leaks import no_leaks
from scenarios.runner.loading import Loading
from scenarios.runner.names import names
from scenarios.runner.observer import Nobody, Observer
from scenarios.runner.stage import Stage
from scenarios.runner.stepping import Stepping
from scenarios.runner.tracing import Tracing
from scenarios.runner.tree import tree, tunnel_ways, tunnels_up, way_records
from scenarios.runner.verdict import Watch, judged, limits, measured
from scenarios.schema import Script
from scenarios.trace.recorder import Recorder
from scenarios.world import World

SAMPLES = 240
"""About so many over the deadline of a run, but not more often than every half second."""
FASTEST_SAMPLE = 0.5


async def run(
    script: Script,
    fabric: Fabric,
    *,
    seed: int | None = None,
    repeat: str = "",
    observer: Observer | None = None,
    interrupt: trio.Event | None = None,
    recorder: Recorder | None = None,
    leaks: bool = True,
    folder: Path | None = None,
) -> RunRecord:
    """Run `script` once. `interrupt` ends it early: the world is drained and the record says so.

    A `recorder` sees every packet and everything that happens; it changes nothing. `leaks`: look at what is left in
    the end. What real programs write goes to `folder` as well.

    PoplabError if the world cannot be brought up; everything else is in the record.
    """
    world = worlds.build(script, seed=seed, recorder=recorder)
    quiet = trio.Event() if interrupt is None else interrupt
    seen_by = Nobody() if observer is None else observer
    performance = Performance(world, fabric, repeat, seen_by, quiet, leaks=leaks, folder=folder)
    await performance.perform()
    return performance.record


class Performance:
    """A run at work; `record` is what is known of it so far."""

    def __init__(
        self,
        world: World,
        fabric: Fabric,
        repeat: str,
        observer: Observer,
        interrupt: trio.Event,
        *,
        leaks: bool = True,
        folder: Path | None = None,
    ) -> None:
        self.world = world
        self.fabric = fabric
        self.observer = observer
        self.interrupt = interrupt
        self._lateness = Lateness()
        self._tracing = Tracing(world.recorder)
        self.metrics = metrics()
        self._leaks = leaks
        self._folder = folder
        self._over = False
        self._steps_wanted = True
        scenario = world.scenario
        self._limits = limits(scenario)
        self._watches = [Watch(invariant) for invariant in scenario.invariants]
        self._steps: list[Stepping] = []
        self._loads: dict[str, Loading] = {}
        self._begun = time.monotonic()
        self._before: tuple[float, int, int] = (0.0, 0, 0)
        self._broken: dict[str, InvariantRecord] = {}
        self._broken_at: dict[str, float] = {}
        self.record = RunRecord(
            file=world.script.file,
            name=scenario.name,
            about=" ".join(scenario.about.split()),
            cell=dict(world.script.cell),
            fabric=fabric.name,
            seed=world.seed,
            deadline=scenario.deadline,
            virtual=fabric.virtual,
            repeat=repeat,
            vnets=tree(world),
        )

    async def perform(self) -> None:
        record = self.record
        record.started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        record.state = State.RUNNING
        stage: Stage | None = None
        try:
            programs.need(self.world.script)
            async with self._bring_up() as network:
                record.pop = network.address
                stage = Stage(self.world, network)
                self._tracing.attach(stage)
                self._prepare(stage)
                self.observer.started(record)
                async with stage.programs.at_work(self._folder):
                    await self._act(stage)
                if self._leaks and record.state in (State.PASSED, State.FAILED):
                    law = await no_leaks(stage, virtual=self.fabric.virtual)
                    record.invariants.append(law)
                    record.state = record.state if law.holds else State.FAILED
        except Exception as error:
            refusal = _refusal(error)
            if refusal is not None:
                raise refusal from None
            record.error = "".join(traceback.format_exception(error)).strip()
            self._cut_off(State.ERROR, "poplab failed")
        if stage is not None and not self._over:
            record.elapsed = stage.elapsed()
        record.wall = time.monotonic() - self._begun
        self.observer.ended(record)

    def _bring_up(self) -> AbstractAsyncContextManager[Network]:
        return self.fabric.bring_up(self.world)

    async def _act(self, stage: Stage) -> None:
        """From the first step to the verdict."""
        streaming.begin_at_once(stage)
        await self._watched(stage)
        streaming.end_all(stage)
        await stage.network.drain()
        self._sample(stage)
        self._refresh(stage)
        self._judge(stage)
        self.record.elapsed = stage.elapsed()
        self._over = True
        if self.world.recorder is not None:
            self.world.recorder.end()
        await stage.programs.end_all()
        self.record.programs = stage.programs.records()
        self.record.incomplete = stage.programs.launcher.incomplete

    def _prepare(self, stage: Stage) -> None:
        def given() -> Mapping[str, Plain]:
            return self._given(stage)

        stage.given = given
        scenario = self.world.scenario
        if self._steps_wanted:
            self._steps = [
                Stepping(stage, step, given, self._running, place=place)
                for step, place in zip(scenario.steps, self.world.script.step_places, strict=True)
            ]
            self._loads = {
                name: Loading(name, load, stage, self.metrics) for name, load in scenario.load.items()
            }
        self.record.steps = [step.record for step in self._steps]
        self.record.loads = [load.record for load in self._loads.values()]
        stage.network.every(max(FASTEST_SAMPLE, scenario.deadline / SAMPLES), lambda: self._sample(stage))
        stage.network.watch(lambda: self._look(stage))

    async def _watched(self, stage: Stage) -> None:
        """Steps and loads under the deadline, with an ear for Ctrl-C and for thresholds that end the run."""
        with trio.move_on_after(self.record.deadline) as deadline:
            async with trio.open_nursery() as nursery:
                stage.abort = nursery.cancel_scope.cancel
                nursery.start_soon(self._interrupted, nursery.cancel_scope)
                if not self.fabric.virtual:
                    nursery.start_soon(self._lateness.watch)
                async with trio.open_nursery() as working:
                    for load in self._loads.values():
                        working.start_soon(load.run)
                    working.start_soon(self._perform_steps, stage)
                nursery.cancel_scope.cancel()
        if self.interrupt.is_set():
            self._cut_off(State.INTERRUPTED, "interrupted")
        elif deadline.cancelled_caught:
            self._cut_off(State.FAILED, f"the deadline of {Seconds(self.record.deadline)} passed")
        elif self.record.stopped_by:
            self._cut_off(State.FAILED, f"a threshold ended the run: {self.record.stopped_by}")

    async def _interrupted(self, scope: trio.CancelScope) -> None:
        await self.interrupt.wait()
        scope.cancel()

    async def _perform_steps(self, stage: Stage) -> None:
        async with trio.open_nursery() as background:
            for step in self._steps:
                if step.step.background:
                    await background.start(self._perform_step, stage, step)
                else:
                    await self._perform_step(stage, step)

    async def _perform_step(
        self,
        stage: Stage,
        step: Stepping,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        if step.step.background and step.step.at is not None:
            task_status.started()  # its time may be that of a later step
        started = False

        def begun() -> None:
            nonlocal started
            started = True
            self._tracing.step_begins(step.record)
            self.observer.step_started(self.record, step.record)
            if not (step.step.background and step.step.at is not None):
                task_status.started()

        await step.run(begun)
        if not started:
            begun()
        if step.acting is not None:
            step.acting.measure(self.metrics, **_tags(step))
        record = step.record
        if record.started is not None and record.ended is not None and record.id is not None:
            self.metrics.add("steps.duration", record.ended - record.started, step=record.id)
        self._refresh(stage)
        step.judge()
        self._check_watches(stage)
        self._tracing.step_ends(record)
        self.observer.step_ended(self.record, record)

    def _running(self, name: str) -> bool:
        if name in self._loads:
            return not self._loads[name].over
        pending = (State.PENDING, State.RUNNING)
        return any(step.record.id == name and step.record.state in pending for step in self._steps)

    def _given(self, stage: Stage) -> Mapping[str, Plain]:
        """Everything that conditions can ask for."""
        world = names(stage)
        steps = {step.step.id: step for step in self._steps if step.step.id is not None}

        def make(key: str) -> Plain:
            if key in steps:
                return steps[key].results()
            if key in self._loads:
                return self._loads[key].results()
            if key == "steps":
                return {"failed": self._failed_steps()}
            return world[key]

        return Lazy([*world, "steps", *steps, *self._loads], make)

    def _failed_steps(self) -> int:
        steps = [step.record for step in self._steps]
        return sum(step.state is State.FAILED and not step.may_fail for step in steps)

    # -- what is looked at while it goes on

    def _look(self, stage: Stage) -> None:
        if self._over:
            return
        self._refresh(stage)
        self.record.wall = time.monotonic() - self._begun
        self.observer.tick(self.record)

    def _sample(self, stage: Stage) -> None:
        """At even distances: figures over time, invariants, thresholds that end the run."""
        if self._over:
            return
        now = stage.elapsed()
        snapshot = stage.network.snapshot()
        out = sum(vnet.packets_out for vnet in snapshot.vnets)
        dropped = sum(vnet.dropped for vnet in snapshot.vnets)
        at, out_before, dropped_before = self._before
        took = now - at
        if took > 0:
            self._before = now, out, dropped
            rate = max(0, out - out_before) / took
            self.record.samples.append(
                SampleRecord(
                    at=now,
                    packets_per_second=rate,
                    dropped_per_second=max(0, dropped - dropped_before) / took,
                    flows=sum(vnet.flows for vnet in snapshot.vnets),
                    tunnels_up=sum(tunnel.up for tunnel in snapshot.tunnels),
                )
            )
            self.metrics.add("edge.packets_per_second", rate)
        self._account(snapshot, now)
        self._check_watches(stage)
        failing = threshold.first_abort(self._limits, self.metrics, now)
        if failing is not None and not self.record.stopped_by:
            self.record.stopped_by = failing.text
            stage.abort()

    def _account(self, snapshot: Snapshot, now: float) -> None:
        """The laws that the PoP's own counters show, at any moment; a breach is remembered even if it heals."""
        law = invariants.accounting(snapshot)
        if not law.holds and law.id not in self._broken:
            details = [f"at {Seconds(now)}: {detail}" for detail in law.details]
            self._broken[law.id] = InvariantRecord(id=law.id, holds=False, text=law.text, details=details)
        for each in invariants.check(self.world.ledger, snapshot):
            if not each.holds:
                self._broken_at.setdefault(each.id, now)
        for vnet in snapshot.vnets:
            self.metrics.add("edge.packets", vnet.packets_out, vnet=vnet.name)
            self.metrics.add("edge.flows", vnet.flows, vnet=vnet.name)
        self.metrics.add("edge.tunnels_up", sum(tunnel.up for tunnel in snapshot.tunnels))
        if snapshot.masque is not None:
            self.metrics.add("masque.fallbacks", snapshot.masque.fallbacks)
            self.metrics.add("masque.returns", snapshot.masque.returns)
            for http in HTTP_VERSIONS:
                self.metrics.add("masque.sessions", snapshot.masque.sessions.get(http, 0), http=http)

    def _check_watches(self, stage: Stage) -> None:
        if self._watches:
            given = self._given(stage)
            for watch in self._watches:
                watch.look(given, stage.elapsed())

    def _refresh(self, stage: Stage) -> None:
        """Bring the record up to date."""
        record, network = self.record, stage.network
        record.elapsed = stage.elapsed()
        record.late = self._lateness.longest
        record.events = network.events
        snapshot = network.snapshot()
        up, ways = tunnels_up(stage, snapshot), tunnel_ways(stage, snapshot)
        for vnet in record.vnets:
            for member in vnet.members:
                member.up = up.get(member.name, False)
                member.way = ways.get(member.name, "")
        for step in self._steps:
            if step.record.state is State.RUNNING:
                step.refresh()
        for load in self._loads.values():
            load.refresh()
        record.calls = [call for step in self._steps for call in step.calls()]
        sightings = {(s.pbx, s.user): s for step in self._steps for s in step.sightings()}
        record.sightings = list(sightings.values())
        record.faults = stage.faults
        record.ways = way_records(stage)
        if snapshot.masque is not None:
            record.masque = MasqueRecord(
                sessions=dict(snapshot.masque.sessions),
                fallbacks=snapshot.masque.fallbacks,
                returns=snapshot.masque.returns,
                refused=sum(snapshot.masque.refused.values()),
            )
        record.accounts = [
            AccountRecord(
                vnet=vnet.name,
                packets_in=vnet.packets_in,
                generated=vnet.packets_generated,
                packets_out=vnet.packets_out,
                dropped={reason.value: count for reason, count in vnet.drops.items() if count},
                held=vnet.packets_held,
                rules=hits(vnet.rule_hits),
            )
            for vnet in snapshot.vnets
        ]
        record.invariants = [
            self._broken.get(law.id)
            or InvariantRecord(id=law.id, holds=law.holds, text=law.text, details=list(law.details))
            for law in invariants.check(self.world.ledger, snapshot)
        ] + [*stage.programs.law(), *(watch.record for watch in self._watches)]
        record.programs = stage.programs.records()
        for law in record.invariants:
            law.at = self._broken_at.get(law.id, law.at)

    # -- the verdict

    def _judge(self, stage: Stage) -> None:
        record = self.record
        self._measure(stage)
        record.hosts = host_records(self.world)
        record.thresholds = measured(self._limits, self.metrics, record.elapsed)
        if record.stopped_by:
            for limit in record.thresholds:
                limit.aborted = not limit.holds and record.stopped_by.startswith(f"{limit.key}: {limit.text}")
        for watch in self._watches:
            watch.end(whole=record.state is State.RUNNING)
        if record.state is State.INTERRUPTED:
            return
        given = self._given(stage)
        record.checks = [judged(text, given) for text in self.world.scenario.expect]
        good = (
            record.state is State.RUNNING
            and all(step.state is State.PASSED or step.may_fail for step in record.steps)
            and all(check.holds for check in record.checks)
            and all(law.holds for law in record.invariants)
            and all(limit.holds for limit in record.thresholds)
        )
        record.state = State.PASSED if good else State.FAILED

    def _measure(self, stage: Stage) -> None:
        """What only the end can tell."""
        snapshot = stage.network.snapshot()
        self.metrics.add("steps.failed", self._failed_steps())
        for vnet in snapshot.vnets:
            for reason, count in vnet.drops.items():
                if count:
                    self.metrics.add("edge.dropped", count, vnet=vnet.name, reason=reason.value)

    def _cut_off(self, state: State, why: str) -> None:
        """Every step that runs ends here; the run goes on to drain and report."""
        self.record.state = state
        for step in self._steps:
            if step.record.state is State.RUNNING:
                step.cut_off(state, why)
                self._tracing.step_ends(step.record)
                self.observer.step_ended(self.record, step.record)


def _tags(step: Stepping) -> dict[str, str]:
    """How its figures are called in thresholds."""
    if step.step.id is None or step.acting is None:
        return {}
    return {step.acting.TAG: step.step.id}


def _refusal(error: BaseException) -> PoplabError | None:
    """The error with a message for people that `error` is, or holds."""
    if isinstance(error, BaseExceptionGroup):
        return next((found for inner in error.exceptions if (found := _refusal(inner)) is not None), None)
    return error if isinstance(error, PoplabError) else None
