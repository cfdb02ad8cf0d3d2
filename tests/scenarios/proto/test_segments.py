"""What was heard in a call whose codec changed, as one verdict."""

import random
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest

from scenarios.proto.quality import mos
from scenarios.proto.rtp import RtpPacket
from scenarios.proto.segments import MAX_WINDOWS, joined
from scenarios.proto.softphone import media_with
from tests.scenarios.proto.sip_world import ALICE, BOB, World
from tests.scenarios.proto.test_media import B, session


def listener(now, **kw):
    return session(now=now, playout_delay=0.06, **kw)


def hear(one, since, until, *, skip=lambda n: False):
    """A packet every 20 ms from `since` on."""
    for n in range(round((until - since) / 0.02)):
        if not skip(n):
            packet = RtpPacket(0, n, n * 160, 7, b"\xff" * 160).to_bytes()
            one.handle_rtp(B, packet, since + n * 0.02)
    return one


def heard(since, until, *, end=None, **kw):
    """The verdict of a session from `since` on that hears until `until` and ends at `end`."""
    one = hear(listener(since), since, until, **kw)
    one.stop(until if end is None else end)
    return one.report(99.0)


def test_counts_are_added_and_the_mean_weighs_packets():
    bad = heard(0.0, 10.0, skip=lambda n: n % 5 == 3)
    good = heard(10.0, 40.0)
    whole = joined(bad, good, 10.0)
    assert whole.received == bad.received + good.received
    assert (whole.lost, whole.expected) == (bad.lost, bad.expected + good.expected)
    assert whole.loss_ratio == pytest.approx(0.05, abs=0.001)
    share = bad.expected / whole.expected
    assert whole.r_factor == pytest.approx(share * bad.r_factor + (1 - share) * good.r_factor)
    assert whole.mos == mos(whole.r_factor)
    assert bad.mos < whole.mos < good.mos
    assert whole.mos_min == bad.mos_min
    assert whole.ssrc_changes == 0


def test_the_windows_go_on():
    whole = joined(heard(0.0, 24.0), heard(24.0, 39.0), 24.0)
    assert [window.start for window in whole.windows] == pytest.approx([0.0, 10.0, 20.0, 24.0, 34.0])
    assert [window.length for window in whole.windows] == pytest.approx([10.0, 10.0, 4.0, 10.0, 5.0])


def test_a_stretch_of_a_few_packets_does_not_decide():
    short = heard(10.0, 10.5, skip=lambda n: 5 < n < 15)
    assert short.mos_min < 3
    assert joined(heard(0.0, 10.0), short, 10.0).mos_min > 4
    assert joined(short, heard(10.5, 20.0), 0.5).mos_min > 4
    assert joined(short, short, 0.5).mos_min == short.mos_min, "there is no other"


def test_a_silence_over_the_change_is_one_gap():
    before, after = heard(0.0, 10.0, end=10.4), hear(listener(10.4), 11.0, 20.0).report(20.0)
    assert (before.gap_max_s, after.gap_max_s) == pytest.approx((0.42, 0.02))
    assert joined(before, after, 10.4).gap_max_s == pytest.approx(1.02)


def test_while_nothing_should_come_there_is_no_gap():
    held = listener(10.0)
    held.set_direction(send=True, receive=False, now=10.0)
    held.set_direction(send=True, receive=True, now=15.0)
    hear(held, 15.5, 20.0)
    assert joined(heard(0.0, 10.0), held.report(20.0), 10.0).gap_max_s == pytest.approx(0.52)


def test_a_direction_that_dies_with_the_change_is_one_way():
    def after(end, sends=True):
        one = listener(10.0)
        if sends:
            one.handle_timeout(10.0)
        return one.report(end)

    before = heard(0.0, 10.0)
    assert not joined(before, after(12.0), 10.0).one_way, "there was media, and not five seconds ago"
    assert joined(before, after(15.5), 10.0).one_way
    assert not joined(before, after(15.5, sends=False), 10.0).one_way
    dead = joined(before, after(15.5), 10.0)
    assert dead.silent == 275
    assert joined(dead, hear(listener(15.5), 15.5, 20.0).report(20.0), 15.5).one_way is False


