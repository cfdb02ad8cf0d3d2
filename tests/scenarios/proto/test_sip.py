"""The SIP codec against what peers may and may not send; categories follow RFC 4475 and RFC 3261."""

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.types import BadPacket
from scenarios.proto.sip import Request, Response, is_keepalive, message_untrusted, printable
from scenarios.proto.sip_uri import name_addr_untrusted, uri_untrusted, via_untrusted

BODY = b"v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
HEADERS = {
    "Via": "SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKk7;rport",
    "Max-Forwards": "70",
    "From": '"Ann" <sip:ann@example.net>;tag=f1',
    "To": "<sip:ben@example.net>",
    "Call-ID": "c1@192.0.2.9",
    "CSeq": "7 INVITE",
    "Contact": "<sip:ann@192.0.2.9:5060>",
    "Content-Type": "application/sdp",
}


def build(start="INVITE sip:ben@example.net SIP/2.0", *, body=BODY, drop=(), more=(), length=None, **changed):
    """A message with some headers replaced (underscore for hyphen), dropped or added as raw lines."""
    headers = dict(HEADERS)
    for name, value in changed.items():
        headers[next(key for key in headers if key.lower() == name.replace("_", "-").lower())] = value
    lines = [start] + [f"{name}: {value}" for name, value in headers.items() if name not in drop] + list(more)
    if length is not False:
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def test_a_message_survives_the_way_there_and_back():
    message = message_untrusted(build(more=["X-Custom: a; b, c", "Supported: replaces, timer"]))
    assert isinstance(message, Request)
    assert message_untrusted(message.encode()) == message
    assert message.tokens("supported") == ["replaces", "timer"]
    assert (message.from_.tag, message.to.tag, message.cseq) == ("f1", "", 7)
    assert message.body == BODY


def test_a_response_survives_too():
    reply = message_untrusted(build()).reply(486, tag="t9")
    again = message_untrusted(reply.encode())
    assert isinstance(again, Response)
    assert again == reply
    assert (again.status, again.reason, again.to.tag) == (486, "Busy Here", "t9")


