"""RFC 1071 and RFC 1624 against their own examples and against a sum made word by word."""

from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.ip import build_udp, checksum, decrement_ttl, transport_checksum, update_checksum

QUICK = settings(max_examples=100, deadline=None, derandomize=True)


def word_by_word(data: bytes) -> int:
    total = 0
    for at in range(0, len(data), 2):
        total += int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big")
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def test_rfc_1071_section_3_example():
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2


def test_rfc_1624_section_4_example():
    assert update_checksum(0xDD2F, 0x5555, 0x3285) == 0x0000


def test_a_known_ipv4_header():
    header = bytes.fromhex("45000073000040004011 0000 c0a80001c0a800c7")
    assert checksum(header) == 0xB861


@QUICK
@given(st.one_of(st.binary(max_size=80), st.lists(st.sampled_from([0, 0xFF])).map(bytes)))
def test_equals_the_sum_made_word_by_word(data):
    assert checksum(data) == checksum(bytearray(data)) == checksum(memoryview(data)) == word_by_word(data)


@QUICK
@given(
    st.sampled_from([4, 16]),
    st.integers(0, 255),
    st.binary(max_size=64),
    st.data(),
)
def test_transport_checksum_covers_the_pseudo_header(size, protocol, segment, data):
    source, destination = data.draw(st.binary(min_size=size, max_size=size)), bytes(range(size))
    if size == 4:
        pseudo = source + destination + bytes([0, protocol]) + len(segment).to_bytes(2, "big")
    else:
        pseudo = source + destination + len(segment).to_bytes(4, "big") + bytes([0, 0, 0, protocol])
    # An all-zero sum has two forms, the pseudo-header of a real packet excludes it.
    if any(pseudo + segment):
        assert transport_checksum(source, destination, protocol, segment) == word_by_word(pseudo + segment)


@QUICK
@given(st.binary(min_size=20, max_size=20), st.integers(0, 8), st.integers(0, 0xFFFF))
def test_update_agrees_with_recompute(data, index, word):
    changed = bytearray(data)
    changed[0] |= 0x40  # a header is never all zero, which is where the two forms of zero would differ
    before = bytes(changed)
    at = 2 + 2 * index
    changed[at : at + 2] = word.to_bytes(2, "big")
    old_word = int.from_bytes(before[at : at + 2], "big")
    assert update_checksum(checksum(before), old_word, word) == checksum(changed)


def test_decrement_ttl_keeps_the_checksum_right_for_every_ttl_and_checksum():
    source = bytes([10, 0, 0, 1])
    for ttl in (2, 3, 64, 65, 128, 255):
        for ident in (*range(0, 0x10000, 251), 0xFFFF):
            packet = build_udp(source, bytes([10, 0, 0, 2]), 1, 2, b"", ttl=ttl, ident=ident)
            expected = build_udp(source, bytes([10, 0, 0, 2]), 1, 2, b"", ttl=ttl - 1, ident=ident)
            decrement_ttl(packet)
            assert packet == expected


def test_decrement_ttl_where_the_checksum_carries():
    source, destination = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
    base = checksum(build_udp(source, destination, 1, 2, b"", ttl=64)[:10] + bytes(2) + source + destination)
    wanted = (0xFD00, 0xFDFF, 0xFE00, 0xFEFE, 0xFEFF, 0xFF00, 0xFFFE)
    for value in wanted:
        ident = (base - value) % 0xFFFF
        packet = build_udp(source, destination, 1, 2, b"", ttl=64, ident=ident)
        assert packet[10] << 8 | packet[11] == value
        decrement_ttl(packet)
        assert packet == build_udp(source, destination, 1, 2, b"", ttl=63, ident=ident)


def test_decrement_hop_limit_changes_one_byte():
    packet = build_udp(bytes([0xFD] * 16), bytes([0xFC] * 16), 1, 2, b"x", ttl=2)
    expected = build_udp(bytes([0xFD] * 16), bytes([0xFC] * 16), 1, 2, b"x", ttl=1)
    decrement_ttl(packet)
    assert packet == expected
