import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.types import BadPacket
from scenarios.proto.sdp import Direction, accept, answer, description_untrusted, offer

ALICE, BOB = ("192.0.2.1", 4000), ("192.0.2.2", 5000)
BOTH = ("PCMU", "PCMA")
TEXT = (
    "v=0\r\no=ann 2890844526 2890844526 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nb=AS:80\r\nt=0 0\r\n"
    "m=audio 49170 RTP/AVP 18 8 0 101\r\na=rtpmap:18 G729/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
    "a=fmtp:101 0-15\r\na=ptime:20\r\nm=video 51372 RTP/AVP 31\r\na=rtpmap:31 H261/90000\r\na=sendonly\r\n"
)


def negotiated(offered, *, codecs=BOTH, direction=Direction.SENDRECV):
    found = answer(description_untrusted(offered.encode()), BOB, codecs, session_id=2, direction=direction)
    assert found is not None
    description, theirs = found
    mine = accept(offered, description_untrusted(description.encode()))
    assert mine is not None
    return mine, theirs, description


def test_offer_and_answer_agree_from_both_sides():
    mine, theirs, _ = negotiated(offer(ALICE, ("PCMA", "PCMU"), session_id=1))
    assert (mine.codec, mine.payload_type, mine.telephone_event) == ("PCMA", 8, 101)
    assert (mine.local, mine.remote) == (ALICE, BOB) == (theirs.remote, theirs.local)
    assert mine.direction is theirs.direction is Direction.SENDRECV


def test_the_first_common_codec_in_the_offerers_order_wins():
    assert negotiated(offer(ALICE, BOTH, session_id=1), codecs=("PCMA",))[0].codec == "PCMA"
    assert negotiated(offer(ALICE, BOTH, session_id=1), codecs=("PCMA", "PCMU"))[0].codec == "PCMU"
    assert answer(offer(ALICE, ("PCMU",), session_id=1), BOB, ("PCMA",), session_id=2) is None


@pytest.mark.parametrize("offered", Direction)
@pytest.mark.parametrize("willing", Direction)
def test_the_two_directions_mirror_each_other(offered, willing):
    mine, theirs, _ = negotiated(offer(ALICE, BOTH, session_id=1, direction=offered), direction=willing)
    assert mine.direction is theirs.direction.mirrored
    assert theirs.direction.sends == (offered.receives and willing.sends)
    assert theirs.direction.receives == (offered.sends and willing.receives)


def test_hold_by_an_address_of_zeros_stops_sending():
    held = TEXT.replace("c=IN IP4 192.0.2.1", "c=IN IP4 0.0.0.0").encode()
    found = answer(description_untrusted(held), BOB, BOTH, session_id=2)
    assert found is not None
    assert not found[1].direction.sends


def test_every_media_line_is_answered_in_its_place():
    found = answer(description_untrusted(TEXT.encode()), BOB, BOTH, session_id=2)
    assert found is not None
    description, agreed = found
    assert [(line.kind, line.port) for line in description.media] == [("audio", 5000), ("video", 0)]
    assert agreed.codec == "PCMA"  # G.729 comes first in the offer, but we do not speak it
    assert agreed.remote == ("192.0.2.1", 49170)
    assert description_untrusted(description.encode()) == description


def test_media_level_address_wins_and_session_direction_is_the_default():
    text = TEXT.replace("t=0 0\r\n", "t=0 0\r\na=recvonly\r\n").replace(
        "a=ptime", "c=IN IP6 2001:db8::7\r\na=ptime"
    )
    parsed = description_untrusted(text.encode())
    assert parsed.receiver == ("2001:db8::7", 49170)
    assert [line.direction for line in parsed.media] == [Direction.RECVONLY, Direction.SENDONLY]


def test_a_user_may_have_a_name_in_any_script():
    parsed = description_untrusted(TEXT.replace("o=ann", "o=Zoë\N{SPEECH BALLOON}").encode())
    assert parsed.user == "Zoë\N{SPEECH BALLOON}"
    assert description_untrusted(parsed.encode()).user == parsed.user


def test_a_payload_type_that_contradicts_rfc_3551_is_not_ours():
    text = TEXT.replace("a=rtpmap:18 G729/8000", "a=rtpmap:0 OPUS/48000\r\na=rtpmap:8 PCMA/16000")
    assert answer(description_untrusted(text.encode()), BOB, BOTH, session_id=2) is None


@pytest.mark.parametrize(
    "audio", ["m=audio 0 RTP/AVP 0", "m=audio 4000 RTP/SAVP 0", "m=application 4000 RTP/AVP 0"]
)
def test_no_usable_audio(audio):
    text = f"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{audio}\r\n"
    assert answer(description_untrusted(text.encode()), BOB, BOTH, session_id=2) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("v=0", "v=1"),
        ("o=ann 2890844526", "o=ann x"),
        ("c=IN IP4 192.0.2.1", "c=IN IP4 192.0.2.999"),
        ("c=IN IP4 192.0.2.1", "c=IN IP6 192.0.2.1"),
        ("c=IN IP4 192.0.2.1", "c=IN IP4 224.2.1.1/127"),
        ("c=IN IP4 192.0.2.1", "c=IN IP4 sip.example"),
        ("c=IN IP4 192.0.2.1\r\n", ""),
        ("audio 49170", "audio 70000"),
        ("audio 49170", "audio -1"),
        ("RTP/AVP 18 8 0 101", "RTP/AVP"),
        ("RTP/AVP 18 8 0 101", "RTP/AVP " + "9" * 5000),
        ("RTP/AVP 18 8 0 101", "RTP/AVP" + " 0" * 100),
        ("a=rtpmap:18 G729/8000", "a=rtpmap:x y/z"),
        ("a=rtpmap:18 G729/8000", "a=rtpmap:18 G729/" + "8" * 5000),
        ("s=-", "s=a\rb"),
        ("s=-", "junk"),
        ("t=0 0\r\n", "t=0 0\r\n" + "a=x\r\n" * 300),
        ("t=0 0\r\n", "t=0 0\r\n" + "m=audio 1 RTP/AVP 0\r\n" * 20),
        ("s=-", "s=" + "x" * 9000),
    ],
)
def test_invalid(old, new):
    assert old in TEXT
    with pytest.raises(BadPacket):
        description_untrusted(TEXT.replace(old, new, 1).encode())


def parsed_or_bad(data):
    try:
        parsed = description_untrusted(data)
    except BadPacket:
        return
    answer(parsed, BOB, BOTH, session_id=1)
    accept(offer(ALICE, BOTH, session_id=1), parsed)
    parsed.encode()


def test_cut_anywhere_and_every_bit_flipped():
    data = TEXT.encode()
    for index in range(len(data)):
        parsed_or_bad(data[:index])
        for bit in range(8):
            parsed_or_bad(data[:index] + bytes([data[index] ^ 1 << bit]) + data[index + 1 :])


@given(st.binary(max_size=200), st.integers(0, len(TEXT)))
@settings(max_examples=100, deadline=None)
def test_noise(data, at):
    parsed_or_bad(data)
    parsed_or_bad(TEXT.encode()[:at] + data + TEXT.encode()[at:])
