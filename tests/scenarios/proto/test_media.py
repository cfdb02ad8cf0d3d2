import heapq
import random
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.types import NEVER
from scenarios.proto import rtcp, rtp
from scenarios.proto.audio import Echo, Silence, Tone
from scenarios.proto.g711 import Law
from scenarios.proto.media import MAX_CATCH_UP, MediaSession
from scenarios.proto.quality import CODECS

A, B = ("100.96.0.12", 4000), ("10.0.50.60", 5000)


def session(local=A, remote=B, seed=1, **kw):
    return MediaSession(local=local, remote=remote, rng=random.Random(seed), now=kw.pop("now", 0.0), **kw)


@dataclass
class Pair:
    """Two sessions and a way between them, in virtual time."""

    a: MediaSession
    b: MediaSession
    delay: float = 0.03
    drop: object = lambda now, sender, port, data: False
    wire: list = field(default_factory=list)
    now: float = 0.0
    count: int = 0

    def flush(self, sender):
        for port, destination, data in sender.poll_transmit():
            if not self.drop(self.now, sender, port, data):
                self.count += 1
                heapq.heappush(
                    self.wire, (self.now + self.delay, self.count, sender, port, destination, data)
                )

    def run(self, until):
        while True:
            due = min(self.a.poll_timeout(), self.b.poll_timeout(), self.wire[0][0] if self.wire else NEVER)
            if due > until:
                self.now = until
                return self
            self.now = due = max(self.now, due)
            while self.wire and self.wire[0][0] <= due:
                _, _, sender, port, destination, data = heapq.heappop(self.wire)
                other = self.b if sender is self.a else self.a
                assert destination[0] == other.local[0]
                handle = other.handle_rtp if destination[1] == other.local[1] else other.handle_rtcp
                handle((sender.local[0], port), data, due)
            for one in (self.a, self.b):
                one.handle_timeout(due)
                self.flush(one)


def pair(a=None, b=None, **kw):
    return Pair(session(seed=1, **(a or {})), session(B, A, seed=2, **(b or {})), **kw)


def rtp_of(sessions):
    return [rtp.parse_untrusted(data) for port, _, data in sessions.poll_transmit() if port % 2 == 0]


# --- sending


def test_a_frame_every_20_ms_without_drift():
    a = session(now=1000.1)
    times = []
    while (due := a.poll_timeout()) < 1000.1 + 60:
        a.handle_timeout(due)
        times += [due] * len(rtp_of(a))
    assert len(times) == 3000
    assert all(t == 1000.1 + n * 0.02 for n, t in enumerate(times))


def test_headers_follow_rfc_3550():
    a = session()
    for n in range(20):
        a.handle_timeout(n * 0.02)
    packets = rtp_of(a)
    first = packets[0]
    assert [p.marker for p in packets] == [True] + [False] * 19
    assert [(p.sequence - first.sequence) & 0xFFFF for p in packets] == list(range(20))
    assert [(p.timestamp - first.timestamp) & 0xFFFFFFFF for p in packets] == [160 * n for n in range(20)]
    assert {p.ssrc for p in packets} == {a.ssrc}
    assert {p.payload_type for p in packets} == {0}
    assert {len(p.payload) for p in packets} == {160}


def test_late_wake_ups_catch_up_a_little_and_skip_the_rest():
    a = session()
    a.handle_timeout(0.0)
    (first,) = rtp_of(a)
    a.handle_timeout(0.061)
    assert len(rtp_of(a)) == 3
    a.handle_timeout(5.0)  # 0.08 to 5.00: 247 frames are due
    late = rtp_of(a)
    assert len(late) == MAX_CATCH_UP
    assert a.counters.skipped == 247 - MAX_CATCH_UP
    assert late[0].marker
    assert (late[0].sequence - first.sequence) & 0xFFFF == 4  # nothing was lost ...
    assert (late[-1].timestamp - first.timestamp) & 0xFFFFFFFF == 250 * 160  # ... but time went by
    assert a.poll_timeout() == 251 * 0.02


def test_early_calls_are_harmless():
    a = session()
    a.handle_timeout(0.0)
    rtp_of(a)
    for now in (0.0, 0.001, 0.0199):
        a.handle_timeout(now)
        assert a.poll_transmit() == []


