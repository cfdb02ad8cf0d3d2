"""The numbers of the whitepaper (6.1, 5.4.6) and of the kernel; every other test refers to them by name."""

from __future__ import annotations

from edge.proto.wireguard import timers
from edge.proto.wireguard.cookie import HANDSHAKE_BURST, HANDSHAKES_PER_SECOND
from edge.proto.wireguard.replay import WINDOW


def test_constants() -> None:
    assert timers.REKEY_AFTER_MESSAGES == 2**60
    assert timers.REJECT_AFTER_MESSAGES == 2**64 - 2**13 - 1
    assert timers.REKEY_AFTER_TIME == 120
    assert timers.REJECT_AFTER_TIME == 180
    assert timers.REKEY_ATTEMPT_TIME == 90
    assert timers.REKEY_TIMEOUT == 5
    assert timers.KEEPALIVE_TIMEOUT == 10
    assert timers.COOKIE_SECRET_TIME == 120
    assert timers.ERASE_AFTER_TIME == 540
    assert timers.INITIATION_SPACING == 0.02
    assert (HANDSHAKES_PER_SECOND, HANDSHAKE_BURST) == (20, 5)
    assert WINDOW == 8128
