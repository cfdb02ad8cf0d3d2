"""G.711: mu-law and A-law between 16-bit linear samples and octets, by table.

Linear values use the full 16-bit scale: the 14-bit (mu) and 13-bit (A) values of the Recommendation,
left-justified. A negative sample is companded by its ones' complement, as in the ITU-T reference software
(G.191).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum

_MU_BIAS = 33 << 2
_A_TOGGLE = 0x55  # G.711 inverts the even bits on the line


def _mu_linear(code: int) -> int:
    inverted = ~code & 0xFF
    exponent, mantissa = inverted >> 4 & 7, inverted & 15
    magnitude = ((mantissa * 2 + 33) << exponent + 2) - _MU_BIAS
    return -magnitude if inverted & 0x80 else magnitude


def _a_linear(code: int) -> int:
    toggled = code ^ _A_TOGGLE
    exponent, mantissa = toggled >> 4 & 7, toggled & 15
    magnitude = (mantissa << 4) + 8 if exponent == 0 else ((mantissa << 4) + 0x108) << exponent - 1
    return magnitude if toggled & 0x80 else -magnitude


def _encode_table(codes: Sequence[int], widths: Sequence[int], negative_bit: int) -> bytes:
    """Indexed by the sample as unsigned 16 bit; `codes` by rising magnitude, `widths` of their intervals."""
    positive = b"".join(bytes((code,)) * width for code, width in zip(codes, widths, strict=True))
    # Sample -1-n lies at index 65535-n and has the code of n with the other sign.
    return positive + bytes(code ^ negative_bit for code in reversed(positive))


# Magnitudes of a segment are equally spaced; the first interval of mu-law is half as wide (from 0 to 1).
_MU_WIDTHS = tuple(8 << segment for segment in range(8) for _ in range(16))
_MU_INTERVALS = (4, *_MU_WIDTHS[1:])
_A_WIDTHS = tuple(16 << max(0, segment - 1) for segment in range(8) for _ in range(16))


def _fill(intervals: Sequence[int]) -> tuple[int, ...]:
    """The last interval reaches up to the largest sample: overload is clipped."""
    return (*intervals[:-1], 32768 - sum(intervals[:-1]))


class Law(Enum):
    """The two companding laws, each with its static RTP payload type (RFC 3551), silence and tables."""

    MU = (0, "PCMU", 0xFF)
    A = (8, "PCMA", 0xD5)

    def __init__(self, payload_type: int, encoding: str, silence: int) -> None:
        self.payload_type = payload_type
        self.encoding = encoding
        self.silence = silence
        mu = encoding == "PCMU"
        self.decode_table: tuple[int, ...] = tuple(map(_mu_linear if mu else _a_linear, range(256)))
        codes = [0xFF - n for n in range(128)] if mu else [(0x80 | n) ^ _A_TOGGLE for n in range(128)]
        self.encode_table: bytes = _encode_table(codes, _fill(_MU_INTERVALS if mu else _A_WIDTHS), 0x80)

    @classmethod
    def of_payload_type(cls, payload_type: int) -> Law:
        for law in cls:
            if law.payload_type == payload_type:
                return law
        raise ValueError(f"payload type {payload_type} is neither PCMU (0) nor PCMA (8)")

    def encode(self, samples: Iterable[int]) -> bytes:
        """Octets for 16-bit samples."""
        table = self.encode_table
        return bytes([table[sample & 0xFFFF] for sample in samples])

    def decode(self, octets: bytes) -> list[int]:
        """16-bit samples for octets."""
        table = self.decode_table
        return [table[octet] for octet in octets]