def test_a_law_and_other_packet_times():
    a = session(payload_type=8, ptime=0.03, source=Silence())
    a.handle_timeout(0.0)
    (packet,) = rtp_of(a)
    assert (packet.payload_type, packet.payload) == (8, b"\xd5" * 240)
    assert a.poll_timeout() == 0.03


def test_unknown_payload_type_is_refused():
    with pytest.raises(ValueError, match="111"):
        session(payload_type=111)


# --- receiving and reporting


def test_a_clean_call():
    p = pair().run(60.0)
    for side, other in ((p.a, p.b), (p.b, p.a)):
        q = side.report(60.0)
        assert (q.lost, q.late, q.duplicates, q.reordered, q.silent) == (0, 0, 0, 0, 0)
        assert q.received == q.expected == pytest.approx(other.counters.sent, abs=2)
        assert q.start_delay_s == pytest.approx(0.03)
        assert q.gap_max_s == pytest.approx(0.02)
        assert q.jitter_s == pytest.approx(0, abs=1e-6)
        assert not q.one_way
        assert q.rtt_s == pytest.approx(0.06, abs=0.001)
        assert q.delay_s == pytest.approx(0.03 + 0.06 + 0.02, abs=0.001)
        assert (q.codec_profile, q.model) == ("G.711+PLC", "ITU-T G.107")
        assert q.mos == pytest.approx(4.41, abs=0.01)
        assert len(q.windows) == 6
        assert sum(w.expected for w in q.windows) == q.expected
        assert q.remote.mos == 4.4
        assert q.remote.cumulative_lost == 0


def test_echo_comes_back():
    p = pair(a={"source": Tone(440)}, b={"source": Echo()})
    heard = []
    p.drop = lambda now, sender, port, data: heard.append(data) if sender is p.b and port == B[1] else None
    p.run(2.0)
    payloads = [rtp.parse_untrusted(data).payload for data in heard]
    player = Tone(440).player(Law.MU, 160)
    said = [player.next_frame() for _ in range(100)]
    assert payloads[0] == b"\xff" * 160
    first = next(n for n, payload in enumerate(payloads) if payload != b"\xff" * 160)
    # The first packet of a source is on probation and not played.
    assert payloads[first:90] == said[1 : 91 - first]


def test_each_side_reports_its_own_direction_and_the_other_one_as_the_peer_sees_it():
    rng = random.Random(9)
    p = pair()
    p.drop = lambda now, sender, port, data: sender is p.a and port == A[1] and rng.random() < 0.05
    p.run(60.0)
    heard_by_a, heard_by_b = p.a.report(60.0), p.b.report(60.0)
    assert heard_by_a.lost == 0
    assert heard_by_b.loss_ratio == pytest.approx(0.05, abs=0.015)
    assert heard_by_b.mos == pytest.approx(3.92, abs=0.15)
    assert heard_by_a.remote.cumulative_lost == pytest.approx(heard_by_b.lost, abs=20)
    assert heard_by_a.remote.r_factor == pytest.approx(heard_by_b.r_factor, abs=3)
    assert heard_by_b.remote.cumulative_lost == 0


def test_a_blackout_hides_in_the_mean_but_not_in_the_gap_and_the_worst_window():
    p = pair()
    p.drop = lambda now, sender, port, data: 21.01 < now < 23.01
    q = p.run(60.0).b.report(60.0)
    assert q.mos >= 4.0
    assert q.gap_max_s == pytest.approx(2.0, abs=0.03)
    assert q.mos_min == pytest.approx(1.2, abs=0.05)
    assert [w.lost for w in q.windows] == [0, 0, 100, 0, 0, 0]
    assert q.burst_ratio > 50


