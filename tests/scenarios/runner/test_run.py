"""Runs on loopback: verdicts, deadlines, interruption; what is judged is the run, never the machine's speed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from edge.errors import FabricUnavailable
from scenarios.fabric import FABRICS, Loopback, Network
from scenarios.report import RunRecord, State, StepRecord, junit_xml
from scenarios.runner import Nobody, check, run
from scenarios.runner.stepping import fields
from scenarios.schema import Script
from scenarios.world import World

LIBRARY = Path(__file__).parents[3] / "scenarios/library"

SMALL = """\
version: 1
name: small
deadline: 20s
vnets: {acme: {}, umbrella: {}}
topology:
  sites:
    hq: {vnet: acme, routes: [10.0.50.0/24], hosts: {server: {ip: 10.0.50.60, app: {udp.echo: {}}}}}
  clients:
    alice: {vnet: acme, ip: 100.96.0.12}
    eve: {vnet: umbrella, ip: 100.96.0.12}
policy:
  - {id: echo, ports: udp/7, action: allow}
steps:
  - name: up
    wait: {tunnels: up}
"""


def only(source: Path | str) -> Script:
    """The one script of a scenario without a matrix."""
    (script,) = check(source, "small.yaml")
    return script


async def run_text(text: str, **options: object) -> RunRecord:
    return await run(only(text), Loopback(), **options)  # type: ignore[arg-type]


async def test_the_first_lessons_pass_on_loopback() -> None:
    """Several at once, in one process: worlds share nothing. Voice is not to share its time with streams and builds."""
    files = sorted(LIBRARY.glob("0[1-7]-*.yaml"))
    records: dict[str, RunRecord] = {}

    async def one(file: Path) -> None:
        records[file.stem] = await run(only(file), FABRICS["loopback"])

    for some in (files[:4], files[4:]):
        async with trio.open_nursery() as nursery:
            for file in some:
                nursery.start_soon(one, file)
    assert len(records) == 7
    for name, record in records.items():
        wrong = [(c.text, c.saw, c.error) for c in record.failed_checks]
        assert record.state is State.PASSED, (name, record.error, wrong, [s.error for s in record.steps])
        assert all(law.holds for law in record.invariants)
        assert {law.id for law in record.invariants} == {
            "isolation",
            "accounting",
            "no-spoofing",
            "true-addresses",
            "delivery",
            "no-leaks",
        }
    voice = records["01-softphone-call"]
    assert [s.seen for s in voice.sightings] == ["100.96.0.12", "100.96.0.13", "10.0.50.101", "100.96.0.12"]
    assert all(d.packets > 50 and d.loss == 0 for call in voice.calls for d in call.directions)
    assert next(call for call in voice.calls if call.caller == "mallory").outcome == "timeout"


async def test_a_false_expectation_fails_the_run_and_names_what_it_saw() -> None:
    record = await run_text(
        SMALL
        + """
  - name: broken
    udp.send: {from: alice, to: hq/server, count: 2, interval: 0}
    expect: [received == 3, sent == 2]
expect: [vnets.umbrella.packets_in == 0]
"""
    )
    assert record.state is State.FAILED
    assert [step.state for step in record.steps] == [State.PASSED, State.FAILED]
    (check,) = record.failed_checks
    assert (check.text, check.saw) == ("received == 3", [("received", "2")])
    assert record.steps[1].results["received"] == 2


async def test_a_step_that_may_fail_is_recorded_and_fails_nothing() -> None:
    record = await run_text(
        SMALL
        + """
  - name: hopeless
    ping: {from: alice, to: hq/server, count: 1, patience: 200ms}
    may_fail: true
