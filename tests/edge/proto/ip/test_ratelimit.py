"""The token bucket that keeps errors from becoming a storm (P19)."""

from edge.proto.ip import RateLimit


def test_a_burst_then_the_rate():
    limit = RateLimit(rate=10, burst=5)
    assert sum(limit.allow(100.0) for _ in range(50)) == 5
    assert not limit.allow(100.05)
    assert limit.allow(100.11)
    assert not limit.allow(100.11)


def test_a_flood_gets_no_more_than_the_rate():
    limit = RateLimit(rate=100, burst=10)
    passed = sum(limit.allow(step / 10_000) for step in range(100_000))  # 10 s
    assert 1000 <= passed <= 1010


def test_a_pause_fills_no_more_than_the_burst():
    limit = RateLimit(rate=10, burst=5)
    for _ in range(5):
        assert limit.allow(0.0)
    assert sum(limit.allow(1e6) for _ in range(50)) == 5


def test_bytes_instead_of_packets():
    limit = RateLimit(rate=1000, burst=2000)
    assert limit.allow(0.0, cost=1500)
    assert not limit.allow(0.0, cost=1500)
    assert limit.allow(1.0, cost=1500)


def test_a_clock_that_stands_or_goes_back_gives_nothing():
    limit = RateLimit(rate=10, burst=1)
    assert limit.allow(5.0)
    assert not limit.allow(5.0)
    assert not limit.allow(1.0)
    assert not limit.allow(5.05)
    assert limit.allow(5.11)
