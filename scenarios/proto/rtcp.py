"""RTCP (RFC 3550 section 6): compound packets of SR, RR, SDES and BYE, and the VoIP metrics of RFC 3611."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeAlias

from edge.proto.types import BadPacket, DropReason
from scenarios.proto.rtcp_xr import VoipMetrics, parse_blocks

SENDER_REPORT = 200
RECEIVER_REPORT = 201
SOURCE_DESCRIPTION = 202
BYE = 203
EXTENDED_REPORT = 207

MINIMUM_INTERVAL = 5.0
_COMPENSATION = 2.71828 - 1.5  # RFC 3550 6.3.1: randomising shortens the mean interval by this factor

_COMMON = struct.Struct("!BBH")
_SENDER = struct.Struct("!IQIII")
_REPORT = struct.Struct("!IIIIII")
_MAX_COUNT = 31


class Random(Protocol):
    """The part of random.Random that media needs."""

    def random(self) -> float: ...

    def getrandbits(self, k: int, /) -> int: ...


class ReportBlock(NamedTuple):
    """What one receiver says about one source (section 6.4.1). `lsr` and `dlsr` in units of 1/65536 s."""

    ssrc: int
    fraction_lost: int  # of 256, since the report before
    cumulative_lost: int  # signed: duplicates make it negative
    highest_sequence: int  # with the count of wraps above the low 16 bits
    jitter: int  # timestamp units
    lsr: int
    dlsr: int

    def to_bytes(self) -> bytes:
        lost = max(-0x800000, min(0x7FFFFF, self.cumulative_lost)) & 0xFFFFFF
        return _REPORT.pack(
            self.ssrc,
            self.fraction_lost << 24 | lost,
            self.highest_sequence & 0xFFFFFFFF,
            self.jitter,
            self.lsr,
            self.dlsr,
        )


class SenderReport(NamedTuple):
    ssrc: int
    ntp: int  # 64 bit: seconds and 2**-32 fractions
    timestamp: int
    packets: int
    octets: int
    reports: tuple[ReportBlock, ...] = ()

    def to_bytes(self) -> bytes:
        body = _SENDER.pack(
            self.ssrc, self.ntp, self.timestamp, self.packets & 0xFFFFFFFF, self.octets & 0xFFFFFFFF
        )
        return _packet(SENDER_REPORT, len(self.reports), body + b"".join(r.to_bytes() for r in self.reports))


class ReceiverReport(NamedTuple):
    ssrc: int
    reports: tuple[ReportBlock, ...] = ()

    def to_bytes(self) -> bytes:
        body = self.ssrc.to_bytes(4, "big") + b"".join(r.to_bytes() for r in self.reports)
        return _packet(RECEIVER_REPORT, len(self.reports), body)


class SourceDescription(NamedTuple):
    """The CNAME of each source: the only SDES item that is mandatory, and the only one kept."""

    cnames: tuple[tuple[int, str], ...]

    def to_bytes(self) -> bytes:
        chunks = b""
        for ssrc, cname in self.cnames:
            text = cname.encode()[:255]
            chunk = ssrc.to_bytes(4, "big") + bytes((1, len(text))) + text
            chunks += chunk + bytes(4 - len(chunk) % 4)  # one to four zero octets end the list of items
        return _packet(SOURCE_DESCRIPTION, len(self.cnames), chunks)


class Bye(NamedTuple):
    ssrcs: tuple[int, ...]
    reason: str = ""

    def to_bytes(self) -> bytes:
        body = b"".join(ssrc.to_bytes(4, "big") for ssrc in self.ssrcs)
        if self.reason:
            text = self.reason.encode()[:255]
            body += bytes((len(text),)) + text
            body += bytes(-len(body) % 4)
        return _packet(BYE, len(self.ssrcs), body)


class ExtendedReport(NamedTuple):
    """RFC 3611; of its blocks only the VoIP metrics are kept."""

    ssrc: int
    metrics: tuple[VoipMetrics, ...]

    def to_bytes(self) -> bytes:
        return _packet(
            EXTENDED_REPORT, 0, self.ssrc.to_bytes(4, "big") + b"".join(m.to_bytes() for m in self.metrics)
        )


RtcpPacket: TypeAlias = SenderReport | ReceiverReport | SourceDescription | Bye | ExtendedReport


def compound(packets: Sequence[RtcpPacket]) -> bytes:
    """One datagram. RFC 3550 6.1: a report comes first and a CNAME is in it."""
    return b"".join(packet.to_bytes() for packet in packets)


def parse_untrusted(data: bytes) -> list[RtcpPacket]:
    """The packets of one datagram, checked as in RFC 3550 appendix A.2; unknown types are skipped."""
    data = bytes(data)
    if len(data) < 8:
        raise BadPacket(DropReason.BAD_LENGTH, "shorter than an RTCP report")
    if data[0] & 0x20 or data[1] not in (SENDER_REPORT, RECEIVER_REPORT):
        raise BadPacket(DropReason.BAD_HEADER, "a compound starts with a report without padding")
    packets: list[RtcpPacket] = []
    start = 0
    while start < len(data):
        if start + 4 > len(data):
            raise BadPacket(DropReason.BAD_LENGTH, "octets after the last packet")
        first, kind, words = _COMMON.unpack_from(data, start)
        end = start + 4 * (words + 1)
        if first >> 6 != 2:
            raise BadPacket(DropReason.BAD_VERSION, "not RTCP version 2")
        if end > len(data):
            raise BadPacket(DropReason.BAD_LENGTH, "packet runs past the end")
        body_end = end
        if first & 0x20:
            padding = data[end - 1]
            # Only the last packet may be padded, by a multiple of four that leaves the common header.
            if end != len(data) or padding == 0 or padding % 4 or padding > 4 * words:
                raise BadPacket(DropReason.BAD_LENGTH, "padding count does not fit")
            body_end -= padding
        packet = _parse_body(kind, first & 31, data[start + 4 : body_end])
        if packet is not None:
            packets.append(packet)
        start = end
    return packets


def _parse_body(kind: int, count: int, body: bytes) -> RtcpPacket | None:
    if kind == SENDER_REPORT:
        if len(body) < _SENDER.size + _REPORT.size * count:
            raise BadPacket(DropReason.BAD_LENGTH, "sender report too short for its count")
        ssrc, ntp, timestamp, packets, octets = _SENDER.unpack_from(body)
        return SenderReport(ssrc, ntp, timestamp, packets, octets, _reports(body, _SENDER.size, count))
    if kind == RECEIVER_REPORT:
        if len(body) < 4 + _REPORT.size * count:
            raise BadPacket(DropReason.BAD_LENGTH, "receiver report too short for its count")
        return ReceiverReport(int.from_bytes(body[:4], "big"), _reports(body, 4, count))
    if kind == SOURCE_DESCRIPTION:
        return SourceDescription(_cnames(body, count))
    if kind == BYE:
        return _bye(body, count)
    if kind == EXTENDED_REPORT:
        if len(body) < 4:
            raise BadPacket(DropReason.BAD_LENGTH, "extended report without a source")
        return ExtendedReport(int.from_bytes(body[:4], "big"), parse_blocks(body[4:]))
    return None


def _reports(body: bytes, start: int, count: int) -> tuple[ReportBlock, ...]:
    blocks = []
    for n in range(count):
        ssrc, loss, highest, jitter, lsr, dlsr = _REPORT.unpack_from(body, start + n * _REPORT.size)
        lost = loss & 0xFFFFFF
        blocks.append(
            ReportBlock(
                ssrc, loss >> 24, lost - (1 << 24) if lost & 0x800000 else lost, highest, jitter, lsr, dlsr
            )
        )
    return tuple(blocks)


def _cnames(body: bytes, count: int) -> tuple[tuple[int, str], ...]:
    names: list[tuple[int, str]] = []
    at = 0
    for _ in range(count):
        if at + 4 > len(body):
            raise BadPacket(DropReason.BAD_LENGTH, "source description too short for its count")
        ssrc = int.from_bytes(body[at : at + 4], "big")
        at += 4
        while True:
            if at >= len(body):
                raise BadPacket(DropReason.BAD_LENGTH, "list of items without an end")
            if body[at] == 0:
                at = (at // 4 + 1) * 4
                break
            if at + 2 > len(body) or at + 2 + body[at + 1] > len(body):
                raise BadPacket(DropReason.BAD_LENGTH, "item runs past the end")
            text = body[at + 2 : at + 2 + body[at + 1]]
            if body[at] == 1:
                names.append((ssrc, text.decode("utf-8", "replace")))
            at += 2 + len(text)
    return tuple(names)


def _bye(body: bytes, count: int) -> Bye:
    if len(body) < 4 * count:
        raise BadPacket(DropReason.BAD_LENGTH, "bye too short for its count")
    ssrcs = struct.unpack_from(f"!{count}I", body)
    rest = body[4 * count :]
    if rest and 1 + rest[0] > len(rest):
        raise BadPacket(DropReason.BAD_LENGTH, "reason runs past the end")
    return Bye(ssrcs, rest[1 : 1 + rest[0]].decode("utf-8", "replace") if rest else "")


def _packet(kind: int, count: int, body: bytes) -> bytes:
    if count > _MAX_COUNT or len(body) % 4:
        raise ValueError("an RTCP packet has at most 31 entries and whole 32-bit words")
    return _COMMON.pack(0x80 | count, kind, len(body) // 4) + body


def ntp_time(now: float) -> int:
    """`now` as 64-bit NTP timestamp. RFC 3550 6.4.1 lets a sender without a calendar use elapsed time."""
    return int(now * 4294967296) & 0xFFFFFFFFFFFFFFFF


def round_trip(now: float, lsr: int, dlsr: int) -> float | None:
    """Seconds on the way to the peer and back; None if its block answers no report of ours."""
    if lsr == 0:
        return None
    units = ((ntp_time(now) >> 16) - lsr - dlsr) & 0xFFFFFFFF
    if units >= 0x80000000:
        # Rounding of both clocks may go a hair below zero; anything more is a lie.
        return 0.0 if units >= 0xFFFFFF00 else None
    return units / 65536


def interval(
    *,
    members: int,
    senders: int,
    bandwidth: float,
    average_size: float,
    we_sent: bool,
    initial: bool,
    rng: Random,
) -> float:
    """Seconds until the next report (RFC 3550 6.3.1, appendix A.7).

    `bandwidth` is RTCP's share in octets per second; `average_size` counts the UDP and IP headers.
    """
    minimum = MINIMUM_INTERVAL / 2 if initial else MINIMUM_INTERVAL
    count = members
    if senders <= members * 0.25:
        if we_sent:
            bandwidth, count = bandwidth * 0.25, senders
        else:
            bandwidth, count = bandwidth * 0.75, members - senders
    return max(average_size * count / bandwidth, minimum) * (rng.random() + 0.5) / _COMPENSATION
