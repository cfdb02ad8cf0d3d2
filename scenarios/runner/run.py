"""One run of one scenario: bring the world up, do the steps, judge, take it down; a record remains in any case."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Protocol

import trio

from edge.config import Kind
from edge.errors import PoplabError
from scenarios import world as worlds
from scenarios.checks import ExpressionError, Plain, Seconds, invariants, parse, show
from scenarios.fabric import Fabric
from scenarios.report import (
    AccountRecord,
    CheckRecord,
    InvariantRecord,
    MemberRecord,
    RunRecord,
    State,
    StepRecord,
    VnetRecord,
)
from scenarios.runner.actions import action
from scenarios.runner.names import names
from scenarios.runner.stage import Action, Stage
from scenarios.schema import Script, Step
from scenarios.world import World

TICK = 0.25
"""Seconds between two looks of the watchers."""
SAMPLE_TICKS = 2


class Observer(Protocol):
    """Whoever watches: the record is always up to date when one of these is called."""

    def started(self, run: RunRecord) -> None: ...

    def step_started(self, run: RunRecord, step: StepRecord) -> None: ...

    def step_ended(self, run: RunRecord, step: StepRecord) -> None: ...

    def tick(self, run: RunRecord) -> None: ...

    def ended(self, run: RunRecord) -> None: ...


class Nobody:
    """Watches nothing."""

    def started(self, run: RunRecord) -> None:
        """Nothing."""

    def step_started(self, run: RunRecord, step: StepRecord) -> None:
        """Nothing."""

    def step_ended(self, run: RunRecord, step: StepRecord) -> None:
        """Nothing."""

    def tick(self, run: RunRecord) -> None:
        """Nothing."""

    def ended(self, run: RunRecord) -> None:
        """Nothing."""


async def run(
    script: Script,
    fabric: Fabric,
    *,
    seed: int | None = None,
    repeat: str = "",
    observer: Observer | None = None,
    interrupt: trio.Event | None = None,
) -> RunRecord:
    """Run `script` once. `interrupt` ends it early: the world is drained and the record says so.

    PoplabError if the world cannot be brought up; everything else is in the record.
    """
    world = worlds.build(script, seed=seed)
    quiet = trio.Event() if interrupt is None else interrupt
    performance = _Run(world, fabric, repeat, Nobody() if observer is None else observer, quiet)
    await performance.perform()
    return performance.record


class _Run:
    def __init__(
        self, world: World, fabric: Fabric, repeat: str, observer: Observer, interrupt: trio.Event
    ) -> None:
        self.world = world
        self.fabric = fabric
        self.observer = observer
        self.interrupt = interrupt
        self.actions: dict[str, Action] = {}
        self.performing: list[tuple[StepRecord, Action]] = []
        self.started = 0.0
        self.forwarded: list[tuple[float, int]] = []
        scenario = world.scenario
        self.record = RunRecord(
            file=world.script.file,
            name=scenario.name,
            about=" ".join(scenario.about.split()),
            fabric=fabric.name,
            seed=world.seed,
            deadline=scenario.deadline,
            repeat=repeat,
            vnets=_vnets(world),
            steps=[
                StepRecord(
                    id=step.id, name=step.name or _title(step), verb=step.verb[0], background=step.background
                )
                for step in scenario.steps
            ],
        )

    async def perform(self) -> None:
        record = self.record
        record.started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.started = trio.current_time()
        record.state = State.RUNNING
        try:
            async with self.fabric.bring_up(self.world) as network:
                record.pop = network.address
                stage = Stage(self.world, network)
                self.observer.started(record)
                await self._watched(stage)
                await network.drain()
                self._refresh(stage)
                self._judge(stage)
        except Exception as error:
            refusal = _refusal(error)
            if refusal is not None:
                raise refusal from None
            record.error = "".join(traceback.format_exception(error)).strip()
            self._cut_off(State.ERROR, "poplab failed")
        record.elapsed = trio.current_time() - self.started
        self.observer.ended(record)

    async def _watched(self, stage: Stage) -> None:
        """The steps under the deadline, with a clock beside them and an ear for Ctrl-C."""
        with trio.move_on_after(self.record.deadline) as deadline:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tick, stage)
                nursery.start_soon(self._interrupted, nursery.cancel_scope)
                await self._steps(stage)
                nursery.cancel_scope.cancel()
        if self.interrupt.is_set():
            self._cut_off(State.INTERRUPTED, "interrupted")
        elif deadline.cancelled_caught:
            self._cut_off(State.FAILED, f"the deadline of {Seconds(self.record.deadline)} passed")

    async def _interrupted(self, scope: trio.CancelScope) -> None:
        await self.interrupt.wait()
        scope.cancel()

    async def _steps(self, stage: Stage) -> None:
        async with trio.open_nursery() as background:
            for step, record in zip(self.world.scenario.steps, self.record.steps, strict=True):
                if step.background:
                    await background.start(self._step, stage, step, record)
                else:
                    await self._step(stage, step, record)

    async def _step(
        self,
        stage: Stage,
        step: Step,
        record: StepRecord,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        record.state = State.RUNNING
        record.started = self._elapsed()
        acting = action(stage, step.verb[1], self._running)
        if step.id is not None:
            self.actions[step.id] = acting
        self.performing.append((record, acting))
        self.observer.step_started(self.record, record)
        task_status.started()
        with trio.move_on_after(step.within if step.within is not None else float("inf")) as within:
            await acting.run()
        if within.cancelled_caught and step.within is not None:
            record.error = f"not within {Seconds(step.within)}: {acting.waiting()}"
        self._finish(stage, record, acting)
        given = names(self.world, stage.network) | self._results() | acting.results()
        record.checks = [_check(text, given) for text in step.expect or acting.DEFAULT]
        failed = record.error or not all(check.holds for check in record.checks)
        record.state = State.FAILED if failed else State.PASSED
        self.observer.step_ended(self.record, record)

    def _finish(self, stage: Stage, record: StepRecord, acting: Action) -> None:
        record.ended = self._elapsed()
        record.summary = acting.summary()
        record.results = dict(acting.results())
        record.waiting = ""
        self._refresh(stage)

    def _running(self, step: str) -> bool:
        return any(record.id == step and record.state is State.RUNNING for record in self.record.steps)

    def _results(self) -> dict[str, Plain]:
        return {step: acting.results() for step, acting in self.actions.items()}

    def _elapsed(self) -> float:
        return trio.current_time() - self.started

    # -- what watchers see

    async def _tick(self, stage: Stage) -> None:
        ticks = 0
        while True:
            await trio.sleep(TICK)
            ticks += 1
            if ticks % SAMPLE_TICKS == 0:
                self._sample(stage)
            self._refresh(stage)
            self.observer.tick(self.record)

    def _sample(self, stage: Stage) -> None:
        now, out = self._elapsed(), sum(vnet.packets_out for vnet in stage.network.snapshot().vnets)
        before, past = self.forwarded[-1] if self.forwarded else (0.0, 0)
        self.forwarded.append((now, out))
        self.record.traffic.append((out - past) / (now - before))

    def _refresh(self, stage: Stage) -> None:
        """Bring the record up to date."""
        record, network = self.record, stage.network
        record.elapsed = self._elapsed()
        up = network.up()
        for vnet in record.vnets:
            for member in vnet.members:
                member.up = up.get(member.name, False)
        for step, acting in self.performing:
            if step.state is State.RUNNING:
                step.waiting = acting.waiting()
        record.calls = [call for _, acting in self.performing for call in acting.calls()]
        sightings = {(s.pbx, s.user): s for _, acting in self.performing for s in acting.sightings()}
        record.sightings = list(sightings.values())
        snapshot = network.snapshot()
        record.accounts = [
            AccountRecord(
                vnet=vnet.name,
                packets_in=vnet.packets_in,
                generated=vnet.packets_generated,
                packets_out=vnet.packets_out,
                dropped={reason.value: count for reason, count in vnet.drops.items() if count},
                held=vnet.packets_held,
            )
            for vnet in snapshot.vnets
        ]
        record.invariants = [
            InvariantRecord(id=law.id, holds=law.holds, text=law.text, details=list(law.details))
            for law in invariants.check(self.world.ledger, snapshot)
        ]

    # -- the verdict

    def _judge(self, stage: Stage) -> None:
        record = self.record
        if record.state is State.INTERRUPTED:
            return
        given = names(self.world, stage.network) | self._results()
        record.checks = [_check(text, given) for text in self.world.scenario.expect]
        good = (
            all(step.state is State.PASSED for step in record.steps)
            and all(check.holds for check in record.checks)
            and all(law.holds for law in record.invariants)
        )
        record.state = State.PASSED if good else State.FAILED

    def _cut_off(self, state: State, why: str) -> None:
        """Every step that runs ends here; the run goes on to drain and report."""
        self.record.state = state
        for step, acting in self.performing:
            if step.state is State.RUNNING:
                step.state = state
                step.waiting = acting.waiting()
                step.error = f"{why} while {step.waiting}" if step.waiting else why
                step.ended = self._elapsed()
                step.results = dict(acting.results())
                self.observer.step_ended(self.record, step)


def _check(text: str, given: Mapping[str, Plain]) -> CheckRecord:
    try:
        outcome = parse(text).evaluate(given)
    except ExpressionError as error:
        return CheckRecord(text=text, holds=False, error=f"{error}; {error.fix}" if error.fix else str(error))
    return CheckRecord(
        text=text, holds=outcome.holds, saw=[(name, show(value)) for name, value in outcome.saw]
    )


def _title(step: Step) -> str:
    """A name for a step without one."""
    word, verb = step.verb
    who = [getattr(verb, part, None) for part in ("caller", "sender", "pbx", "to")]
    named = " ".join(str(name) for name in who if name)
    return f"{word} {named}".strip()


def _vnets(world: World) -> list[VnetRecord]:
    """The topology as a person draws it."""
    records = []
    for name in world.scenario.vnets:
        members = []
        for end in world.ends:
            if end.vnet != name:
                continue
            config = world.config.tunnels[end.name]
            hosts = [member for member in world.members.values() if member.end == end.name]
            if end.kind is Kind.CONNECTOR:
                address = ", ".join(map(str, end.routes))
                inside = [(m.actor.short_name, m.host.address, _role(m)) for m in hosts]
            else:
                address, inside = str(ip_address(config.addresses[0])), []
            members.append(
                MemberRecord(
                    name=end.name,
                    kind=end.kind.value,
                    address=address,
                    tags=[*config.tags, *config.groups],
                    hosts=inside,
                )
            )
        records.append(VnetRecord(name=name, members=members))
    prefixes = [{member.address for member in record.members} for record in records]
    for index, record in enumerate(records):
        for earlier, other in enumerate(records[:index]):
            if prefixes[index] & prefixes[earlier]:
                record.note = f"the same addresses as {other.name}, another tenant"
                break
    return records


def _role(member: worlds.Member) -> str:
    roles = (("PBX", member.pbx), ("phone", member.phone), ("echo", member.echo))
    return ", ".join(word for word, app in roles if app is not None)


def _refusal(error: BaseException) -> PoplabError | None:
    """The error with a message for people that `error` is, or holds."""
    if isinstance(error, BaseExceptionGroup):
        return next((found for inner in error.exceptions if (found := _refusal(inner)) is not None), None)
    return error if isinstance(error, PoplabError) else None
