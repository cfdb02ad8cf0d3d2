"""Sessions are replaced under traffic, and nobody who uses them notices."""

import json

import pytest

pytestmark = [pytest.mark.interop, pytest.mark.slow]


def test_no_packet_is_lost_when_sessions_are_replaced(long_traffic):
    """50 packets/s there and back from the first test of the run until every peer has made a new session."""
    answer = json.loads(long_traffic.flow.result(long_traffic.seconds + 30))
    for peer, before in zip(long_traffic.pair, long_traffic.handshakes, strict=True):
        assert int(peer.show("latest-handshakes")) >= int(before) + 119
    assert answer["sent"] > 45 * long_traffic.seconds
    assert (answer["lost"], answer["duplicates"]) == ([], 0)
