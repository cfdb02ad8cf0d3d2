"""Options of a SYN, and numbers that wrap."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.proto.types import BadPacket
from scenarios.proto.tcp_segment import mss_option, options_untrusted, unwrap


def test_the_mss_is_found_among_other_options() -> None:
    assert options_untrusted(b"\x01\x01\x03\x03\x07" + mss_option(1380) + b"\x00\xff\xff").mss == 1380
    assert options_untrusted(b"\x04\x02\x00").mss is None
    assert options_untrusted(b"").mss is None


@pytest.mark.parametrize(
    "data", [b"\x02", b"\x02\x04\x05", b"\x02\x03\x05", b"\x08\x00\x00\x00", b"\x08\x01"]
)
def test_an_option_whose_length_lies_is_refused(data: bytes) -> None:
    with pytest.raises(BadPacket):
        options_untrusted(data)


@given(st.binary(max_size=40))
def test_no_options_raise_anything_else(data: bytes) -> None:
    with contextlib.suppress(BadPacket):
        options_untrusted(data)


@given(st.integers(1 << 31, 1 << 40), st.integers(-(1 << 31), (1 << 31) - 1))
def test_a_number_is_found_again_behind_a_wrap(near: int, distance: int) -> None:
    assert unwrap((near + distance) & 0xFFFFFFFF, near) == near + distance
