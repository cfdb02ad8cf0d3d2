"""Routes that a PoP tells: a hostile one costs little."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import pytest
import trio
import trio.testing

from connectors.advertised import Advertised, prefixes
from edge.errors import Refused
from edge.proto.masque.route import AddressRange


def a_range(start: str, end: str, protocol: int = 0) -> AddressRange:
    return AddressRange(ip_address(start).packed, ip_address(end).packed, protocol)


@pytest.mark.parametrize(
    ("told", "networks"),
    [
        (a_range("10.0.50.0", "10.0.50.255"), ["10.0.50.0/24"]),
        (a_range("0.0.0.0", "255.255.255.255"), ["0.0.0.0/0"]),
        (a_range("10.0.0.1", "10.0.0.2"), ["10.0.0.1/32", "10.0.0.2/32"]),
        (a_range("fd00::", "fd00::ffff"), ["fd00::/112"]),
        (a_range("10.0.0.0", "10.0.0.255", 17), []),  # a route cannot tell UDP from the rest
        (a_range("127.0.0.0", "127.0.0.255"), []),
        (a_range("169.254.0.0", "169.254.0.255"), []),
        (a_range("224.0.0.0", "224.0.0.255"), []),
        (a_range("fe80::", "fe80::ffff"), []),
        (a_range("ff02::", "ff02::ffff"), []),
    ],
)
def test_what_becomes_a_route(told: AddressRange, networks: list[str]):
    assert prefixes([told]) == [ip_network(network) for network in networks]


def test_odd_ranges_do_not_become_hundreds_of_thousands_of_routes():
    odd = [
        a_range(f"{first:x}::1", f"{first:x}:ffff:ffff:ffff:ffff:ffff:ffff:fffe") for first in range(1, 1900)
    ]
    with pytest.raises(Refused, match="more than 4096 prefixes"):
        prefixes(odd)


async def test_a_pop_that_keeps_changing_its_mind_is_followed_ever_more_slowly_to_the_last(
    autojump_clock: trio.testing.MockClock,
):
    advertised, taken = Advertised(), []

    def take(ranges: Sequence[AddressRange]) -> None:
        taken.append((trio.current_time(), ranges))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(advertised.follow, take)
        begin = trio.current_time()
        for number in range(1000):
            advertised.tell([a_range("10.0.0.0", str(ip_address("10.0.0.0") + number))])
            await trio.sleep(0.1)
        assert taken[0][0] - begin < 0.1 and len(taken) < 10
        await trio.sleep(60)
        last = taken[-1][1]
        assert last == [a_range("10.0.0.0", str(ip_address("10.0.0.0") + 999))]
        advertised.tell(last)  # at rest again: at once
        await trio.sleep(0.1)
        assert trio.current_time() - taken[-1][0] < 1
        nursery.cancel_scope.cancel()
