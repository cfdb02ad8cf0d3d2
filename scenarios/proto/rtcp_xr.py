"""The VoIP metrics block of RTCP extended reports (RFC 3611 section 4.7)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from edge.proto.types import BadPacket, DropReason

VOIP_METRICS = 7
_BLOCK = struct.Struct("!BBHI4B4H4B4BBBHHH")
_WORDS = _BLOCK.size // 4 - 1
UNAVAILABLE = 127


class VoipMetrics(NamedTuple):
    """Rates of 256, durations and delays in ms, MOS times ten; 127 where a value is not available."""

    ssrc: int
    loss_rate: int = 0
    discard_rate: int = 0
    burst_density: int = 0
    gap_density: int = 0
    burst_duration: int = 0
    gap_duration: int = 0
    round_trip_delay: int = 0
    end_system_delay: int = 0
    signal_level: int = UNAVAILABLE
    noise_level: int = UNAVAILABLE
    echo_return_loss: int = UNAVAILABLE
    gmin: int = 16
    r_factor: int = UNAVAILABLE
    external_r_factor: int = UNAVAILABLE
    mos_lq: int = UNAVAILABLE
    mos_cq: int = UNAVAILABLE
    receiver_configuration: int = 0
    jitter_buffer_nominal: int = 0
    jitter_buffer_maximum: int = 0
    jitter_buffer_absolute_maximum: int = 0

    def to_bytes(self) -> bytes:
        fields = tuple(self)
        return _BLOCK.pack(VOIP_METRICS, 0, _WORDS, *fields[:18], 0, *fields[18:])


def parse_blocks(data: bytes) -> tuple[VoipMetrics, ...]:
    """The VoIP metrics among the report blocks in `data`; other blocks are skipped."""
    metrics: list[VoipMetrics] = []
    at = 0
    while at < len(data):
        if at + 4 > len(data):
            raise BadPacket(DropReason.BAD_LENGTH, "octets after the last report block")
        kind, words = data[at], int.from_bytes(data[at + 2 : at + 4], "big")
        end = at + 4 * (words + 1)
        if end > len(data):
            raise BadPacket(DropReason.BAD_LENGTH, "report block runs past the end")
        if kind == VOIP_METRICS:
            if words != _WORDS:
                raise BadPacket(DropReason.BAD_LENGTH, "VoIP metrics of another length")
            values = _BLOCK.unpack_from(data, at)
            metrics.append(VoipMetrics(*values[3:21], *values[22:]))
        at = end
    return tuple(metrics)