def test_three_and_more_segments_are_as_one():
    parts = [heard(float(at), at + 10.0, skip=lambda n, at=at: n % (at + 7) == 3) for at in (0, 10, 20)]
    left = joined(joined(parts[0], parts[1], 10.0), parts[2], 20.0)
    right = joined(parts[0], joined(parts[1], parts[2], 10.0), 10.0)
    assert left.windows == right.windows
    assert left.r_factor == pytest.approx(right.r_factor)
    assert (left.received, left.lost, left.mos_min) == (right.received, right.lost, right.mos_min)


def test_a_segment_without_media_changes_no_mean():
    mute = listener(10.0)
    mute.set_direction(send=True, receive=False, now=10.0)
    before = heard(0.0, 10.0)
    whole = joined(before, mute.report(12.0), 10.0)
    assert (whole.mos, whole.jitter_s, whole.loss_ratio) == (before.mos, before.jitter_s, before.loss_ratio)
    assert joined(mute.report(12.0), mute.report(12.0), 2.0).mos is None


def test_profiles_that_differ_are_both_named():
    one, two = heard(0.0, 5.0), heard(5.0, 9.0)
    assert joined(one, two, 5.0).codec_profile == "G.711+PLC"
    other = replace(two, codec_profile="GSM-EFR")
    assert joined(joined(one, other, 5.0), two, 9.0).codec_profile == "G.711+PLC, GSM-EFR"


def test_who_changes_codecs_all_day_costs_bounded_memory():
    whole = part = heard(0.0, 0.1)
    for n in range(1, MAX_WINDOWS + 50):
        whole = joined(whole, part, n * 0.1)
    assert len(whole.windows) == MAX_WINDOWS
    assert whole.received == 5 * (MAX_WINDOWS + 50), "the figures are of all"


# --- in a call


@dataclass
class Transcoder(World):
    """Something before bob that speaks the other law with him, while it is `on`."""

    on: bool = False

    def send(self, source, destination, data):
        if self.on and BOB in (source[0], destination[0]):
            if 5060 not in (source[1], destination[1]):
                data = bytes((data[0], data[1] ^ 8)) + data[2:] if destination[1] % 2 == 0 else data
            elif destination[0] == BOB:
                data = data.replace(b"RTP/AVP 0 ", b"RTP/AVP 8 ").replace(b"0 PCMU", b"8 PCMA")
            else:
                data = data.replace(b"RTP/AVP 8 ", b"RTP/AVP 0 ").replace(b"8 PCMA", b"0 PCMU")
        super().send(source, destination, data)


def talking():
    """alice and bob on a call with real media."""
    world = Transcoder()
    media = {name: media_with(random.Random(name)) for name in ("pbx", "alice", "bob")}
    world.pbx(media_factory=media["pbx"])
    alice = world.phone("alice", ALICE, media_factory=media["alice"])
    bob = world.phone("bob", BOB, media_factory=media["bob"])
    alice.register(0.0)
    bob.register(0.0)
    world.run(1.0)
    call = alice.call("bob", world.now)
    world.run(1.0)
    return world, call, bob.calls[0]


def change_codec(world, call):
    world.on = not world.on
    assert call.reinvite(world.now)


def test_a_codec_that_changes_in_a_call_forgets_nothing():
    world, call, theirs = talking()
    world.run(11.0)
    before = theirs.quality(world.now)
    change_codec(world, call)
    world.run(12.0)
    assert theirs.signalling.agreement.codec == "PCMA"
    call.hangup(world.now)
    world.run(1.0)
    whole = theirs.quality(world.now)
    assert whole.received >= before.received + 590
    assert whole.lost == 0
    assert whole.mos == pytest.approx(before.mos, abs=0.01)
    starts = [window.start for window in whole.windows]
    assert len(starts) == 4
    lengths = [window.length for window in whole.windows]
    assert [after - start for start, after in pairwise(starts)] == pytest.approx(lengths[:-1])
    assert starts[-1] + lengths[-1] == pytest.approx(theirs.ended_at - theirs.heard_from)
    assert sum(window.received for window in whole.windows) == whole.received


def test_losses_before_a_change_stay_losses():
    world, call, theirs = talking()
    world.loss = 0.3
    world.run(5.0)
    world.loss = 0.0
    world.run(1.0)
    lost = theirs.quality(world.now).lost
    assert lost > 20
    for number in range(3):
        change_codec(world, call)
        world.run(2.0)
        assert theirs.reinvites == number + 1
    assert theirs.quality(world.now).lost == lost
