"""The kernel's tables of sockets."""

from __future__ import annotations

from scenarios.proto.bound_ports import LISTEN, UNCONNECTED, bound

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
TCP = HEAD + (
    "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0\n"
    "   1: 0100007F:0050 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0 20 4 30 10 -1\n"
)
UDP6 = HEAD + (
    "  10: 00000000000000000000000000000000:13C4 00000000000000000000000000000000:0000 07 00000000:00000000 00:0 3\n"
)


def test_only_sockets_in_that_state_count() -> None:
    assert list(bound(TCP, LISTEN)) == [8080]
    assert list(bound(UDP6, UNCONNECTED)) == [5060]


def test_what_is_not_as_it_should_be_is_passed_over() -> None:
    assert list(bound("", LISTEN)) == []
    assert list(bound(HEAD + "\n  1:\n 2: 0100007F:XYZ 0:0 0A\n 3: :0016 0:0 0A\n", LISTEN)) == [22]
