"""The tables against the arithmetic of the companding laws, written here a second time and differently."""

from itertools import pairwise
from math import log10

import pytest

from scenarios.proto.g711 import Law


def mu_encode(sample):
    """Segment by comparison with the decision values of table 2/G.711, on the 14-bit scale."""
    negative = sample < 0
    magnitude = (~sample if negative else sample) >> 2
    biased = min(magnitude + 33, 8191)
    segment = 0
    while biased >= 64 << segment:
        segment += 1
    step = (biased - (32 << segment)) // (2 << segment)
    return (0x7F if negative else 0xFF) - (segment * 16 + step)


def a_encode(sample):
    negative = sample < 0
    magnitude = (~sample if negative else sample) >> 4  # 0..2047
    segment = 0 if magnitude < 16 else magnitude.bit_length() - 4
    step = magnitude if segment == 0 else magnitude // 2 ** (segment - 1) - 16
    return ((0 if negative else 0x80) + segment * 16 + step) ^ 0x55


def mu_decode(code):
    segment, step = divmod(0xFF - (code | 0x80), 16)
    value = 4 * ((2 * step + 33) * 2**segment - 33)
    return value if code >= 0x80 else -value


def a_decode(code):
    segment, step = divmod((code ^ 0x55) & 0x7F, 16)
    value = 16 * step + 8 if segment == 0 else (16 * step + 264) * 2 ** (segment - 1)
    return value if (code ^ 0x55) >= 0x80 else -value


EVERY = range(-32768, 32768)


@pytest.mark.parametrize(("law", "encode"), [(Law.MU, mu_encode), (Law.A, a_encode)])
def test_every_sample_is_encoded_by_the_formula(law, encode):
    assert law.encode(EVERY) == bytes(map(encode, EVERY))


@pytest.mark.parametrize(("law", "decode"), [(Law.MU, mu_decode), (Law.A, a_decode)])
def test_every_octet_is_decoded_by_the_formula(law, decode):
    assert law.decode(bytes(range(256))) == list(map(decode, range(256)))


@pytest.mark.parametrize("law", Law)
def test_octets_survive_the_way_over_linear(law):
    back = law.encode(law.decode(bytes(range(256))))
    # mu-law has two zeros: the negative one comes back as the positive one.
    expected = bytes(0xFF if law is Law.MU and code == 0x7F else code for code in range(256))
    assert back == expected


@pytest.mark.parametrize("law", Law)
def test_quantizing_error_is_at_most_half_a_step(law):
    steps = sorted(law.decode_table)
    widest = max(b - a for a, b in pairwise(steps))
    heard = law.decode(law.encode(range(-32000, 32000)))
    assert max(abs(h - s) for h, s in zip(heard, range(-32000, 32000), strict=True)) <= widest / 2
    assert heard == sorted(heard)


def test_published_values():
    assert Law.MU.decode(bytes.fromhex("00 80 7f ff 01")) == [-32124, 32124, 0, 0, -31100]
    assert Law.A.decode(bytes.fromhex("2a aa 55 d5 00 80")) == [-32256, 32256, -8, 8, -5504, 5504]
    assert Law.MU.encode([0, 32767, -32768]) == bytes.fromhex("ff 80 00")
    assert Law.A.encode([0, 32767, -32768]) == bytes.fromhex("d5 aa 2a")


@pytest.mark.parametrize(("law", "octets"), [(Law.MU, "1e0b0b1e9e8b8b9e"), (Law.A, "34212134b4a1a1b4")])
def test_the_digital_milliwatt_is_a_sine_of_1_khz_at_0_dbm0(law, octets):
    """Tables 5 and 6 of G.711."""
    samples = law.decode(bytes.fromhex(octets))
    assert samples[0] == samples[3] == -samples[4] == -samples[7]
    assert samples[1] == samples[2] == -samples[5] == -samples[6]
    assert samples[1] / samples[0] == pytest.approx(2.414, rel=0.05)  # tan(67.5 degrees)
    power = sum(s * s for s in samples) / 8
    overload = (32768 / 2**0.5) ** 2  # of a full-scale sine, +3.14 or +3.17 dBm0
    assert 10 * log10(power / overload) == pytest.approx(-3.15, abs=0.1)


def test_law_by_static_payload_type():
    assert Law.of_payload_type(0) is Law.MU
    assert Law.of_payload_type(8) is Law.A
    with pytest.raises(ValueError, match="18"):
        Law.of_payload_type(18)


@pytest.mark.parametrize("law", Law)
def test_silence_is_the_smallest_value(law):
    assert abs(law.decode(bytes((law.silence,)))[0]) == min(map(abs, law.decode_table))