VALID = {
    "odd white space and folding": build(
        drop=("Via", "From", "To", "CSeq", "Contact", "Max-Forwards"),
        more=[
            "v:  SIP  / 2.0  / TCP     edge.example.net   ;",
            "  branch  =   z9hG4bK9ik  ,",
            " SIP  /    2.0   / UDP  192.0.2.77   ; branch=",
            " z9hG4bK302",
            "TO :",
            " sip:ben@example.net ;   tag    = 19x",
            'f : "Ann \\\\\\"" <sip:ann@example.net>',
            "  ; tag = 98",
            "Max-Forwards: 0068",
            "CSeq: 0009",
            "  INVITE",
            'm:"Odd \\"\\"" <sip:ann@example.net> ; newparam =',
            "  newvalue ;",
            "  secondparam ; q = 0.33",
            "NewHeader:",
            "Unusual: ;;,,;;,;",
            "s : ",
        ],
    ),
    "odd characters of tokens and users": build(
        "!odd'Method0*`~%+.- sip:1_x.y~(a!b)&c+d$/?,;;*:&e=1,w!*p$w~d@example.net SIP/2.0",
        CSeq="1 !odd'Method0*`~%+.-",
        From='"BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f" <sip:1_x@example.net>;tag=_t~!*',
        Call_ID="a.b%Z-!.*_+'@x`({[]})<>:\"/?",
    ),
    "escapes in a user": build("INVITE sip:sips%3Auser%40example.com@example.net SIP/2.0"),
    "an escaped NUL": build(From="<sip:null-%00-null@example.net>;tag=1", To="<sip:%00@example.net>"),
    "percent that is no escape, in a method": build(
        "RE%47IST%45R sip:example.net SIP/2.0", CSeq="1 RE%47IST%45R"
    ),
    "no space before the angle bracket": build(From="caller<sip:ann@example.net>;tag=3"),
    "long values": build(
        To=f'"{"I am long " * 20}" <sip:{"u" * 200}@example.net;{"p" * 100}={"v" * 100}>',
        Call_ID="c" * 300,
        more=[f"Via: SIP/2.0/UDP h{n}.example.net;branch=z9hG4bK{n}" for n in range(40)],
    ),
    "bytes behind the body": build(length=0) + build(),
    "semicolon in a user": build("INVITE sip:user;par=u%40example.net@example.com SIP/2.0"),
    "all transports": build(
        more=[
            f"Via: SIP/2.0/{t} t1.example.net;branch=z9hG4bK1{t}" for t in ("SCTP", "TLS", "TCP", "UNKNOWN")
        ]
    ),
    "a binary body": build(body=bytes(range(256))),
    "a reason of UTF-8": build("SIP/2.0 200 = 2**3 * 5**2 пример", CSeq="1 INVITE"),
    "an empty reason": build("SIP/2.0 100 ", CSeq="1 INVITE"),
    "a scheme that nobody knows": build("INVITE nobodyKnowsThisScheme:totallyopaque SIP/2.0"),
    "a scheme with slashes": build("INVITE soap.beep://192.0.2.103:3002 SIP/2.0"),
    "unknown schemes in From and To": build(From="<tel:+4912;phone-context=x>;tag=1", To="isbn:2983792873"),
    "no Content-Length": build(length=False),
    "RFC 2543: no branch, no tag, no Max-Forwards": build(
        Via="SIP/2.0/UDP 192.0.2.1", From="<sip:ann@example.net>", drop=("Max-Forwards",)
    ),
    "a branch of the cookie alone": build(Via="SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK"),
    "IPv6": build(
        "INVITE sip:ben@[2001:db8::1]:5062 SIP/2.0", Via="SIP/2.0/UDP [2001:db8::9]:5060;branch=z9hG4bK1"
    ),
    "Max-Forwards of zero": build(Max_Forwards="0"),
    "a contact with an escaped Route": build(Contact="<sip:ann@example.net?Route=%3Csip:x.example%3E>"),
    "an unknown authorization scheme": build(more=['Authorization: NoOneKnows opaque="data here"']),
    "white lines first": b"\r\n\r\n" + build(),
    "Contact: *": build(Contact="*"),
}

INVALID = {
    "separators without values in Via": build(Via="SIP/2.0/UDP 192.0.2.15;;,;,,"),
    "separators without values in Contact": build(Contact='"Joe" <sip:joe@example.org>;;;;'),
    "Content-Length larger than the body": build(length=9999),
    "a negative Content-Length": build(length=-999),
    "a Content-Length of words": build(length="many"),
    "two Content-Length headers": build(more=["Content-Length: 8"]),
    "CSeq over 2**31": build(CSeq="36893488147419103232 INVITE"),
    "CSeq of 2**31": build(CSeq="2147483648 INVITE"),
    "CSeq with other digits": build(CSeq="\u0661 INVITE"),
    "Max-Forwards of 300": build(Max_Forwards="300"),
    "Expires that overflows": build(more=["Expires: 1000000000000"]),
    "an unterminated quoted string": build(To='"Mr. Watson <sip:watson@example.org>'),
    "angle brackets around the Request-URI": build("INVITE <sip:ben@example.net> SIP/2.0"),
    "white space in the Request-URI": build("INVITE sip:ben@example.net; lr SIP/2.0"),
    "two spaces in the start line": build("INVITE  sip:ben@example.net SIP/2.0"),
    "space behind the start line": build("INVITE sip:ben@example.net SIP/2.0 "),
    "headers in the Request-URI": build("INVITE sip:ben@example.net?Route=%3Csip:x.example%3E SIP/2.0"),
    "a date in another time zone": build(more=["Date: Fri, 01 Jan 2010 16:00:00 EST"]),
    "a contact with headers and no brackets": build(Contact="sip:ann@example.net?Route=%3Csip:x.example%3E"),
    "white space within an address": build(To='"W" < sip:ben@example.net >'),
    "unquoted comma in a display name": build(From="Bell, Alexander <sip:a@example.net>;tag=43"),
    "an unknown protocol version": build("INVITE sip:ben@example.net SIP/7.0"),
    "CSeq of another method": build(CSeq="8 OPTIONS"),
    "an overlarge status": build("SIP/2.0 4294967301 better not break the receiver"),
    "a status below 100": build("SIP/2.0 099 x"),
    "two From headers": build(more=["From: <sip:x@example.net>;tag=3"]),
    "two Call-ID headers, one compact": build(more=["i: other"]),
    "a broken escape": build("INVITE sip:a%zz@example.net SIP/2.0"),
    "a port too large": build("INVITE sip:a@example.net:99999 SIP/2.0"),
    "no host": build("INVITE sip: SIP/2.0"),
    "a bad IPv6 reference": build("INVITE sip:a@[::zz] SIP/2.0"),
    "a Via of another version": build(Via="SIP/3.0/UDP 192.0.2.1;branch=z9hG4bK1"),
    "a parameter twice": build(From="<sip:a@example.net>;tag=1;tag=2"),
    "a header line without a colon": build(more=["Max Forwards"]),
    "a header name with a space": build(more=["Max Forwards: 70"]),
    "a header without a name": build(more=[": x"]),
    "a continuation first": build("INVITE sip:a@b SIP/2.0\r\n x"),
    "a bare line feed": build(more=["Subject: a\nX-Forged: b"]),
    "a bare carriage return": build(more=["Subject: a\rX-Forged: b"]),
    "an escape character": build(more=["Subject: \x1b[31mred"]),
    "a NUL": build(more=["Subject: a\x00b"]),
    "not UTF-8": build().replace(b"Ann", b"\xff\xfe"),
    "no empty line": build(body=b"")[:-2],
    "line feeds only": build().replace(b"\r\n", b"\n"),
    "nothing": b"",
    "one header of 9 KB": build(more=["X: " + "a" * 9000]),
    "101 headers": build(more=[f"X{n}: a" for n in range(101)]),
    "101 values": build(more=["Contact: " + ",".join(["<sip:a@b>"] * 101)]),
    **{f"no {name}": build(drop=(name,)) for name in ("Via", "From", "To", "Call-ID", "CSeq")},
}


