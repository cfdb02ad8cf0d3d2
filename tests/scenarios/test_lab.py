"""Worlds in the hands of tests: virtual time without any preparation, steps like methods, laws judged at the end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import trio

from edge.errors import ConfigError, FabricUnavailable, PoplabError
from scenarios.lab import LabClock, LabWorld, StepFailed, open_world
from scenarios.lab.fixture import WorldMaker
from scenarios.report import State

LIBRARY = Path(__file__).parents[2] / "scenarios/library"

OFFICE: dict[str, Any] = {
    "version": 1,
    "name": "office",
    "vnets": {"acme": {}, "umbrella": {}},
    "topology": {
        "sites": {
            "hq": {
                "vnet": "acme",
                "routes": ["10.0.50.0/24"],
                "hosts": {
                    "pbx": {"ip": "10.0.50.60", "app": {"sip.pbx": {}}},
                    "server": {"ip": "10.0.50.80", "app": {"udp.echo": {}}},
                },
            }
        },
        "clients": {
            "alice": {"vnet": "acme", "ip": "100.96.0.12", "app": {"sip.phone": {}}},
            "bob": {"vnet": "acme", "ip": "100.96.0.13", "app": {"sip.phone": {}}},
            "eve": {"vnet": "umbrella", "ip": "100.96.0.12"},
        },
    },
    "policy": [{"id": "all", "action": "allow"}],
    "steps": [{"wait": {"for": "1h"}}],
}


async def test_a_world_in_virtual_time(poplab_world: WorldMaker) -> None:
    begun = time.monotonic()
    async with poplab_world(OFFICE, seed=3) as world:
        assert world.now < 1
        up = await world.up()
        assert up.up == 4
        await world.sleep(40)
        assert 40 <= world.now < 45
        registered = await world.register("alice", "bob")
        assert registered.registered == 2 and registered.true_sources
        call = await world.call("alice", "bob", hold=5)
        assert (call.outcome, call.ended_by) == ("answered", "caller")
        assert call.mos > 4
        assert call.passed and call.record.summary.startswith("answered after")
        ping = await world.ping("alice", "hq/server", count=2, interval=0.1)
        assert (ping.sent, ping.received) == (2, 2)
        echo = await world.udp("bob", "hq/server", patience=0.5)
        assert echo.loss == 0
        world.expect("clients.alice.ip == clients.eve.ip and tunnels.alice.up")
        assert world.value("tunnels.bob.handshakes") == 1
        assert world.verdicts["acme"]["all"] >= 3 and not any(world.verdicts["umbrella"].values())
        assert world.snapshot().tunnel("alice").packets_rx > 100
    assert time.monotonic() - begun < 30, "nobody waited for 40 seconds"


async def test_a_world_with_its_seed_is_the_same_again(poplab_world: WorldMaker) -> None:
    seen = []
    for seed in (1, 1, 2):
        async with poplab_world(OFFICE, seed=seed) as world:
            await world.up()
            await world.fault.degrade("alice", {"delay": "20ms", "jitter": "5ms"})
            ping = await world.ping("alice", "hq/server", count=5)
            seen.append((world.now, ping.rtt_max))
    assert seen[0] == seen[1] != seen[2]


async def test_a_step_that_fails_says_what_the_command_says(poplab_world: WorldMaker) -> None:
    async with poplab_world(OFFICE) as world:
        await world.up()
        with pytest.raises(StepFailed, match="the ping: received == 2 is false: received = 1"):
            await world.step(
                {
                    "name": "the ping",
                    "ping": {"from": "alice", "to": "bob", "count": 1},
                    "expect": ["received == 2"],
                }
            )
        with pytest.raises(
            StepFailed, match=r"tunnels.alice.handshakes == 7 is false: tunnels.alice.handshakes = 1"
        ):
            world.expect("tunnels.alice.handshakes == 7")
        with pytest.raises(ConfigError, match=r"there is no 'bobb'\n.*did you mean 'bob'"):
            await world.ping("alice", "bobb")
        with pytest.raises(ConfigError, match=r"unknown key 'hodl'\n.*did you mean 'hold'"):
            await world.call("alice", "bob", hodl=3)
        with pytest.raises(AttributeError, match="a ping has no 'mos', but started"):
            _ = (await world.ping("alice", "bob")).mos


async def test_background_steps_and_their_names(poplab_world: WorldMaker) -> None:
    async with poplab_world(OFFICE) as world:
        await world.up()
        await world.register("alice", "bob")
        call = await world.step(
            {"id": "call", "background": True, "sip.call": {"from": "alice", "to": "bob", "hold": "9s"}}
        )
        assert call.record.state is State.RUNNING
        await world.step({"at": "call.confirmed + 2s", "ping": {"from": "bob", "to": "hq/server"}})
        assert world.now > 2
        assert call.outcome == "answered" and call.state == "confirmed"
        await world.step({"wait": {"step": "call"}})
        assert (await call.wait()).duration == pytest.approx(9, abs=0.5)
        other = await world.call("bob", "600", background=True, hold=100)
        assert other.record.state is State.RUNNING  # and is cut off with the world


async def test_faults(poplab_world: WorldMaker) -> None:
    async with poplab_world({**OFFICE, "deadline": "10m"}) as world:
        await world.up()
        fault = world.fault
        for begin, end in (
            (lambda: fault.partition("alice"), lambda: fault.heal("alice")),
            (lambda: fault.kill("hq"), lambda: fault.restart("hq")),
            (lambda: fault.blackhole(["alice"]), lambda: fault.heal()),
            (lambda: fault.zombie("hq"), lambda: fault.zombie("hq", on=False)),
        ):
            await begin()
            assert (await world.ping("alice", "hq/server", count=1, patience=0.2)).received == 0
            await end()
            await world.sleep(15)
            assert (await world.ping("alice", "hq/server", count=1)).received == 1
        await fault.roam("alice")
        await fault.rekey_now("alice")
        await fault.pause("alice", 0.5)
        assert (await world.ping("alice", "hq/server", count=1)).received == 1
        kinds = [record.kind for record in world.stage.faults]
        assert kinds[:2] == ["partition", "heal"] and kinds[-3:] == ["roam", "rekey-now", "pause"]


async def test_raw_packets_and_what_becomes_of_them(poplab_world: WorldMaker) -> None:
    async with poplab_world(OFFICE) as world:
        await world.up()
        server = world.member("hq/server").host
        world.send("alice", "hq/server", b"hello", port=7)
        await world.sleep(1)
        assert server.seen["100.96.0.12"].packets == 1
        assert world.drops == {}
        world.send("alice", "10.0.50.80", b"not mine", port=7, source="100.96.0.13")
        await world.sleep(1)
        assert world.drops == {"spoofed_source": 1}
        assert "100.96.0.13" not in server.seen
        world.send_packet("alice", b"\x45junk")
        await world.sleep(1)
        assert sum(world.drops.values()) == 2


async def test_a_broken_law_fails_the_test_at_the_end_of_the_world(poplab_world: WorldMaker) -> None:
    with pytest.raises(StepFailed, match="no-spoofing: .*nobody sent it"):
        async with poplab_world(OFFICE) as world:
            await world.up()
            bob = world.member("bob").host
            host = world.member("hq/server").host
            host.handle_packets([bytearray(_datagram(bob.packed, host.packed))], 1.0)


async def test_what_a_test_raises_comes_out_as_it_is(poplab_world: WorldMaker) -> None:
    with pytest.raises(ZeroDivisionError):
        async with poplab_world(OFFICE) as world:
            await world.up()
            _ = 1 / 0
    with pytest.raises(trio.TooSlowError):
        async with poplab_world({**OFFICE, "deadline": "20s"}) as world:
            await world.sleep(60)
    with pytest.raises(StepFailed, match="received == sent"):
        async with poplab_world(OFFICE) as world:
            await world.up()
            step = {"background": True, "udp.send": {"from": "eve", "to": "10.0.50.80", "patience": "1s"}}
            await world.step(step)
            await world.sleep(10)


async def test_one_simulated_world_at_a_time(poplab_world: WorldMaker) -> None:
    async with poplab_world(OFFICE):
        with pytest.raises(PoplabError, match="one simulated world at a time"):
            async with poplab_world(OFFICE):
                pass


async def test_real_sockets_have_real_time(poplab_world: WorldMaker) -> None:
    async with poplab_world(OFFICE, fabric="loopback") as world:
        await world.up()
        assert (await world.ping("alice", "hq/server", count=1)).received == 1
    async with poplab_world(OFFICE) as world:  # and after it a virtual one
        await world.sleep(30)
    await trio.sleep(0.001)


async def test_without_the_fixture_the_clock_is_missing() -> None:
    with pytest.raises(FabricUnavailable, match="take the fixture poplab_world as an argument"):
        async with open_world(OFFICE):
            pass


def test_without_trio(poplab_world: WorldMaker) -> None:
    async def main(world: LabWorld) -> float:
        await world.up()
        await world.sleep(100)
        return world.now

    data = {**OFFICE, "deadline": "200s"}
    assert poplab_world.run(data, main, seed=5) >= 100
    assert poplab_world.run(data, main, seed=5) == poplab_world.run(data, main, seed=5)


def test_whole_files(poplab_run: Any) -> None:
    record = poplab_run(LIBRARY / "04-policy-denies.yaml", fabric="sim", seed=11)
    assert (record.state, record.seed, record.fabric) == (State.PASSED, 11, "sim")
    assert record.repeat == f"poplab run {LIBRARY / '04-policy-denies.yaml'} --seed 11"
    assert poplab_run(record.file, fabric="loopback", seed=1).repeat.endswith("--seed 1 --fabric loopback")


def test_cells_of_a_matrix_are_named(poplab_run: Any) -> None:
    data = {
        **OFFICE,
        "matrix": {"count": [1, 2]},
        "steps": [
            {"wait": {"tunnels": "up"}},
            {"ping": {"from": "alice", "to": "bob", "count": "${matrix.count}"}},
        ],
    }
    assert poplab_run(data, cell={"count": 2}).steps[1].results["sent"] == 2
    with pytest.raises(
        ConfigError, match=r"there are 2 cells\n.*name one with cell=: {'count': 1}; {'count': 2}"
    ):
        poplab_run(data)
    with pytest.raises(ConfigError, match="0 cells of the matrix have"):
        poplab_run(data, cell={"count": 3})


def test_the_clock_stands_still_only_inside() -> None:
    clock = LabClock()
    before = clock.current_time()
    with clock.stopped():
        assert clock.current_time() == 0
        assert clock.deadline_to_sleep_time(5) > 100
        clock.now += 1000
        assert clock.deadline_to_sleep_time(1000) == 0
    assert before <= clock.current_time() < before + 100
    assert clock.deadline_to_sleep_time(clock.current_time() + 5) <= 5


def _datagram(source: bytes, destination: bytes) -> bytes:
    from edge.proto.ip import build_udp

    return bytes(build_udp(source, destination, 9, 9, b"forged by the test"))
