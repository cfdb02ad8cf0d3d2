"""DNS messages (RFC 1035, EDNS of RFC 6891): the one module that knows dnspython, and catches what it raises.

Plain data in and out. Two of the library's habits are kept out: it draws identifiers and shuffles records with
randomness of its own, which a seeded world must not have.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from edge.proto.types import BadPacket, DropReason

PLAIN_SIZE = 512
"""Bytes that a message without EDNS may have (RFC 1035 4.2.1)."""

EDNS_SIZE = 1232
"""Bytes that we announce and at most send: fits into an IPv6 minimum MTU, as of DNS Flag Day 2020."""

_HEADER = struct.Struct("!HHHHHH")
_QR, _OPCODE, _RD = 0x8000, 0x7800, 0x0100

MAX_RECORDS = 100
"""Of an answer, in all its sections."""


class Type(StrEnum):
    A = "A"
    AAAA = "AAAA"
    CNAME = "CNAME"
    PTR = "PTR"
    SRV = "SRV"


class Code(StrEnum):
    """Response codes that we send; `OTHER` stands for those that we only receive."""

    NOERROR = "NOERROR"
    FORMERR = "FORMERR"
    SERVFAIL = "SERVFAIL"
    NXDOMAIN = "NXDOMAIN"
    NOTIMP = "NOTIMP"
    REFUSED = "REFUSED"
    BADVERS = "BADVERS"
    OTHER = "OTHER"


class Record(NamedTuple):
    """`name` and names in `data` are absolute, without the last dot, in lower case; `data` as in a zone file."""

    name: str
    type: str
    ttl: int
    data: str


class Question(NamedTuple):
    """`type` is any, also one that is not a `Type`."""

    name: str
    type: str


class Query(NamedTuple):
    """What a client asked. `problem` is the code to answer with before any look-up."""

    ident: int
    question: Question
    size: int
    """Bytes of answer that the client takes."""
    problem: Code | None
    message: dns.message.Message


class Reply(NamedTuple):
    """What a server answered."""

    ident: int
    question: Question
    code: Code
    truncated: bool
    records: tuple[Record, ...]


def query(ident: int, question: Question, *, edns_size: int | None = EDNS_SIZE) -> bytes:
    """A question, recursion desired; raises ValueError if there cannot be such a name or type."""
    try:
        message = dns.message.make_query(
            question.name,
            question.type,
            use_edns=False if edns_size is None else 0,
            payload=edns_size or PLAIN_SIZE,
            id=ident,
        )
        return message.to_wire()
    except (dns.exception.DNSException, ValueError) as error:
        raise ValueError(f"cannot ask for {question.type} of {question.name!r}: {error}") from None


def query_untrusted(data: bytes) -> Query:
    """What a stranger asks; raises BadPacket for what is no query at all, which must not be answered."""
    _, flags, *counts = _header(data)
    if flags & _QR:
        raise BadPacket(DropReason.MALFORMED, "a response")
    # Before the parser, to which a kilobyte of compressed names is tens of milliseconds of work.
    if flags & _OPCODE or counts[:3] != [1, 0, 0] or counts[3] > 1:
        raise BadPacket(DropReason.BAD_HEADER, "not one question")
    message = _parsed(data)
    problem = None
    if message.edns > 0:
        problem = Code.BADVERS
    elif message.question[0].rdtype == dns.rdatatype.ANY:
        problem = Code.NOTIMP
    elif message.question[0].rdclass != dns.rdataclass.IN:
        problem = Code.REFUSED
    size = max(PLAIN_SIZE, min(message.payload, EDNS_SIZE)) if message.edns >= 0 else PLAIN_SIZE
    return Query(message.id, _question(message), size, problem, message)


def refusal(data: bytes) -> bytes:
    """The answer to what `query_untrusted` cannot read, from its header; empty if it must not be answered."""
    if len(data) < _HEADER.size or int.from_bytes(data[2:4]) & _QR:
        return b""  # an answer to an answer could go on for ever
    ident, flags, *_ = _HEADER.unpack_from(data)
    code = dns.rcode.NOTIMP if flags & _OPCODE else dns.rcode.FORMERR
    return _HEADER.pack(ident, _QR | flags & (_OPCODE | _RD) | code, 0, 0, 0, 0)


def answer(asked: Query, code: Code, records: Iterable[Record], soa: Record | None = None) -> bytes:
    """An authoritative answer; what does not fit is left out and the truncation bit set.

    `soa` tells who asks in vain for how long there is nothing (RFC 2308).
    """
    response = dns.message.make_response(asked.message, our_payload=EDNS_SIZE)
    response.set_rcode(dns.rcode.from_text(code))
    if code not in (Code.REFUSED, Code.NOTIMP, Code.BADVERS):
        response.flags |= dns.flags.AA
    for name, rdtype, ttl, *data in _sets(records):
        response.answer.append(dns.rrset.from_text_list(f"{name}.", int(ttl), "IN", rdtype, data))
    if soa is not None:
        response.authority.append(dns.rrset.from_text(f"{soa.name}.", soa.ttl, "IN", soa.type, soa.data))
    return response.to_wire(max_size=asked.size, prefer_truncation=True, want_shuffle=False)


def reply_untrusted(data: bytes) -> Reply:
    """What seems to be an answer; raises BadPacket. Records of other types and classes are left out."""
    _, flags, questions, *counts = _header(data)
    if not flags & _QR or flags & _OPCODE or questions != 1 or sum(counts) > MAX_RECORDS:
        raise BadPacket(DropReason.BAD_HEADER, "not the answer to one question")
    message = _parsed(data)
    records = tuple(
        Record(_text(rrset.name), rrset.rdtype.name, rrset.ttl, _data(rdata))
        for rrset in message.answer
        if rrset.rdclass == dns.rdataclass.IN and rrset.rdtype.name in Type.__members__
        for rdata in rrset
    )
    code = dns.rcode.to_text(message.rcode())
    return Reply(
        message.id,
        _question(message),
        Code(code) if code in Code.__members__ else Code.OTHER,
        bool(message.flags & dns.flags.TC),
        records,
    )


def normal(record: Record) -> Record:
    """`record` as `Record` says; raises ValueError if there can be no such one."""
    name = normal_name(record.name)
    try:
        rdata = dns.rdata.from_text("IN", record.type, record.data, origin=dns.name.root, relativize=False)
    except (dns.exception.DNSException, ValueError) as error:
        raise ValueError(f"{record.type} {record.data!r} of {record.name!r}: {error}") from None
    return Record(name, record.type, record.ttl, _data(rdata))


def normal_name(name: str) -> str:
    """Absolute, in lower case, without the last dot; raises ValueError."""
    try:
        return _text(dns.name.from_text(name))
    except (dns.exception.DNSException, ValueError) as error:
        raise ValueError(f"{name!r} is no domain name: {error}") from None


def _header(data: bytes) -> tuple[int, ...]:
    if not _HEADER.size <= len(data) <= EDNS_SIZE:  # more than we announced, and take
        raise BadPacket(DropReason.BAD_LENGTH, f"{len(data)} bytes")
    return _HEADER.unpack_from(data)


def _parsed(data: bytes) -> dns.message.Message:
    try:
        return dns.message.from_wire(data)
    except dns.exception.DNSException as error:
        raise BadPacket(DropReason.MALFORMED, str(error)) from None


def _question(message: dns.message.Message) -> Question:
    asked = message.question[0]
    return Question(_text(asked.name), dns.rdatatype.to_text(asked.rdtype))


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()


def _data(rdata: dns.rdata.Rdata) -> str:
    words = rdata.to_text().lower().split(" ")
    return " ".join(word.removesuffix(".") if len(word) > 1 else word for word in words)


def _sets(records: Iterable[Record]) -> list[list[str]]:
    """[name, type, ttl, data, data...] of records that belong together, in their order."""
    sets: dict[tuple[str, str], list[str]] = {}
    for record in records:
        key = record.name, record.type
        sets.setdefault(key, [record.name, record.type, str(record.ttl)]).append(_absolute(record))
    return list(sets.values())


def _absolute(record: Record) -> str:
    named = record.type in (Type.CNAME, Type.PTR, Type.SRV)
    return f"{record.data}." if named and not record.data.endswith(".") else record.data
