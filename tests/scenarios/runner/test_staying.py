"""A world that is kept up: a device that the scenario knows only by its keys comes in by the door."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
import trio

from connectors.client import Client
from edge.config import public_key
from edge.errors import Refused
from scenarios import world as worlds
from scenarios.fabric import Door, Loopback, Sim
from scenarios.outside import Lookout, sip_password
from scenarios.proto.host import Host
from scenarios.proto.ledger import Ledger
from scenarios.proto.ping import Ping
from scenarios.proto.premises import Premises
from scenarios.proto.udp_echo import Probe
from scenarios.report import RunRecord, State
from scenarios.runner import Nobody, Staying, check, run
from scenarios.world import World

LAB = """\
version: 1
name: lab
deadline: 20s
vnets: {acme: {}}
topology:
  sites:
    hq:
      vnet: acme
      routes: [10.0.50.0/24]
      hosts:
        web: {ip: 10.0.50.80, app: {http.server: {}}}
        pbx: {ip: 10.0.50.60, app: {sip.pbx: {}}}
  clients:
    bob: {vnet: acme, ip: 100.96.0.12, app: {sip.phone: {}}}
    phone: {vnet: acme, ip: 100.96.0.20, outside: true}
policy:
  - {id: sip, ports: udp/5060, action: allow}
  - {id: ping, to: {site: hq}, protocol: icmp, icmp: [echo-request], action: allow}