def test_a_dead_direction_counts_as_lost_even_though_no_packet_says_so():
    p = pair()
    p.drop = lambda now, sender, port, data: sender is p.a and now > 30.0
    p.run(60.0)
    dead, alive = p.b.report(60.0), p.a.report(60.0)
    assert dead.one_way
    assert not alive.one_way
    assert dead.silent == pytest.approx(1500, abs=2)
    assert dead.loss_ratio == pytest.approx(0.5, abs=0.01)
    assert dead.gap_max_s == pytest.approx(30.0, abs=0.05)
    assert [w.received for w in dead.windows[:3]] == [pytest.approx(500, abs=2)] * 3
    assert [w.received for w in dead.windows[4:]] == [0, 0]
    assert [w.mos for w in dead.windows[4:]] == [1.0, 1.0]
    assert sum(w.lost for w in dead.windows) == dead.lost
    assert dead.mos < 2
    # Looking does not change what was seen.
    assert p.b.report(60.0) == dead


def test_one_way_from_the_start():
    p = pair()
    p.drop = lambda now, sender, port, data: sender is p.a
    p.run(10.0)
    q = p.b.report(10.0)
    assert (q.received, q.one_way, q.mos, q.start_delay_s) == (0, True, 1.0, None)
    assert q.expected == q.lost == 500
    assert not p.a.report(10.0).one_way


def test_a_short_or_mute_call_is_not_one_way():
    a = session()
    a.handle_timeout(0.0)
    assert not a.report(0.9).one_way
    assert a.report(0.9).mos is None
    b = session()
    b.set_direction(send=False, receive=False, now=0.0)
    assert not b.report(60.0).one_way
    assert b.report(60.0).mos is None


def test_late_packets_cost_as_much_as_lost_ones():
    p = pair(b={"playout_delay": 0.04})
    rng = random.Random(4)
    jittery = session(B, A, seed=2, playout_delay=0.04)
    for n in range(500):
        packet = rtp.RtpPacket(0, n, n * 160, 1, b"\xff" * 160).to_bytes()
        jittery.handle_rtp(A, packet, n * 0.02 + (0.05 if n > 2 and rng.random() < 0.1 else 0.0))
    q = jittery.report(10.0)
    assert q.late == pytest.approx(50, abs=15)
    assert q.lost == 0
    assert q.mos < p.run(10.0).b.report(10.0).mos - 0.4


def test_the_codec_profile_matters_and_is_named():
    results = {}
    for name in ("G.711", "G.711+PLC"):
        rng = random.Random(9)
        p = pair(
            b={"codec_profile": CODECS[name]}, drop=lambda now, s, port, data, rng=rng: rng.random() < 0.02
        )
        q = p.run(20.0).b.report(20.0)
        results[q.codec_profile] = q.mos
    assert results["G.711"] < results["G.711+PLC"] - 0.5


def test_last_window_of_a_few_packets_does_not_decide():
    p = pair()
    p.drop = lambda now, sender, port, data: 20.05 < now < 20.15
    q = p.run(20.3).b.report(20.3)
    assert q.windows[-1].mos < 3
    assert q.mos_min == pytest.approx(4.41, abs=0.01)


# --- RTCP


def test_reports_come_about_every_five_seconds_from_the_port_above():
    p = pair()
    seen = []
    p.drop = lambda now, sender, port, data: (
        seen.append((now, data)) if (sender, port) == (p.a, A[1] + 1) else None
    )
    p.run(120.0)
    pauses = [b[0] - a[0] for a, b in pairwise(seen)]
    assert len(seen) == p.a.counters.rtcp_sent
    assert all(2.0 <= pause <= 6.2 for pause in pauses)
    assert len(set(pauses)) > 10
    kinds = [type(packet) for packet in rtcp.parse_untrusted(seen[-1][1])]
    assert kinds == [rtcp.SenderReport, rtcp.SourceDescription, rtcp.ExtendedReport]
    report, description, _ = rtcp.parse_untrusted(seen[-1][1])
    assert report.packets == pytest.approx(seen[-1][0] * 50, abs=2)
    assert report.octets == report.packets * 160
    assert description.cnames == ((p.a.ssrc, "4000@100.96.0.12"),)


def test_a_session_that_does_not_send_writes_receiver_reports():
    p = pair(b={})
    p.b.set_direction(send=False, receive=True, now=0.0)
    seen = []
    p.drop = lambda now, sender, port, data: seen.append(data) if (sender, port) == (p.b, B[1] + 1) else None
    p.run(20.0)
    assert {type(rtcp.parse_untrusted(data)[0]) for data in seen} == {rtcp.ReceiverReport}
    assert p.b.poll_timeout() > 20.0


