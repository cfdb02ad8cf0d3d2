import random
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.types import BadPacket, DropReason
from scenarios.proto.rtcp import (
    Bye,
    ExtendedReport,
    ReceiverReport,
    ReportBlock,
    SenderReport,
    SourceDescription,
    compound,
    interval,
    ntp_time,
    parse_untrusted,
    round_trip,
)
from scenarios.proto.rtcp_xr import VoipMetrics

octet = st.integers(0, 255)
short = st.integers(0, 65535)
word = st.integers(0, 2**32 - 1)
text = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60)
blocks = st.builds(ReportBlock, word, octet, st.integers(-(2**23), 2**23 - 1), word, word, word, word)
reports = st.lists(blocks, max_size=4).map(tuple)
metrics = st.tuples(word, *[octet] * 4, *[short] * 4, *[octet] * 9, *[short] * 3).map(
    lambda t: VoipMetrics(*t)
)
first = st.one_of(
    st.builds(SenderReport, word, st.integers(0, 2**64 - 1), word, word, word, reports),
    st.builds(ReceiverReport, word, reports),
)
others = st.one_of(
    first,
    st.builds(SourceDescription, st.lists(st.tuples(word, text), max_size=3).map(tuple)),
    st.builds(Bye, st.lists(word, min_size=1, max_size=3).map(tuple), text),
    st.builds(ExtendedReport, word, st.lists(metrics, max_size=2).map(tuple)),
)
compounds = st.builds(lambda head, tail: [head, *tail], first, st.lists(others, max_size=4))


@settings(max_examples=100, deadline=None)
@given(compounds)
def test_round_trip(packets):
    data = compound(packets)
    assert len(data) % 4 == 0
    assert parse_untrusted(data) == packets


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=100).map(lambda b: b"\x81\xc9" + b))
def test_random_octets_raise_only_bad_packet(data):
    with suppress(BadPacket):
        parse_untrusted(data)


@settings(max_examples=60, deadline=None)
@given(compounds, st.data())
def test_mutated_and_cut_compounds_raise_only_bad_packet(packets, data):
    octets = bytearray(compound(packets))
    for _ in range(3):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(octet)
    for end in range(0, len(octets) + 1, 3):
        with suppress(BadPacket):
            parse_untrusted(bytes(octets[:end]))


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        ("80c90001", DropReason.BAD_LENGTH),
        ("80ca0001 00000001", DropReason.BAD_HEADER),  # a compound starts with a report
        ("a0c90001 00000004", DropReason.BAD_HEADER),  # padding on the first packet
        ("40c90001 00000001", DropReason.BAD_VERSION),
        ("81c90001 00000001", DropReason.BAD_LENGTH),  # one block announced, none there
        ("81c80006 00000001 0000000000000000 00000000 00000000 00000000", DropReason.BAD_LENGTH),
        ("80c90002 00000001", DropReason.BAD_LENGTH),  # longer than the datagram
        ("80c90001 00000001 8000", DropReason.BAD_LENGTH),
        ("80c90001 00000001 00c90001 00000001", DropReason.BAD_VERSION),
        ("80c90001 00000001 81ca0001 00000001", DropReason.BAD_LENGTH),  # SDES items never end
        ("80c90001 00000001 81ca0002 00000001 01ff6161", DropReason.BAD_LENGTH),
        ("80c90001 00000001 83cb0001 00000001", DropReason.BAD_LENGTH),  # BYE of three, one there
        ("80c90001 00000001 81cb0002 00000001 04616161", DropReason.BAD_LENGTH),  # BYE reason too long
        ("80c90001 00000001 80cf0000", DropReason.BAD_LENGTH),
        ("80c90001 00000001 80cf0002 00000001 07000008", DropReason.BAD_LENGTH),
        ("80c90001 00000001 80cf0002 00000001 07000000", DropReason.BAD_LENGTH),
        ("80c90001 00000001 a0cb0001 00000003", DropReason.BAD_LENGTH),  # padding not a multiple of 4
        ("80c90001 00000001 a0cb0001 00000008", DropReason.BAD_LENGTH),  # padding eats the common header
        ("80c90001 00000001 a0cb0001 00000004 80c90001 00000001", DropReason.BAD_LENGTH),  # padded, not last
    ],
)
def test_lies_are_refused(octets, reason):
    with pytest.raises(BadPacket) as error:
        parse_untrusted(bytes.fromhex(octets))
    assert error.value.reason is reason


