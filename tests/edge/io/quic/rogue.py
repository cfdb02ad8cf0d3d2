"""A client that sends what no library would: any frames, in packets that are authentic."""

from __future__ import annotations

import ssl

from aioquic import tls
from aioquic.buffer import Buffer, encode_uint_var
from aioquic.h3.connection import H3Connection
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated
from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicPacketBuilder
from quic_pair import NAME, SERVER, read

ADDRESS = ("203.0.113.66", 6666)


def varint(*values):
    return b"".join(encode_uint_var(value) for value in values)


def stream_frame(stream, data, offset=0, *, fin=False):
    return varint(0x0E | fin, stream, offset, len(data)) + data


def h3_frame(kind, data, claimed=None):
    return varint(kind, len(data) if claimed is None else claimed) + data


class Rogue:
    """`server` is a QuicServer. Time is the caller's."""

    def __init__(self, server, now, *, address=ADDRESS, connect=True, **configuration):
        self.server = server
        self.address = address
        self.events = []  # of aioquic
        self.server_events = []
        self.received = 0  # octets of the server
        self.datagrams = []  # that came
        self.quic = QuicConnection(
            configuration=QuicConfiguration(
                is_client=True,
                alpn_protocols=["h3"],
                server_name=NAME,
                verify_mode=ssl.CERT_NONE,
                **{"max_datagram_frame_size": 65535, **configuration},
            ),
            session_ticket_handler=self.events.append,
        )
        invented = b"invented"  # at least eight octets (RFC 9000 section 7.2), however short its own are
        self.quic._peer_cid.cid = self.quic._original_destination_connection_id = invented
        self.quic.connect(SERVER, now)
        self.now = now
        self.h3 = None
        if connect:
            self.connect()

    def connect(self):
        self.exchange(4)
        self.h3 = H3Connection(self.quic)
        for event in self.events:
            self.h3.handle_event(event)
        self.exchange(3)

    def exchange(self, times=1):
        """What our library wants to say, and what the server answers; 5 ms each time."""
        for _ in range(times):
            self.now += 0.005
            timer = self.quic.get_timer()
            if timer is not None and timer <= self.now:
                self.quic.handle_timer(self.now)
            self.send([datagram for datagram, _ in self.quic.datagrams_to_send(self.now)])

    def send(self, datagrams, *, hear=True):
        now = self.now
        if datagrams:
            self.server.receive([read(datagram, self.address) for datagram in datagrams], now)
        if self.server.next_timeout() <= now:
            self.server.handle_timeout(now)
        self.server_events += self.server.poll_events()
        for address, answers in self.server.poll_transmit(now):
            if address != self.address:
                continue
            self.received += sum(map(len, answers))
            self.datagrams += answers
            for answer in answers if hear else ():
                self.quic.receive_datagram(answer, SERVER, now)
        while (event := self.quic.next_event()) is not None:
            self.events.append(event)
            if self.h3 is not None:
                self.h3.handle_event(event)

    def packet(self, *frames, epoch=tls.Epoch.ONE_RTT):
        """A datagram with these frames, as raw octets."""
        kind = {tls.Epoch.ONE_RTT: QuicPacketType.ONE_RTT, tls.Epoch.INITIAL: QuicPacketType.INITIAL}[epoch]
        quic = self.quic
        builder = QuicPacketBuilder(
            host_cid=quic.host_cid,
            peer_cid=quic._peer_cid.cid,
            version=quic._version,
            is_client=True,
            max_datagram_size=1350,
            packet_number=quic._packet_number,
            peer_token=quic._peer_token,
        )
        builder.start_packet(kind, quic._cryptos[epoch])
        raw = b"".join(frames)
        first = Buffer(data=raw)
        frame_type = first.pull_uint_var()
        builder.start_frame(frame_type, capacity=len(raw)).push_bytes(raw[first.tell() :])
        [datagram], _ = builder.flush()
        quic._packet_number = builder.packet_number
        return datagram

    def inject(self, *frames, hear=True):
        self.send([self.packet(*frames)], hear=hear)

    @property
    def closed(self):
        """(code, whether it is one of QUIC) of the server's close, or None."""
        event = self.quic._close_event
        return None if event is None else (event.error_code, event.frame_type is not None)

    def terminated(self):
        return [event for event in self.events if isinstance(event, ConnectionTerminated)]
