"""What is included, less what is excluded."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.proto.split_tunnel import Network, subtract


def nets(*texts: str) -> tuple[Network, ...]:
    return tuple(map(ip_network, texts))


@pytest.mark.parametrize(
    ("include", "exclude", "left"),
    [
        (nets("10.0.0.0/8"), nets(), nets("10.0.0.0/8")),
        (nets("10.0.0.0/30"), nets("10.0.0.1/32"), nets("10.0.0.0/32", "10.0.0.2/31")),
        (nets("10.0.0.0/24"), nets("10.0.0.0/16"), nets()),
        (nets("10.0.0.0/24"), nets("10.0.0.0/24"), nets()),
        (nets("10.0.0.0/24"), nets("10.0.1.0/24"), nets("10.0.0.0/24")),
        (nets("10.0.0.0/25", "10.0.0.128/25"), nets(), nets("10.0.0.0/24")),
        (nets("0.0.0.0/0", "::/0"), nets("128.0.0.0/1", "8000::/1"), nets("0.0.0.0/1", "::/1")),
        (nets("10.0.0.0/8"), nets("fd00::/8"), nets("10.0.0.0/8")),
        (nets("fd00::/62"), nets("fd00:0:0:1::/64"), nets("fd00::/64", "fd00:0:0:2::/63")),
    ],
)
def test_exclude_subtracts_from_include(include, exclude, left):
    assert subtract(include, exclude) == left


prefixes = st.lists(
    st.builds(
        lambda address, length: IPv4Network((address, length), strict=False),
        st.integers(0, 255).map(lambda low: 0x0A000000 + low),
        st.integers(24, 32),
    ),
    max_size=4,
)


@given(prefixes, prefixes)
def test_every_address_is_on_the_right_side(include, exclude):
    left = subtract(include, exclude)
    for low in range(256):
        address = ip_address(0x0A000000 + low)
        wanted = any(address in net for net in include) and not any(address in net for net in exclude)
        assert any(address in net for net in left) == wanted
