"""The window of a tunnel: what makes it grow, what makes it give way."""

import pytest
from aioquic.quic.packet_builder import QuicSentPacket
from aioquic.tls import Epoch

from edge.io.quic.congestion import MAX_WINDOW, TunnelCongestionControl

SIZE = 1200


class Path:
    """Sends full windows of `rtt` seconds each."""

    def __init__(self):
        self.control = TunnelCongestionControl(max_datagram_size=SIZE)
        self.now = 10.0

    def packet(self):
        return QuicSentPacket(
            epoch=Epoch.ONE_RTT,
            in_flight=True,
            is_ack_eliciting=True,
            is_crypto_packet=False,
            packet_number=0,
            packet_type=None,
            sent_time=self.now,
            sent_bytes=SIZE,
        )

    def window(self, *, lost=lambda n: False, rtt=0.04, share=1.0):
        control = self.control
        packets = [self.packet() for _ in range(max(1, int(control.congestion_window * share) // SIZE))]
        for packet in packets:
            control.on_packet_sent(packet=packet)
        self.now += rtt
        for number, packet in enumerate(packets):
            if lost(number):
                control.on_packets_lost(now=self.now, packets=[packet])
            else:
                control.on_packet_acked(now=self.now, packet=packet)
                control.on_rtt_measurement(now=self.now, rtt=rtt)
        assert control.bytes_in_flight == 0
        return control.congestion_window


def test_it_grows_while_it_is_used_up_to_a_limit():
    path = Path()
    assert path.window(share=0.2) == 10 * SIZE
    assert path.window() > 15 * SIZE
    for _ in range(20):
        path.window()
    assert path.control.congestion_window == MAX_WINDOW


def test_one_loss_in_a_hundred_is_a_bad_link():
    path = Path()
    for _ in range(3):
        path.window()
    before = path.control.congestion_window
    counter = iter(range(1, 1 << 20))
    for _ in range(20):
        path.window(lost=lambda _: next(counter) % 100 == 0)
    assert path.control.congestion_window >= before
    assert path.control.ssthresh is None


@pytest.mark.parametrize("loss", [10, 3])
def test_many_losses_are_congestion(loss):
    path = Path()
    for _ in range(3):
        path.window()
    before = path.control.congestion_window
    for _ in range(6):
        path.window(lost=lambda n: n % loss == 0)
    assert path.control.congestion_window < before


def test_a_loss_with_a_queue_is_congestion_once_per_round_trip():
    path = Path()
    path.window(rtt=0.04)
    before = path.window(rtt=0.04)
    path.control.on_rtt_measurement(now=path.now, rtt=0.1)
    path.window(rtt=0.1, lost=lambda n: n in (0, 1, 2))
    assert path.control.congestion_window == int(before * 0.7)


def test_a_queue_ends_the_start():
    path = Path()
    path.window(rtt=0.04)
    path.window(rtt=0.08)
    path.window(rtt=0.08)
    assert path.control.ssthresh is not None
    before = path.control.congestion_window
    path.window(rtt=0.08)
    assert path.control.congestion_window <= before + SIZE


def test_persistent_congestion_leaves_little():
    path = Path()
    path.window()
    path.control.on_persistent_congestion()
    assert path.control.congestion_window == 2 * SIZE


def test_expired_packets_are_not_in_flight():
    control = Path().control
    packet = Path().packet()
    control.on_packet_sent(packet=packet)
    control.on_packets_expired(packets=[packet])
    assert control.bytes_in_flight == 0
