import struct
from contextlib import suppress
from math import cos, log10, pi, sin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.types import BadPacket, DropReason
from scenarios.proto.audio import Echo, Recording, Silence, Tone, parse_wav_untrusted
from scenarios.proto.g711 import Law


def chunk(name, data, size=None):
    return name + struct.pack("<I", len(data) if size is None else size) + data + b"\0" * (len(data) % 2)


def fmt(encoding=1, channels=1, rate=8000, bits=16, extra=b""):
    block = channels * bits // 8
    return chunk(b"fmt ", struct.pack("<HHIIHH", encoding, channels, rate, rate * block, block, bits) + extra)


def wav(*chunks):
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def frames(source, law, count, samples=160):
    player = source.player(law, samples)
    return b"".join(player.next_frame() for _ in range(count))


@pytest.mark.parametrize("law", Law)
@pytest.mark.parametrize("frequency", [400, 440, 1004, 1])
def test_tone_is_one_unbroken_sine(law, frequency):
    heard = law.decode(frames(Tone(frequency, -10.0), law, 100))
    n = len(heard)
    assert n == 16000
    step = 2 * pi * frequency / 8000
    real = sum(s * cos(step * k) for k, s in enumerate(heard)) * 2 / n
    imaginary = sum(s * sin(step * k) for k, s in enumerate(heard)) * 2 / n
    power = sum(s * s for s in heard) / n
    level = 10 * log10(power / (32767**2 / 2)) + 3.14
    assert level == pytest.approx(-10.0, abs=0.15)
    assert (real**2 + imaginary**2) / 2 == pytest.approx(
        power, rel=0.01
    )  # nearly all of it at this frequency


def test_tones_that_do_not_fit_are_refused():
    for frequency in (0, 4000, -1):
        with pytest.raises(ValueError):
            Tone(frequency)
    with pytest.raises(ValueError):
        Tone(400, 6.0)


def test_silence():
    assert frames(Silence(), Law.MU, 2) == b"\xff" * 320
    assert frames(Silence(), Law.A, 1, 80) == b"\xd5" * 80


def test_echo_says_what_it_heard_then_silence():
    player = Echo().player(Law.MU, 4)
    player.heard(b"abcd")
    player.heard(b"too long")
    player.heard(b"efgh")
    assert [player.next_frame() for _ in range(3)] == [b"abcd", b"efgh", b"\xff" * 4]


def test_echo_keeps_at_most_ten_frames():
    player = Echo().player(Law.MU, 1)
    for n in range(200):
        player.heard(bytes((n,)))
    assert b"".join(player.next_frame() for _ in range(11)) == bytes(range(190, 200)) + b"\xff"


def test_recording_loops_or_ends_in_silence():
    samples = Law.MU.decode(bytes(range(128, 134)))
    recording = parse_wav_untrusted(wav(fmt(), chunk(b"data", struct.pack("<6h", *samples))))
    assert frames(recording, Law.MU, 4, 4) == bytes([128, 129, 130, 131, 132, 133] * 3)[:16]
    once = Recording(recording.samples, once=True)
    assert frames(once, Law.MU, 3, 4) == bytes(range(128, 134)) + b"\xff" * 6
    assert recording.duration == pytest.approx(6 / 8000)


@pytest.mark.parametrize(
    ("form", "data", "samples"),
    [
        (fmt(), struct.pack("<3h", -32768, 0, 32767), [-32768, 0, 32767]),
        (fmt(bits=8), bytes([0, 128, 255]), [-32768, 0, 32512]),
        (fmt(7, bits=8), b"\x00\xff", [-32124, 0]),
        (fmt(6, bits=8), b"\x2a\xd5", [-32256, 8]),
        (fmt(0xFFFE, extra=struct.pack("<HHIH", 22, 16, 4, 1) + b"\0" * 14), b"\x01\x00", [1]),
    ],
    ids=["linear16", "linear8", "mu-law", "A-law", "extensible"],
)
def test_wav_encodings(form, data, samples):
    assert list(parse_wav_untrusted(wav(form, chunk(b"data", data))).samples) == samples


def test_wav_with_other_chunks_and_odd_sizes():
    data = wav(chunk(b"LIST", b"abc"), fmt(), chunk(b"fact", b"\0\0\0\0"), chunk(b"data", b"\x05\x00"))
    assert list(parse_wav_untrusted(data).samples) == [5]


def test_wav_from_a_pipe_has_no_size():
    assert list(parse_wav_untrusted(wav(fmt(), b"data\xff\xff\xff\xff\x05\x00\x06\x00")).samples) == [5, 6]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", DropReason.MALFORMED),
        (b"RIFX" + wav(fmt())[4:], DropReason.MALFORMED),
        (wav(), DropReason.MALFORMED),
        (wav(fmt()), DropReason.MALFORMED),
        (wav(chunk(b"data", b"\0\0")), DropReason.MALFORMED),  # no format before
        (wav(chunk(b"fmt ", b"\1\0\1\0")), DropReason.BAD_LENGTH),
        (wav(fmt(), chunk(b"data", b"\0\0", 4)), DropReason.BAD_LENGTH),
        (wav(fmt(), chunk(b"LIST", b"", 0xFFFFFFFF)), DropReason.BAD_LENGTH),
        (wav(fmt(), chunk(b"data", b"")), DropReason.BAD_LENGTH),
        (wav(fmt(), chunk(b"data", b"\0")), DropReason.BAD_LENGTH),
        (wav(fmt(channels=2), chunk(b"data", b"\0\0\0\0")), DropReason.MALFORMED),
        (wav(fmt(rate=44100), chunk(b"data", b"\0\0")), DropReason.MALFORMED),
        (wav(fmt(bits=24), chunk(b"data", b"\0\0\0")), DropReason.MALFORMED),
        (wav(fmt(bits=0), chunk(b"data", b"\0\0\0")), DropReason.MALFORMED),
        (wav(fmt(85), chunk(b"data", b"\0\0")), DropReason.MALFORMED),  # MP3
        (wav(fmt(0xFFFE), chunk(b"data", b"\0\0")), DropReason.BAD_LENGTH),
    ],
)
def test_bad_wav_files_are_refused(data, reason):
    with pytest.raises(BadPacket) as error:
        parse_wav_untrusted(data)
    assert error.value.reason is reason


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_mutated_wav_files_raise_only_bad_packet(data):
    octets = bytearray(wav(fmt(), chunk(b"LIST", b"abc"), chunk(b"data", bytes(20))))
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    del octets[data.draw(st.integers(0, len(octets))) :]
    with suppress(BadPacket):
        parse_wav_untrusted(bytes(octets))