def test_goodbye_ends_the_expectation_of_media():
    p = pair().run(10.0)
    p.a.stop(10.0)
    p.flush(p.a)
    assert p.a.poll_timeout() == NEVER
    p.run(30.0)
    q = p.b.report(30.0)
    assert (q.lost, q.one_way) == (0, False)
    assert q.gap_max_s < 0.05
    p.a.stop(11.0)
    p.a.handle_timeout(40.0)
    assert p.a.poll_transmit() == []
    assert p.a.report(99.0) == p.a.report(10.0)


def test_a_new_source_after_a_goodbye_is_expected_again():
    p = pair().run(5.0)
    p.a.stop(5.0)
    p.flush(p.a)
    p.run(6.0)
    successor = session(seed=33, now=6.0)
    p.a = successor
    p.run(10.0)
    p.drop = lambda now, sender, port, data: sender is successor
    q = p.run(20.0).b.report(20.0)
    assert q.ssrc_changes == 1
    assert q.one_way
    assert q.gap_max_s == pytest.approx(10.0, abs=0.1)


# --- who may speak


def test_packets_from_elsewhere_are_counted_and_ignored():
    a, b = session(), session(B, A, seed=2)
    b.handle_timeout(0.0)
    data = b.poll_transmit()[0][2]
    a.handle_rtp(("10.0.50.60", 5002), data, 0.0)
    a.handle_rtp(("100.64.0.1", 5000), data, 0.0)
    a.handle_rtcp(("10.0.50.60", 5000), rtcp.compound([rtcp.ReceiverReport(1)]), 0.0)
    a.handle_rtcp(("10.9.9.9", 5001), rtcp.compound([rtcp.Bye((1,))]), 0.0)
    assert a.counters.foreign == 4
    assert a.report(0.5).received == 0


def test_a_new_remote_address_after_a_re_invite():
    a, moved = session(), ("10.0.50.61", 6000)
    a.set_remote(moved)
    a.handle_timeout(0.0)
    assert [destination for _, destination, _ in a.poll_transmit()] == [moved]
    for n in range(3):
        a.handle_rtp(moved, rtp.RtpPacket(0, n, n * 160, 7, b"").to_bytes(), n * 0.02)
    a.handle_rtp(B, rtp.RtpPacket(0, 3, 480, 7, b"").to_bytes(), 0.06)
    assert (a.report(0.1).received, a.counters.foreign) == (3, 1)


def test_hold_and_resume():
    p = pair().run(10.0)
    for one in (p.a, p.b):
        one.set_direction(send=False, receive=False, now=10.0)
    p.run(20.0)
    sent = p.a.counters.sent
    for one in (p.a, p.b):
        one.set_direction(send=True, receive=True, now=20.0)
    resumed = []
    p.drop = lambda now, sender, port, data: (
        resumed.append(rtp.parse_untrusted(data)) if port == A[1] else None
    )
    q = p.run(30.0).b.report(30.0)
    assert sent == pytest.approx(501, abs=1)
    assert (q.lost, q.one_way, q.late) == (0, False, 0)
    assert q.gap_max_s < 0.1
    assert q.jitter_max_s < 0.002
    assert p.a.counters.skipped == 0
    assert resumed[0].marker
    assert not resumed[1].marker


def test_own_ssrc_from_the_peer_makes_us_take_another_one_once():
    a = session()
    a.handle_timeout(0.0)
    (mine,) = (data for _, _, data in a.poll_transmit())
    before = a.ssrc
    a.handle_rtp(B, mine, 0.01)
    assert a.ssrc != before
    (goodbye,) = (data for _, _, data in a.poll_transmit())
    assert rtcp.Bye((before,)) in rtcp.parse_untrusted(goodbye)
    a.handle_timeout(0.02)
    looped = a.poll_transmit()[0][2]
    after = a.ssrc
    a.handle_rtp(B, looped, 0.03)  # a reflector: no end of new identifiers
    assert (a.ssrc, a.counters.collisions) == (after, 2)
    assert a.poll_transmit() == []
    assert a.report(0.5).received == 0