expect: [steps.failed == 0]
"""
    )
    assert [step.state for step in record.steps] == [State.PASSED, State.FAILED]
    assert record.steps[1].results["received"] == 0
    assert record.state is State.PASSED
    assert not record.failed_checks
    assert b"<failure" not in junit_xml([record])


async def test_without_expectations_a_probe_must_be_answered() -> None:
    record = await run_text(SMALL + "  - ping: {from: alice, to: hq/server, count: 1, patience: 200ms}\n")
    assert record.steps[1].name == "ping alice hq/server"
    assert record.steps[1].state is State.FAILED
    assert record.steps[1].results["denied_by"] == ["default"]
    assert record.steps[1].results["target_bytes"] == 0


async def test_a_step_that_takes_too_long_says_what_it_waited_for() -> None:
    record = await run_text(
        SMALL
        + "  - {name: slow, within: 100ms, expect: [sent == 1], udp.send: {from: eve, to: 10.0.50.60, patience: 9s}}\n"
    )
    assert record.steps[1].error == "not within 100 ms: waiting for answers from port 7 of 10.0.50.60 to eve"
    assert record.state is State.FAILED


async def test_the_deadline_ends_a_run_that_never_ends() -> None:
    record = await run_text(
        SMALL.replace("deadline: 20s", "deadline: 500ms") + "  - wait: {for: 1h}\n  - wait: {for: 1s}\n"
    )
    assert record.state is State.FAILED
    assert record.steps[1].error == "the deadline of 500 ms passed while waiting for 3600.0 s"
    assert record.steps[2].state is State.PENDING
    assert record.invariants, "the world is still judged"


async def test_an_interrupted_run_drains_and_keeps_its_record() -> None:
    interrupt = trio.Event()

    class Impatient(Nobody):
        def step_started(self, run: RunRecord, step: StepRecord) -> None:
            if step.verb == "wait" and step.name == "long":
                interrupt.set()

    laws = "invariants:\n  - {id: busy, sometimes: edge.flows > 1000}\n"
    record = await run_text(
        SMALL + "  - {name: long, wait: {for: 1h}}\n" + laws, observer=Impatient(), interrupt=interrupt
    )
    assert record.state is State.INTERRUPTED
    assert [step.state for step in record.steps] == [State.PASSED, State.INTERRUPTED]
    assert record.accounts
    (busy,) = (law for law in record.invariants if law.id == "busy")
    assert busy.holds, "what a run had no time for is not held against it"
    assert busy.text.endswith("(not judged: the run was cut short)")


async def test_a_defect_of_an_action_is_an_error_and_not_a_verdict() -> None:
    class Broken(Nobody):
        def step_ended(self, run: RunRecord, step: StepRecord) -> None:
            raise RuntimeError("defect")

    record = await run_text(SMALL, observer=Broken())
    assert record.state is State.ERROR
    assert "RuntimeError: defect" in record.error


async def test_a_machine_without_the_fabric_is_told_apart_from_a_failure() -> None:
    class Nowhere(Loopback):
        def bring_up(self, world: object) -> object:  # type: ignore[override]
            raise FabricUnavailable("no sockets here")

    with pytest.raises(FabricUnavailable):
        await run(only(SMALL), Nowhere())  # type: ignore[arg-type]


async def test_results_have_the_names_that_conditions_were_checked_against() -> None:
    record = await run(only(LIBRARY / "04-policy-denies.yaml"), Loopback())
    for step, done in zip(only(LIBRARY / "04-policy-denies.yaml").scenario.steps, record.steps, strict=True):
        assert tuple(done.results) == fields(step)


async def test_a_network_that_leaks_between_tenants_fails_the_run() -> None:
    class Leaky(Loopback):
        """Every packet for one tenant's server also reaches the other's, which has the same address."""

        @asynccontextmanager
        async def bring_up(self, world: World) -> AsyncIterator[Network]:  # type: ignore[override]
            mine, theirs = (world.members[f"{tenant}/server"].host for tenant in ("acme-hq", "umbrella-hq"))
            deliver = mine.handle_packets

            def leak(packets: list[bytearray], now: float) -> None:
                theirs.handle_packets([bytearray(packet) for packet in packets], now)
                deliver(packets, now)

            mine.handle_packets = leak  # type: ignore[method-assign]
            async with super().bring_up(world) as network:
                yield network

    record = await run(only(LIBRARY / "02-two-tenants-same-addresses.yaml"), Leaky())
    assert record.state is State.FAILED
    isolation = next(law for law in record.invariants if law.id == "isolation")
    assert not isolation.holds
    assert "sent by alice in vnet acme, reached umbrella-hq/server in vnet umbrella" in isolation.details[0]


async def test_a_law_that_cannot_be_read_says_why_it_was_never_seen() -> None:
    laws = "invariants:\n  - {id: typo, sometimes: clients.alice.nothing > 3}\n"
    record = await run_text(SMALL + laws)
    (typo,) = (law for law in record.invariants if law.id == "typo")
    assert not typo.holds
    assert typo.details[0].startswith("never seen: clients.alice has no 'nothing'; known here: ip, ")
