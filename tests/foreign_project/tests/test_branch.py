"""What this project promises its branch offices."""

from pathlib import Path

import pytest

BRANCH = Path(__file__).parents[1] / "scenarios" / "branch.yaml"


@pytest.mark.trio
async def test_a_branch_survives_its_line(poplab_world):
    async with poplab_world(BRANCH, cell={"line": "wan", "size": 64}, seed=1) as world:
        await world.up()
        await world.fault.partition("hq")
        lost = await world.udp("alice", "hq/server", patience=1)
        assert lost.received == 0
        await world.fault.heal("hq")
        await world.sleep(15)
        found = await world.udp("alice", "hq/server", count=3)
        assert found.received == 3
        assert world.now > 15


@pytest.mark.trio
async def test_guests_stay_outside(poplab_world):
    async with poplab_world(BRANCH, cell={"line": "lte"}) as world:
        await world.up()
        world.send("guest", "hq/server", b"let me in", port=7)
        await world.sleep(1)
        world.expect("vnets.office.rules.guests.hits == 1")
        assert world.drops == {"policy_blocked": 1}, world.drops


def test_the_whole_file(poplab_run):
    record = poplab_run("../scenarios/branch.yaml", cell={"line": "wan", "size": 1000}, fabric="sim")
    assert record.state == "passed"
    assert [step.state for step in record.steps] == ["passed"] * 3


def test_without_trio(poplab_world):
    async def main(world):
        await world.up()
        await world.sleep(50)
        return world.now

    assert poplab_world.run(BRANCH, main, cell={"line": "lte"}) >= 50