@pytest.mark.parametrize("name", VALID)
def test_valid(name):
    message = message_untrusted(VALID[name])
    assert message_untrusted(message.encode()) == message


@pytest.mark.parametrize("name", INVALID)
def test_invalid(name):
    with pytest.raises(BadPacket):
        message_untrusted(INVALID[name])


def test_values_of_the_odd_message():
    message = message_untrusted(VALID["odd white space and folding"])
    assert [(via.transport, via.branch) for via in message.vias] == [
        ("TCP", "z9hG4bK9ik"),
        ("UDP", "z9hG4bK302"),
    ]
    assert (message.to.tag, message.from_.tag, message.cseq, message.max_forwards) == ("19x", "98", 9, 68)
    assert message.contacts[0].param("newparam") == "newvalue"
    assert message.header("newheader") == ""
    assert message_untrusted(VALID["an escaped NUL"]).to.uri.username == "\x00"


def test_the_body_ends_where_content_length_says():
    assert message_untrusted(VALID["bytes behind the body"]).body == b""
    assert message_untrusted(VALID["no Content-Length"]).body == BODY


def parsed_or_bad(data):
    try:
        message = message_untrusted(data)
    except BadPacket:
        return None
    message.encode()
    str(message)
    return message


@pytest.mark.parametrize("name", [*VALID, *INVALID])
def test_cut_anywhere(name):
    data = {**VALID, **INVALID}[name]
    head = data.find(b"\r\n\r\n") + 4 if b"\r\n\r\n" in data else len(data)
    for length in range(0, min(len(data), 2500), 1 if len(data) < 800 else 7):
        message = parsed_or_bad(data[:length])
        # Without its empty line a message is not one; and never with less body than it announced.
        assert message is None or length >= head or data.startswith(b"\r\n")