def test_other_payload_types_are_counted_not_played():
    b = session(B, A, source=Echo())
    for n in range(5):
        b.handle_rtp(A, rtp.RtpPacket(101, n, 0, 7, b"\x01" * 160).to_bytes(), n * 0.02)
    b.handle_timeout(0.1)
    assert {packet.payload for packet in rtp_of(b)} == {b"\xff" * 160}
    assert b.counters.other_payload == 5
    assert b.report(0.1).received == 5


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=60), st.floats(0, 2)), max_size=30))
def test_hostile_datagrams_do_no_harm(datagrams):
    a, now = session(), 0.0
    for is_rtp, data, pause in datagrams:
        now += pause
        if is_rtp:
            a.handle_rtp(B, b"\x80\x00" + data, now)
        else:
            a.handle_rtcp((B[0], B[1] + 1), b"\x80\xc8" + data, now)
        a.handle_timeout(now)
        for port, destination, sent in a.poll_transmit():
            assert destination in (B, (B[0], B[1] + 1))
            (rtp if port == A[1] else rtcp).parse_untrusted(sent)
    q = a.report(now)
    assert min(q.received, q.lost, q.expected) >= 0


def test_hostile_reports_about_us_stay_in_range():
    a = session()
    block = rtcp.ReportBlock(a.ssrc, 255, -(2**23), 2**32 - 1, 2**32 - 1, 2**32 - 1, 2**32 - 1)
    metrics = rtcp.VoipMetrics(a.ssrc, r_factor=255, mos_cq=255)
    a.handle_rtcp(
        (B[0], B[1] + 1),
        rtcp.compound([rtcp.ReceiverReport(9, (block,)), rtcp.ExtendedReport(9, (metrics,))]),
        1.0,
    )
    q = a.report(2.0)
    assert (q.rtt_s, q.remote.r_factor, q.remote.mos) == (None, None, None)
    assert q.remote.cumulative_lost == -(2**23)


def test_rtcp_about_other_sources_is_not_ours():
    a, rtcp_source = session(), (B[0], B[1] + 1)
    a.handle_timeout(0.0)
    for n in range(3):
        a.handle_rtp(B, rtp.RtpPacket(0, n, n * 160, 7, b"").to_bytes(), n * 0.02)
    block = rtcp.ReportBlock(a.ssrc, 0, 0, 0, 80, 0, 0)
    others = block._replace(ssrc=a.ssrc ^ 1, jitter=800, cumulative_lost=9)
    a.handle_rtcp(
        rtcp_source,
        rtcp.compound(
            [
                rtcp.ReceiverReport(7, (block, others)),
                rtcp.ExtendedReport(7, (rtcp.VoipMetrics(a.ssrc, r_factor=90, mos_cq=43),)),
                rtcp.ExtendedReport(7, (rtcp.VoipMetrics(a.ssrc ^ 1, r_factor=20, mos_cq=12),)),
                rtcp.SenderReport(8, 1 << 40, 0, 0, 0),
                rtcp.Bye((8,)),
            ]
        ),
        1.0,
    )
    remote = a.report(3.0).remote
    assert (remote.cumulative_lost, remote.jitter_s, remote.r_factor, remote.mos) == (0, 0.01, 90, 4.3)
    assert a.report(9.0).one_way  # the goodbye was of somebody else
    a.stop(9.0)
    sent = a.poll_transmit()[-1][2]
    assert rtcp.parse_untrusted(sent)[0].reports[0].lsr == 0  # and so was the sender report


def test_same_seed_same_packets():
    def run():
        sent = []
        p = pair()
        p.drop = lambda now, sender, port, data: sent.append((now, port, data))
        p.run(12.0)
        return sent

    assert run() == run()