"""
STEPS = (
    "steps:\n  - wait: {tunnels: up}\n  - await: tunnels.phone.up\n    within: 100ms\n    may_fail: true\n"
)
PATIENCE = 10.0


class Kept:
    """A world that is up, and a device at its door."""

    def __init__(self, world: World, record: RunRecord, device: Host, ping: Ping, client: Client) -> None:
        self.world, self.record = world, record
        self._device, self._ping, self._client = device, ping, client
        self.stop: trio.Event = trio.Event()

    async def ping(self, address: str) -> Probe:
        now = trio.current_time()
        probe = self._ping.start(address, b"from outside", count=2, interval=0.05, patience=0.5, now=now)
        self._client.wake()
        await until(lambda: probe.received == 2 or trio.current_time() > now + 1.0)
        return probe

    def said(self, *parts: str) -> bool:
        texts = [f"{each.who} {each.text}" for each in self.record.happenings]
        return any(all(part in text for part in parts) for text in texts)


async def until(holds) -> None:
    with trio.fail_after(PATIENCE):
        while not holds():
            await trio.sleep(0.01)


@pytest.fixture
def door() -> Iterator[Door]:
    made = Door(("127.0.0.1", 0))
    yield made
    made.close()


@asynccontextmanager
async def kept(file: Path, door: Door, *, steps: bool = False) -> AsyncIterator[Kept]:
    """The world of `file`, with a device that has the keys of its `phone`. Judged after the block."""
    (script,) = check(file)
    world = worlds.build(script, watched=True)
    (end,) = world.outside
    host = Host("device", "100.96.0.20", vnet="acme", ledger=Ledger())
    ping = Ping()
    host.add(ping)
    port = Premises(host, ["phone"]).ports["phone"]
    public = public_key(world.config.private_key)
    client = Client("phone", end.private_key, public, door.address, port, psk=end.preshared_key)
    stop = trio.Event()
    staying = Staying(world, Loopback(), Nobody(), stop, door=door, steps=steps)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(staying.perform)
        await until(lambda: staying.record.pop)
        async with trio.open_nursery() as outside:
            port.running = True
            await outside.start(client.run)
            yield Kept(world, staying.record, host, ping, client)
            outside.cancel_scope.cancel()
        stop.set()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lab.yaml"
    path.write_text(LAB)
    return path


async def test_a_device_comes_in_is_seen_as_who_it_is_and_breaks_no_law(file: Path, door: Door) -> None:
    async with kept(file, door) as lab:
        assert (await lab.ping("10.0.50.80")).received == 2
        await until(lambda: lab.said("phone is here, from 127.0.0.1:"))
        await until(lambda: lab.said("hq/web hears from 100.96.0.20, the true source of phone"))
        assert lab.said("hq/pbx bob registered from 100.96.0.12, the true source of bob")
    assert lab.record.state is State.PASSED, lab.record
    phone = next(member for vnet in lab.record.vnets for member in vnet.members if member.name == "phone")
    assert phone.outside
    assert (phone.packets_in, phone.packets_out) >= (2, 2)
    assert all(law.holds for law in lab.record.invariants)
    booked = lab.world.members["phone"].host
    assert (booked.counters["sent"], booked.counters["received"]) == (2, 2)
    assert set(booked.seen) == {"10.0.50.80"}


async def test_what_the_pop_drops_is_told_with_its_reason(file: Path, door: Door) -> None:
    async with kept(file, door) as lab:
        assert (await lab.ping("100.96.0.12")).received == 0
        await until(lambda: lab.said("dropped 100.96.0.20 -> 100.96.0.12 icmp from phone: policy_blocked"))
    (drop,) = [each for each in lab.record.drops if each.tunnel == "phone"]
    assert (drop.reason, drop.rule, drop.count) == ("policy_blocked", "default", 2)


async def test_the_policy_of_the_file_is_in_force_when_it_is_saved(file: Path, door: Door) -> None:
    async with kept(file, door) as lab:
        assert (await lab.ping("10.0.50.80")).received == 2
        file.write_text(
            LAB.replace("icmp: [echo-request], action: allow", "icmp: [echo-request], action: block")
        )
        await until(lambda: lab.said("its policy is in force"))
        assert (await lab.ping("10.0.50.80")).received == 0
        file.write_text(LAB.replace("action: allow", "action: perhaps"))
        await until(lambda: lab.said("policy not in force", "lab.yaml:"))
        file.write_text(LAB.replace("100.96.0.12", "100.96.0.13").replace("action: allow", "action: reject"))
        words = "not in force, the one before stays: more than policy has changed in the file: topology.clients.bob;"
        await until(lambda: lab.said(words))
        assert (await lab.ping("10.0.50.80")).received == 0, "the last good one"
        file.write_text(LAB)
        await until(lambda: sum("is in force" in each.text for each in lab.record.happenings) == 2)
        assert (await lab.ping("10.0.50.80")).received == 2


async def test_a_file_that_is_gone_is_told_once_and_its_policy_stays(file: Path, door: Door) -> None:
    async with kept(file, door) as lab:
        file.unlink()
        await until(lambda: lab.said("the file is gone"))
        assert (await lab.ping("10.0.50.80")).received == 2
    assert sum("is gone" in each.text for each in lab.record.happenings if each.who == "policy") == 1


@pytest.mark.parametrize("fabric", [Sim(), Loopback()], ids=["sim", "loopback"])
def test_in_a_run_a_device_is_never_there_and_nobody_waits_for_it(file: Path, fabric: Sim | Loopback) -> None:
    file.write_text(
        LAB + STEPS + "expect: [not tunnels.phone.up, clients.phone.sent == 0, edge.tunnels_up == 2]\n"
    )
    (script,) = check(file)
    record = fabric.execute(lambda: run(script, fabric), seed=7)
    assert record.state is State.PASSED, record
    assert [step.state for step in record.steps] == [State.PASSED, State.FAILED]


def test_a_file_with_a_device_needs_no_steps(file: Path) -> None:
    check(file)
    file.write_text(LAB.replace(", outside: true", ""))
    with pytest.raises(Exception, match="nothing happens"):
        check(file)


def test_nobody_can_join_virtual_time(file: Path, door: Door) -> None:
    (script,) = check(file)

    async def bring_up() -> None:
        async with Sim().bring_up(worlds.build(script), door):
            pass

    with pytest.raises(Refused, match="virtual time"):
        Sim().execute(bring_up, seed=7)


def test_the_pbx_knows_the_device_by_a_password_that_follows_from_its_key(file: Path) -> None:
    (script,) = check(file)
    worlds_ = [worlds.build(script, secret=Random(n).randbytes) for n in (1, 1, 2)]
    passwords = [sip_password(world.outside[0].private_key, "hq/pbx") for world in worlds_]
    assert passwords[0] == passwords[1] != passwords[2]
    assert len(passwords[0]) == 12
    assert "phone" in script.cast.users(script.cast.actors["hq/pbx"])


def test_keys_are_in_no_text_about_a_world(file: Path) -> None:
    (script,) = check(file)
    world = worlds.build(script)
    (end,) = world.outside
    for secret in (end.private_key, end.preshared_key, world.config.private_key):
        assert repr(secret) not in repr(end) and repr(secret) not in repr(world.outside)


def test_strangers_cannot_fill_the_memory_of_drops(file: Path) -> None:
    from edge.proto.forwarding import Fate, Passage
    from edge.proto.types import DropReason

    lookout = Lookout({})
    for number in range(1000):
        lookout.passed(
            Passage(float(number), "acme", Fate.DROPPED, None, f"t{number}", reason=DropReason.MALFORMED)
        )
    assert [each.tunnel for each in lookout.drops][-1] == "t999"
    assert len(lookout.drops) <= 64


async def test_steps_are_done_only_when_wanted_and_can_wait_for_the_device(file: Path, door: Door) -> None:
    steps = "steps:\n  - {name: joined, await: tunnels.phone.up}\n  - {ping: {from: hq/web, to: phone, count: 1}}\n"
    file.write_text(LAB + steps)
    async with kept(file, door, steps=True) as lab:
        await until(lambda: lab.record.steps[0].state is State.PASSED)
    assert [step.verb for step in lab.record.steps] == ["await", "ping"]
    async with kept(file, door) as lab:
        await until(lambda: lab.said("phone is here"))
    assert lab.record.steps == []