def test_every_bit_of_a_message_flipped():
    data = build(more=["Supported: timer", "Route: <sip:192.0.2.1;lr>"])
    for index in range(len(data) * 8):
        mutated = bytearray(data)
        mutated[index // 8] ^= 1 << index % 8
        parsed_or_bad(bytes(mutated))


@pytest.mark.parametrize("name", VALID)
def test_every_byte_of_a_valid_message_changed(name):
    data, rng = VALID[name], random.Random(name)
    for index in range(0, min(len(data), 1200), 2):
        parsed_or_bad(data[:index] + bytes([rng.randrange(256)]) + data[index + 1 :])


@given(st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_noise(data):
    parsed_or_bad(data)
    parsed_or_bad(build(body=data))
    parsed_or_bad(build(more=[data.decode("latin-1")]))


def pathological():
    room = 65_000
    yield b"INVITE " + b"a" * room
    yield build(more=["X: " + "a" * room])
    yield build(more=["Via: " + "," * room])
    yield build(more=["X: a"] + [" a"] * (room // 4))
    yield build(more=[f"a{n}: " for n in range(8000)])
    yield build(body=b"a" * room)
    # As much as fits under the cap, in the shapes that cost a careless parser most.
    for text in (
        '"' * 6000,
        '"\\' * 3000,
        "<" * 6000,
        "<sip:" * 1500,
        ";a" * 3000,
        "a " * 3000,
        "," * 6000,
        ";a=" * 2000,
    ):
        yield build(From=text)
        yield build(Via=text)
        yield build(Contact=text)
        yield build(Contact="<sip:a@b>" + text)
    yield build("INVITE sip:" + "a:" * 3000 + " SIP/2.0")
    yield build("INVITE sip:a@b" + ";a" * 3000 + "? SIP/2.0")


def test_no_message_costs_more_than_ten_milliseconds():
    for data in pathological():
        best = 1.0
        for _ in range(3):  # the best of three: this measures the parser, not the machine
            start = time.process_time()
            parsed_or_bad(data)
            best = min(best, time.process_time() - start)
        assert best < 0.010, data[:60]


def test_longer_than_a_datagram_is_refused():
    with pytest.raises(BadPacket):
        message_untrusted(build(body=b"a" * 70_000, length=False))


def test_keepalives():
    assert all(is_keepalive(data) for data in (b"", b"\r\n", b"\r\n\r\n", b"\x00" * 4))
    assert not is_keepalive(b"\r\n" * 30)
    assert not is_keepalive(build())


def test_a_value_cannot_break_out_of_its_line():
    message = message_untrusted(build())
    message.set("Subject", "x\r\nX-Forged: y")
    with pytest.raises(ValueError, match="control"):
        message.encode()


def test_log_texts_hold_no_control_characters():
    message = message_untrusted(VALID["odd characters of tokens and users"])
    assert "\x07" in message.from_.display
    assert printable(message.from_.display) == '"BEL:\\\\x07 NUL:\\\\x00 DEL:\\\\x7f"'
    assert printable("a\r\nb\x1b[0m\u2028\u202e") == "a\\r\\nb\\x1b[0m\\u2028\\u202e"
    assert len(printable("x" * 1000)) < 200
    assert str(message).isprintable()


def test_uri_equivalence():
    same = uri_untrusted("sip:%61lice@EXAMPLE.net;transport=UDP;x=1")
    assert same.same(uri_untrusted("sip:alice@example.NET;Transport=udp"))
    for other in ("sip:Alice@example.net;transport=udp", "sip:alice@example.net:5060;transport=udp",
                  "sips:alice@example.net;transport=udp", "sip:alice@example.net"):  # fmt: skip
        assert not same.same(uri_untrusted(other))


def test_the_source_is_noted_in_via():
    plain = via_untrusted("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx;received=9.9.9.9")
    assert plain.seen_from(("192.0.2.1", 5060)).param("received") is None
    assert plain.seen_from(("192.0.2.7", 5060)).param("received") == "192.0.2.7"
    asked = via_untrusted("SIP/2.0/UDP 192.0.2.1;rport;branch=z9hG4bKx").seen_from(("192.0.2.1", 777))
    assert (asked.param("rport"), asked.param("received")) == ("777", "192.0.2.1")


def test_name_addr_keeps_what_it_does_not_know():
    text = '"A, \\"B\\"" <sip:a@b;x=1?h=2>;tag=5;+sip.instance="<urn:uuid:0>"'
    assert str(name_addr_untrusted(text)) == text
