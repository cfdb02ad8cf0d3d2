"""The bench's own parts: a measuring tool that is wrong is worse than none."""

import json

import pytest

from tests.benchmarks import packets, quic
from tests.benchmarks.inprocess import aead_floor
from tests.benchmarks.report import Result, Row, rich_tables


@pytest.fixture
def result():
    row = Row("bulk 1400 B", [5.0, 4.0, 6.0], [10.0], [2.5], [100.0], [50.0], [0.999, 1.0])
    scale = {"poplab: 100": {"start_s": 0.5, "rss_mb": 50.0, "us_per_packet": 10.0}}
    lookup = {"insert_us": 1.0, "routed_us": 0.3, "random_us": 0.4}
    return Result({"cores": "2"}, "poplab", "wireguard-go", [row], scale, lookup)


def test_table_holds_median_spread_and_ratios(result):
    _, [cells] = result.lines()
    assert cells[:6] == ["bulk 1400 B", "5.0 (4.0-6.0)", "10.0 (10.0-10.0)", "0.50", "2.50", "2.0"]
    assert cells[-1] == "99.90 %"
    assert len(rich_tables(result)) == 3


def test_json_survives_a_round_trip(result, tmp_path):
    path = tmp_path / "bench.json"
    result.write(path)
    assert json.loads(path.read_text())["ours"] == "poplab"
    assert Result.read(path) == result
    assert "| bulk 1400 B | 5.0 (4.0-6.0) |" in Result.read(path).markdown()


def test_probe_notices_every_change_but_the_hop():
    packet = packets.udp("100.96.0.2", "100.96.0.3", 200, 7)
    assert len(packet) == 200
    assert packets.checksum(packet[:20]) == 0
    hop = bytearray(packet)
    hop[8] -= 1
    hop[10:12] = bytes(2)
    hop[10:12] = packets.checksum(bytes(hop[:20])).to_bytes(2)
    assert packets.same_but_for_the_hop(packet, bytes(hop))
    assert not packets.same_but_for_the_hop(packet, packet)
    for position in (1, 9, 12, 16, 20, 199):
        altered = bytearray(hop)
        altered[position] ^= 1
        assert not packets.same_but_for_the_hop(packet, bytes(altered))


def test_floor_grows_with_the_packet():
    assert aead_floor(64, rounds=200) > 0


def test_both_sides_of_the_quic_bench_forward_packets():
    for world in (quic.Pop(), quic.Alone()):
        _, arrived = world.forward(4, 20)
        assert arrived > 4  # pacing holds some back, as time is real here