def test_unknown_packets_are_skipped():
    data = compound([ReceiverReport(1)]) + bytes.fromhex("80cc0002 00000001 41424344") + Bye((1,)).to_bytes()
    assert parse_untrusted(data) == [ReceiverReport(1), Bye((1,))]


def test_padding_on_the_last_packet_is_cut_off():
    data = compound([ReceiverReport(1)]) + bytes.fromhex("a1cb0002 00000007 00000004")
    assert parse_untrusted(data) == [ReceiverReport(1), Bye((7,))]


def test_cumulative_loss_is_signed_and_saturates():
    for lost, seen in ((-5, -5), (2**30, 2**23 - 1), (-(2**30), -(2**23))):
        (report,) = parse_untrusted(ReceiverReport(1, (ReportBlock(2, 0, lost, 0, 0, 0, 0),)).to_bytes())
        assert report.reports[0].cumulative_lost == seen


def test_voip_metrics_lie_where_rfc_3611_puts_them():
    block = VoipMetrics(
        0x01020304, loss_rate=5, discard_rate=6, round_trip_delay=0x0708, r_factor=93, mos_lq=44, mos_cq=43,
        jitter_buffer_nominal=60,
    ).to_bytes()  # fmt: skip
    assert block[:4] == bytes.fromhex("07000008")
    assert len(block) == 36
    assert block[4:10] == bytes.fromhex("010203040506")
    assert block[16:18] == b"\x07\x08"
    assert (block[24], block[26], block[27]) == (93, 44, 43)
    assert block[29] == 0
    assert block[30:32] == b"\x00\x3c"


def test_round_trip_of_the_example_in_rfc_3550():
    # Figure 2: A = 0xb710:8000, DLSR = 5.250 s, LSR = 0xb705:2000, delay 6.125 s.
    now = 0xB710 + 0.5
    assert round_trip(now, 0xB7052000, 0x00054000) == pytest.approx(6.125)


def test_round_trip_without_a_report_or_with_a_lie():
    assert round_trip(100.0, 0, 5) is None
    assert round_trip(100.0, (ntp_time(100.0) >> 16) & 0xFFFFFFFF, 65536) is None
    assert round_trip(100.0, ((ntp_time(100.0) >> 16) & 0xFFFFFFFF) + 1, 0) == 0.0


def test_round_trip_across_the_wrap_of_the_middle_bits():
    sent = 65535.5
    lsr = (ntp_time(sent) >> 16) & 0xFFFFFFFF
    assert round_trip(sent + 2.0, lsr, 65536) == pytest.approx(1.0)


def test_interval_is_spread_around_five_seconds():
    rng = random.Random(1)
    kw = {"members": 2, "senders": 2, "bandwidth": 500.0, "average_size": 150.0, "we_sent": True, "rng": rng}
    later = [interval(**kw, initial=False) for _ in range(2000)]
    first_ones = [interval(**kw, initial=True) for _ in range(2000)]
    assert 0.5 * 5 / 1.2183 <= min(later) <= max(later) <= 1.5 * 5 / 1.2182
    assert sum(later) / 2000 == pytest.approx(5 / 1.21828, rel=0.02)
    assert max(first_ones) <= 1.5 * 2.5 / 1.2182


def test_interval_grows_with_the_group_and_favours_senders():
    class Middle:
        def random(self):
            return 0.5

        def getrandbits(self, k):
            return 0

    def of(**kw):
        return interval(bandwidth=100.0, average_size=100.0, initial=False, rng=Middle(), **kw) * 1.21828

    assert of(members=1000, senders=1000, we_sent=True) == pytest.approx(1000.0)
    assert of(members=1000, senders=100, we_sent=True) == pytest.approx(400.0)
    assert of(members=1000, senders=100, we_sent=False) == pytest.approx(1200.0)
