from __future__ import annotations

import random
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.forwarding import Fib


def net(text: str) -> tuple[bytes, int]:
    parsed = ip_network(text)
    return parsed.network_address.packed, parsed.prefixlen


def ip(text: str) -> bytes:
    return ip_address(text).packed


def table(*routes: str) -> Fib[str]:
    fib: Fib[str] = Fib()
    for route in routes:
        fib.insert(*net(route), route)
    return fib


def test_the_longest_prefix_wins_and_the_rest_is_told_why() -> None:
    fib = table("10.0.0.0/8", "10.0.50.0/24", "0.0.0.0/0", "10.0.50.60/32", "fd00::/8", "::/0")
    assert fib.lookup(ip("10.0.50.60")) == "10.0.50.60/32"
    assert fib.lookup(ip("10.0.50.61")) == "10.0.50.0/24"
    assert fib.lookup(ip("10.9.9.9")) == "10.0.0.0/8"
    assert fib.lookup(ip("8.8.8.8")) == "0.0.0.0/0"
    assert fib.lookup(ip("fd01::1")) == "fd00::/8"
    assert fib.lookup(ip("2001:db8::")) == "::/0"
    assert [value for _, _, value in fib.matches(ip("10.0.50.60"))] == [
        "10.0.50.60/32", "10.0.50.0/24", "10.0.0.0/8", "0.0.0.0/0",
    ]  # fmt: skip


def test_families_do_not_meet() -> None:
    fib = table("::/0")
    assert fib.lookup(ip("10.0.0.1")) is None
    assert table("0.0.0.0/0").lookup(ip("::10.0.0.1")) is None


def test_removing() -> None:
    fib = table("10.0.0.0/8", "10.0.0.0/16")
    fib.remove(*net("10.0.0.0/16"))
    assert fib.lookup(ip("10.0.0.1")) == "10.0.0.0/8"
    assert len(fib) == 1
    with pytest.raises(KeyError):
        fib.remove(*net("10.0.0.0/16"))
    with pytest.raises(ValueError, match="prefix"):
        fib.insert(b"123", 8, "x")


prefixes = st.one_of(
    st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(lambda p: ip_network(p, strict=False)),
    st.tuples(st.integers(2**120, 2**128 - 1), st.integers(0, 128)).map(
        lambda p: ip_network(p, strict=False)
    ),
    st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32", "0.0.0.0/0", "::/0"]).map(
        ip_network
    ),
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(prefixes, max_size=25),
    st.lists(st.integers(0, 24), max_size=10),
    st.randoms(use_true_random=False),
)
def test_against_brute_force(routes, removed, rng: random.Random) -> None:
    fib: Fib[str] = Fib()
    kept = {}
    for route in routes:
        fib.insert(route.network_address.packed, route.prefixlen, str(route))
        kept[route] = str(route)
    for index in removed:
        route = routes[index] if index < len(routes) else None
        if route in kept:
            fib.remove(route.network_address.packed, route.prefixlen)
            del kept[route]
    assert len(fib) == len(kept)
    assert sorted(value for _, _, value in fib.items()) == sorted(kept.values())
    for route in [*routes, ip_network("10.1.2.0/24")]:
        address = route[rng.randrange(min(route.num_addresses, 2**16))]
        best = max(
            (k for k in kept if k.version == address.version and address in k),
            key=lambda k: k.prefixlen,
            default=None,
        )
        assert fib.lookup(address.packed) == (str(best) if best is not None else None)


def test_a_hundred_thousand_routes() -> None:
    rng = random.Random(4)
    fib: Fib[int] = Fib()
    routes = {
        (rng.getrandbits(32) >> (32 - n) << (32 - n), n) for n in rng.choices([16, 20, 22, 24, 32], k=100_000)
    }
    for value, (address, length) in enumerate(sorted(routes)):
        fib.insert(address.to_bytes(4, "big"), length, value)
    assert len(fib) == len(routes)
    assert all(fib.lookup(address.to_bytes(4, "big")) is not None for address, _ in routes)
