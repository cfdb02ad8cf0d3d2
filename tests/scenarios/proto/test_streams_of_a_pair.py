"""TCP of a machine, by number, as a core sees it."""

from __future__ import annotations

from random import Random

from edge.proto.types import Eof, Octets, Opened, StreamEvent, StreamOutput
from scenarios.proto.streams import Streams

NEAR, FAR = "198.18.0.2", "198.18.0.1"


class Pair:
    def __init__(self) -> None:
        self.near, self.far = Streams(NEAR, Random("near")), Streams(FAR, Random("far"))
        self.far.listen(443)
        self.now = 0.0
        self.sizes: list[int] = []

    def carry(self, *, together: bool = False) -> tuple[list[StreamEvent], list[StreamEvent]]:
        """Until all is quiet; what both say. `together`: all of a burst arrives before anybody looks."""
        said: tuple[list[StreamEvent], list[StreamEvent]] = ([], [])
        for _ in range(50):
            self.now += 0.001
            for streams, other, events in ((self.near, self.far, said[1]), (self.far, self.near, said[0])):
                packets = [packet for _, packet in streams.poll_transmit(self.now)]
                self.sizes += map(len, packets)
                for burst in [packets] if together else [[packet] for packet in packets]:
                    other.receive(burst, self.now)
                    events += other.poll_events(self.now)
        return said


def test_a_burst_is_octets_and_none_of_them_is_empty() -> None:
    pair = Pair()
    pair.near.dial(5, (FAR, 443), pair.now)
    near, far = pair.carry()
    assert isinstance(near[0], Opened) and near[0].connection_id == 5
    assert [type(event) for event in far] == [Opened]
    pair.near.send([StreamOutput(5, bytes(5000))])
    _, far = pair.carry(together=True)
    chunks = [event.data for event in far if isinstance(event, Octets)]
    assert b"".join(chunks) == bytes(5000)
    assert all(chunks), "an empty one would be read as the end"


def test_connections_that_are_reset_end_here_and_say_nothing_to_the_other_end() -> None:
    pair = Pair()
    pair.near.dial(5, (FAR, 443), pair.now)
    pair.carry()
    pair.near.reset()
    near, far = pair.near.poll_events(pair.now), pair.carry()[1]
    assert [(type(event), event.connection_id) for event in near] == [(Eof, 5)]
    assert far == []
    pair.near.dial(6, (FAR, 443), pair.now)
    assert any(isinstance(event, Opened) for event in pair.carry()[0])


def test_segments_are_as_large_as_the_interface_takes() -> None:
    pair = Pair()
    pair.near = Streams(NEAR, Random("near"), mtu=1300)
    pair.near.dial(5, (FAR, 443), pair.now)
    (opened,) = [event for event in pair.carry()[1] if isinstance(event, Opened)]
    pair.near.send([StreamOutput(5, bytes(9000))])
    pair.far.send([StreamOutput(opened.connection_id, bytes(9000))])
    assert pair.far.waiting == 0
    pair.carry()
    assert max(pair.sizes) == 1300