def test_a_report_about_a_new_source_does_not_quote_the_old_ones():
    a = session()
    for ssrc in (7, 8):
        for n in range(2):
            a.handle_rtp(B, rtp.RtpPacket(0, n, n * 160, ssrc, bytes(160)).to_bytes(), 0.02 * n)
        if ssrc == 7:
            report = rtcp.compound([rtcp.SenderReport(7, 5 << 32, 0, 2, 320)])
            a.handle_rtcp((B[0], B[1] + 1), report, 0.05)
    a.stop(0.1)
    (sent,) = [data for port, _, data in a.poll_transmit() if port % 2]
    (block,) = rtcp.parse_untrusted(sent)[0].reports
    assert (block.ssrc, block.lsr, block.dlsr) == (8, 0, 0)  # RFC 3550 6.4.1: of SSRC_n


def playing():
    """A session that hears a stream: sequence numbers 0 and 1 have come."""
    one = session()
    for sequence in (0, 1):
        one.handle_rtp(B, rtp.pack_simple(0, False, sequence, 160 * sequence, 7, bytes(160)), 0.02 * sequence)
    return one


def plain(sequence=2, *, kind=0, marker=False, ssrc=7, size=160):
    return b"head" + rtp.pack_simple(kind, marker, sequence, 160 * sequence, ssrc, bytes(size))


def test_the_next_packet_of_the_stream_goes_the_short_way_and_counts_as_on_the_long_one():
    short, long = playing(), playing()
    for sequence in (2, 3, 7, 6, 6):
        data = plain(sequence)
        assert short.take(B, data, 4, 0.02 * sequence)
        long.handle_rtp(B, data[4:], 0.02 * sequence)
    assert short.report(0.2) == long.report(0.2)
    assert short.report(0.2).received == 6


def test_the_short_way_hears_what_is_to_be_echoed():
    one = session(source=Echo())
    for sequence in (0, 1, 2):
        data = plain(sequence)
        if not one.take(B, data, 4, 0.02 * sequence):
            one.handle_rtp(B, data[4:], 0.02 * sequence)
    one.handle_timeout(0.04)
    frames = [rtp.parse_untrusted(data).payload for port, _, data in one.poll_transmit() if port == A[1]]
    assert bytes(160) in frames


@pytest.mark.parametrize(
    ("source", "make"),
    [
        (("10.0.50.61", 5000), lambda one: plain()),
        (("10.0.50.60", 5002), lambda one: plain()),
        (B, lambda one: plain(marker=True)),
        (B, lambda one: plain(kind=8)),
        (B, lambda one: plain(kind=101)),
        (B, lambda one: plain(ssrc=8)),
        (B, lambda one: plain()[:15]),
        (B, lambda one: plain()[:4] + b"\xa0" + plain()[5:]),
        (B, lambda one: b""),
    ],
)
def test_everything_else_is_left_to_the_long_way(source, make):
    one = playing()
    before = one.report(0.05)
    assert not one.take(source, make(one), 4, 0.05)
    assert one.report(0.05) == before


@pytest.mark.parametrize("how", ["stop", "hold", "moved", "bye"])
def test_the_short_way_closes_with_what_it_led_to(how):
    one = playing()
    if how == "stop":
        one.stop(0.05)
    elif how == "hold":
        one.set_direction(send=True, receive=False, now=0.05)
    elif how == "moved":
        one.set_remote(("10.0.50.61", 5000))
    else:
        goodbye = [rtcp.ReceiverReport(7), rtcp.SourceDescription(((7, "x"),)), rtcp.Bye((7,))]
        one.handle_rtcp((B[0], B[1] + 1), rtcp.compound(goodbye), 0.05)
    assert not one.take(B, plain(), 4, 0.05)


def test_our_own_ssrc_goes_the_long_way_even_if_it_is_the_one_that_plays():
    class Unlucky(random.Random):
        """Once the peer plays with SSRC 7, the next one drawn is 7."""

        def getrandbits(self, k):
            return 7 if playing else super().getrandbits(k)

    playing = False
    one = MediaSession(local=A, remote=B, rng=Unlucky(1), now=0.0)
    for sequence in (0, 1):
        one.handle_rtp(B, plain(sequence)[4:], 0.02 * sequence)
    playing = True
    one.handle_rtp(B, plain(ssrc=one.ssrc)[4:], 0.04)
    assert one.ssrc == 7
    assert not one.take(B, plain(), 4, 0.05)
