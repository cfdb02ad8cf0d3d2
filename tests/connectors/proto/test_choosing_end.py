"""A far end with several ways, against a PoP that is there, down, silent, refusing or flapping, in virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.proto.choice import ATTEMPT, BETTER, FIRST_PAUSE, LONGEST_PAUSE, NO_ANSWER, PROVEN, STAGGER
from connectors.proto.masque_way import ADVICE, ANSWER, LONGEST, PROBE, SILENT
from edge.proto.types import NEVER
from tests.connectors.proto.pop import (
    DELAY,
    DOWN,
    FORBIDS,
    GOOD,
    H2,
    H3,
    HANGS_UP,
    MODES,
    OTHER,
    REFUSED,
    TALKS,
    UNKNOWN,
    World,
)
from tests.edge.proto.masque.wire import POP


def test_it_takes_http3_where_that_works_and_tries_nothing_else():
    world = World()
    world.run(120)
    assert world.way == "h3" and world.dials == {H3: [1000.0], H2: []}
    assert world.end.has_been_up and world.end.last_handshake_seconds == pytest.approx(4 * DELAY)
    assert world.end.statistics().handshakes == 1


def test_where_udp_is_blocked_it_falls_back_and_returns_when_it_is_not_any_more():
    world = World(h3=DOWN)
    world.run(STAGGER + 10 * DELAY)
    assert world.way == "h2" and world.dials[H2] == [1000.0 + STAGGER]
    world.run(200)
    assert world.way == "h2" and len(world.dials[H2]) == 1
    world.modes[H3] = GOOD
    world.run(LONGEST_PAUSE * 1.5 + BETTER)
    assert world.way == "h3" and world.end.choice.switches == 1
    assert not world.clients[H2].carrier.alive  # it said goodbye


def test_a_talk_goes_on_over_http2_when_http3_falls_silent_and_back():
    world = World()
    world.side.talk(world.now)
    world.run(30)
    world.modes[H3] = DOWN
    world.got.clear()
    world.run(ANSWER + 1)
    assert world.way == "h2"
    first = world.got[0][0]
    assert first <= 1030 + ANSWER + 10 * DELAY
    world.run(10)
    assert all(version is H2 for _, version in world.got)
    world.modes[H3] = GOOD  # the old connection still lives: it is heard with its next sign of life
    world.run(LONGEST_PAUSE * 1.5 + BETTER)
    assert world.way == "h3"


def test_who_says_nothing_notices_by_probes_alone():
    world = World()
    world.run(1)
    world.modes[H3] = DOWN
    world.run(PROBE + ANSWER + 1)
    assert world.way == "h2"


def test_what_is_sent_one_way_only_is_no_reason_to_leave():
    world = World()
    world.side.talk(world.now, every=0.5)
    world.run(300)
    assert world.way == "h3" and world.dials[H2] == []
    assert world.side.arrived


@pytest.mark.parametrize("mode", [DOWN, REFUSED, FORBIDS, HANGS_UP])
def test_a_pop_that_is_not_there_is_asked_ever_more_seldom(mode):
    world = World(h3=mode, h2=mode)
    world.run(3600)
    for dials in world.dials.values():
        assert 3600 / (LONGEST_PAUSE * 1.5 + 11) <= len(dials) < 3600 / LONGEST_PAUSE + 12
    assert world.way == ""


def test_a_pop_that_comes_back_is_found():
    world = World(h3=DOWN, h2=DOWN)
    world.run(600)
    world.modes.update({H3: GOOD, H2: GOOD})
    world.run(LONGEST_PAUSE * 1.5 + 11)
    assert world.way == "h3"


def test_a_drained_client_dials_again_at_once():
    world = World()
    world.run(PROVEN + 1)
    far = world.clients[H3].far
    far.end(0)  # FIN, then the close, as a PoP drains
    far.close(0x100)
    world.turn()
    assert world.dials[H3] == [1000.0, world.now] and world.dials[H2] == []
    world.run(1)
    assert world.way == "h3" and world.end.statistics().handshakes == 2
    assert world.homes == [POP, OTHER]  # somewhere else, where there is another


def test_a_pop_that_does_not_answer_is_followed_by_the_next_and_that_is_kept():
    world = World(h3=DOWN, h2=DOWN)
    world.run(60)
    assert world.homes[:4] == [POP, OTHER, POP, OTHER]
    world.modes.update({H3: GOOD, H2: DOWN})
    world.run(LONGEST_PAUSE * 2 + PROVEN)
    assert world.way == "h3"
    home = world.homes[-1]
    world.end.rekey(world.now)
    world.turn()
    world.run(1)
    assert world.way == "h3" and world.homes[-1] == home


def test_after_a_stop_nothing_is_begun():
    world = World()
    world.run(5)
    world.stop()
    assert not world.clients[H3].carrier.alive
    world.turn()  # as when a process does its last turn
    world.run(100)
    assert world.dials == {H3: [1000.0], H2: []} and world.way == ""


def test_a_connection_that_opens_when_nobody_wants_it_any_more_is_closed():
    world = World(h3=DOWN)
    world.run(STAGGER)
    assert world.dials[H2] and not world.open
    world.stop()
    world.run(1)
    assert world.open == set()
    world = World(h3=REFUSED, h2=GOOD)
    world.run(5)
    world.end.moved(world.now)  # the old connection is left, a new one dialled
    world.turn()
    world.end.moved(world.now)  # and that one, too
    world.turn()
    world.run(5)
    assert world.way == "h2" and len(world.open) == 1


def test_rekey_makes_the_active_way_new_and_nothing_else():
    world = World()
    world.run(PROVEN / 2)
    world.end.rekey(world.now)
    world.turn()
    world.run(1)
    assert world.way == "h3" and len(world.dials[H3]) == 2 and world.dials[H2] == []
    world = World(h3=DOWN)
    world.run(10)
    assert world.way == "h2"
    world.end.rekey(world.now)
    world.turn()
    world.run(1)
    assert world.way == "h2" and world.dials[H2] == [1000.0 + STAGGER, 1010.0]


def test_a_new_address_moves_quic_and_makes_tcp_new():
    world = World()
    world.run(5)
    world.end.moved(world.now)
    world.turn()
    world.run(1)
    assert world.dials == {H3: [1000.0], H2: []}
    world = World(h3=REFUSED)
    world.run(5)
    world.end.moved(world.now)
    world.turn()
    world.run(1)
    assert world.way == "h2" and world.dials[H2][-1] == 1005.0


def test_where_udp_does_not_pass_who_has_moved_there_soon_goes_another_way_though_nobody_talks():
    world = World()
    world.run(5)
    world.modes[H3] = DOWN
    world.end.moved(world.now)
    world.turn()
    world.run(ANSWER + STAGGER + 1)
    assert world.way == "h2"


def test_it_knows_whether_it_is_answered():
    world = World(h3=DOWN, h2=DOWN)
    world.run(60)
    assert not world.end.answers(world.now)
    world = World()
    world.run(60)
    assert world.end.answers(world.now)
    world.modes.update({H3: DOWN, H2: DOWN})
    world.run(PROBE + ANSWER + 1)
    assert not world.end.answers(world.now)


@pytest.mark.parametrize(
    ("h3", "why"),
    [
        (DOWN, NO_ANSWER),
        (FORBIDS, "the server refuses the tunnel: 403"),
        (UNKNOWN, f"the server refuses the tunnel: 401: {ADVICE[401]}"),
    ],
)
def test_why_a_better_way_is_not_taken_is_known_when_the_other_is(h3, why):
    world = World(h3=h3)
    while not world.way:
        world.run(DELAY)
    assert world.way == "h2" and world.end.failures(world.now) == [f"h3: {why}"]
    world.run(ATTEMPT / 2)
    assert world.end.failures(world.now) == [f"h3: {why}"]
    world.run(ATTEMPT)
    assert world.end.failures(world.now)[0].startswith("h3: "), "also between attempts"


def test_a_better_way_that_works_or_was_not_tried_yet_has_no_why():
    world = World(h3=DOWN)
    world.run(STAGGER / 2)
    assert world.end.failures(world.now) == [], "it may still come up"
    world.modes[H2] = REFUSED
    world.run(LONGEST_PAUSE)
    assert len(world.end.failures(world.now)) == 2
    world.modes[H3] = GOOD
    world.run(LONGEST_PAUSE * 1.5 + BETTER)
    assert world.way == "h3" and world.end.failures(world.now) == [], "of a worse way nobody asks"


def test_a_way_that_was_up_and_fell_silent_is_said_to():
    world = World()
    world.side.talk(world.now)
    world.run(30)
    world.modes[H3] = DOWN
    world.run(ANSWER + 1)
    assert world.way == "h2" and world.end.failures(world.now) == [f"h3: {SILENT}"]


def test_where_there_is_no_way_each_says_why():
    world = World(h3=DOWN, h2=REFUSED)
    world.run(ATTEMPT / 2)
    assert world.end.failures(world.now) == [f"h3: {NO_ANSWER}", "h2: refused"]
    world.modes[H2] = DOWN
    world.run(LONGEST_PAUSE)
    assert world.end.failures(world.now)[1] == f"h2: {NO_ANSWER}", "the latest counts"


def test_a_peers_words_are_cut_and_steer_no_terminal():
    world = World(h3=TALKS, h2=TALKS)
    world.run(ATTEMPT)
    told = world.end.failures(world.now)
    assert len(told) == 2
    assert all(line.isprintable() and len(line) <= LONGEST + len("h3: ") for line in told)


def test_packets_that_no_way_takes_are_counted():
    world = World(h3=DOWN, h2=DOWN)
    world.side.talk(world.now, every=0.1)
    world.run(1)
    assert world.end.statistics().datagrams_dropped == pytest.approx(10, abs=1)
    assert world.end.statistics().packets_out == 0


def test_packets_that_die_in_a_sessions_queue_are_counted():
    world = World()
    world.run(1)
    world.side.outbox = [bytearray(b"\x45 packet") for _ in range(300)]
    world.turn()
    lost = 300 - len(world.clients[H3].far.events[0].payloads) if world.clients[H3].far.events else 0
    assert lost == 44
    assert world.end.statistics().datagrams_dropped == lost
    world.stop()
    assert world.end.statistics().datagrams_dropped == lost


def test_what_is_from_elsewhere_is_no_sign_of_life():
    world = World()
    world.run(1)
    world.modes[H3] = DOWN
    world.side.talk(world.now)
    world.run(ANSWER - 0.5)
    stranger = (memoryview(b"x"), 1, ("203.0.113.9", 443))
    world.end.turn([stranger], world.now)
    world.run(1)
    assert world.way == "h2"


@given(
    st.lists(
        st.tuples(st.sampled_from([H3, H2]), st.sampled_from(MODES), st.floats(0, 40), st.booleans()),
        max_size=25,
    ),
    st.floats(0, 0.999),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_whatever_the_pop_does_time_goes_on_and_in_the_end_there_is_a_tunnel(happenings, jitter):
    world = World(jitter=jitter)
    for version, mode, seconds, talks in happenings:
        world.modes[version] = mode
        world.side.due = world.now if talks else NEVER
        world.side.every = 0.2
        world.run(seconds)
    passed = world.now - 1000.0
    for dials in world.dials.values():  # no more than one a PROVEN second, and one per happening
        assert len(dials) <= passed / (FIRST_PAUSE / 2) + len(happenings) + 2
    world.modes.update({H3: GOOD, H2: GOOD})
    world.run(LONGEST_PAUSE * 1.5 + BETTER + 30)
    assert world.way == "h3"
