"""One simulated TCP connection: the state machine of RFC 9293 3.10 with the checks of RFC 5961.

An application writes, reads, closes and aborts, and hears `StreamEvent`s. Below it segments and time come in and
`Outgoing` segments go out. `TcpStack` owns connections and puts their segments into packets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from edge.proto.ip import RateLimit, Segment
from edge.proto.ip.tcp import ACK, FIN, PSH, RST, SYN
from edge.proto.types import NEVER
from scenarios.proto.tcp_receiver import Receiver
from scenarios.proto.tcp_segment import Outgoing, mss_option, unwrap
from scenarios.proto.tcp_sender import Chunk, Sender
from scenarios.proto.tcp_state import State, StreamError, StreamEvent, TcpLimits

_CLOSED_BY_US = (State.FIN_WAIT_1, State.FIN_WAIT_2, State.CLOSING, State.LAST_ACK)
_NOTHING_TO_LOSE = (State.CLOSING, State.LAST_ACK, State.TIME_WAIT)
_RECEIVING = (State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2)


class StreamOwner(Protocol):
    """Who hears what happens to a connection."""

    def handle_stream(self, connection: Connection, event: StreamEvent, now: float) -> None: ...


class Connection:
    """`remote` is the peer's textual IP and port; `changed` is called when there may be something to send or hear."""

    def __init__(
        self,
        local_port: int,
        remote: tuple[str, int],
        owner: StreamOwner,
        *,
        sender: Sender,
        announced_mss: int,
        limits: TcpLimits,
        changed: Callable[[Connection], None],
    ) -> None:
        self.local_port = local_port
        self.remote = remote
        self.owner = owner
        self.state = State.SYN_SENT
        self.error: StreamError | None = None
        self.ignored = 0
        """Segments that RFC 9293 or RFC 5961 tells us to drop."""
        self.accepted = False
        """The peer opened it."""
        self._sender = sender
        self._receiver = Receiver(limits.receive_buffer, announced_mss)
        self._announced_mss = announced_mss
        self._limits = limits
        self._changed = changed
        self._challenges = RateLimit(limits.challenge_rate, limits.challenge_burst)
        self._events: list[StreamEvent] = []
        self._out: list[Outgoing] = []
        self._ack_due = False
        self._unacknowledged = 0
        self._short_write = False
        self._ends_at = NEVER  # of TIME-WAIT, or of our patience with a peer

    def __repr__(self) -> str:
        return f"<Connection {self.local_port} {self.remote[0]}:{self.remote[1]} {self.state}>"

    # -- what an application does

    @property
    def room(self) -> int:
        """Bytes that `write` takes now."""
        return self._sender.room if self._may_write else 0

    @property
    def readable(self) -> int:
        """Bytes that `read` returns now."""
        return self._receiver.readable

    @property
    def at_end(self) -> bool:
        """The peer has finished and everything is read."""
        return self._receiver.finished and not self._receiver.readable

    @property
    def retransmissions(self) -> int:
        return self._sender.retransmissions

    @property
    def mss(self) -> int:
        """Payload bytes in the largest segment that we send."""
        return self._sender.mss

    @property
    def round_trip(self) -> float | None:
        """Smoothed, in seconds."""
        return self._sender.timeout.smoothed

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Send `data`; how much of it was taken. After less than all, WRITABLE says when to go on."""
        taken = self._sender.write(data) if self._may_write else 0
        self._short_write = taken < len(data) and self._may_write
        if taken:
            self._changed(self)
        return taken

    def read(self, limit: int | None = None) -> bytes:
        """What has arrived, at most `limit` bytes."""
        data = self._receiver.read(limit)
        if data and self.state in _RECEIVING and self._receiver.has_news:
            self._ack_due = True
            self._changed(self)
        return data

    def close(self) -> None:
        """Write no more. What was written is still delivered, now or once connected, and the peer may go on."""
        if not self._may_write:
            return
        if self.state is State.ESTABLISHED:
            self.state = State.FIN_WAIT_1
        elif self.state is State.CLOSE_WAIT:
            self.state = State.LAST_ACK
        self._sender.finish()
        self._changed(self)

    def abort(self, error: StreamError = StreamError.ABORTED) -> None:
        """End at once; the peer gets a reset."""
        if self.state not in (State.CLOSED, State.SYN_SENT, State.TIME_WAIT):
            self._reply(RST | ACK, self._sender.bare)
        self._end(error)

    def discard(self, error: StreamError | None) -> None:
        """End at once, without a word to the peer."""
        self._end(error)

    @property
    def _may_write(self) -> bool:
        return self.state in (State.SYN_SENT, State.SYN_RECEIVED, State.ESTABLISHED, State.CLOSE_WAIT)

    # -- what the stack does

    def accept(self, segment: Segment) -> None:
        """Begin as the answer to this SYN."""
        self.state, self.accepted = State.SYN_RECEIVED, True
        self._synchronize(segment)

    def take_events(self) -> list[StreamEvent]:
        events, self._events = self._events, []
        return events

    def poll_timeout(self) -> float:
        return NEVER if self.state is State.CLOSED else min(self._sender.deadline, self._ends_at)

    def handle_timeout(self, now: float) -> None:
        if self.state is State.CLOSED:
            return
        if self._ends_at <= now:
            if self.state is State.TIME_WAIT:
                self._end(None)
            else:
                self.abort(StreamError.TIMEOUT)
        elif self._sender.deadline <= now and not self._sender.handle_timeout(now):
            self.abort(StreamError.TIMEOUT)

    def poll_transmit(self, now: float) -> list[Outgoing]:
        """The segments to send now, oldest first."""
        if self.state is not State.CLOSED:
            for chunk in self._sender.poll(now):
                self._send(chunk)
            if self._ack_due:
                self._reply(ACK, self._sender.bare)
            if self.state in _CLOSED_BY_US and self._ends_at == NEVER:
                self._ends_at = now + self._limits.linger
        out, self._out = self._out, []
        return out

    def path_shrank(self, quoted_sequence: int, mss: int) -> bool:
        """A router reports a smaller MTU about a segment of ours; False if that one is not in flight."""
        if not self._in_flight(quoted_sequence):
            return False
        self._sender.limit_mss(mss)
        self._changed(self)
        return True

    def unreachable(self, quoted_sequence: int) -> bool:
        """An ICMP error says that nobody will answer; it ends only what has not begun (RFC 5927 5.2)."""
        if not self._in_flight(quoted_sequence):
            return False
        if self.state is State.SYN_SENT:
            self._end(StreamError.UNREACHABLE)
        return True

    def _in_flight(self, sequence: int) -> bool:
        return self._sender.una <= unwrap(sequence, self._sender.una) < self._sender.highest

    # -- segments

    def receive(self, segment: Segment, mss: int, now: float) -> None:
        """A segment of this connection with a right checksum; `mss` is what its options allow us to send."""
        if self.state is State.CLOSED:
            return
        if self.state is State.SYN_SENT:
            self._receive_first(segment, mss, now)
        elif self._fits(segment, now):
            self._receive_fitting(segment, now)

    def _receive_first(self, segment: Segment, mss: int, now: float) -> None:
        """RFC 9293 3.10.7.3."""
        flags, sender = segment.flags, self._sender
        acknowledged = unwrap(segment.acknowledgment, sender.una)
        if flags & ACK and not sender.una < acknowledged <= sender.highest:
            self._refuse(segment)
        elif flags & RST:
            if flags & ACK:
                self._end(StreamError.REFUSED)
            else:
                self.ignored += 1
        elif flags & SYN:
            self._synchronize(segment)
            sender.limit_mss(mss)
            if flags & ACK:
                sender.acknowledge(acknowledged, self._receiver.next, segment.window, now, bare=False)
                self._ack_due = True
                self._establish()
            else:  # both ends opened at once
                self.state = State.SYN_RECEIVED
                sender.repeat_syn()
        else:
            self.ignored += 1

    def _fits(self, segment: Segment, now: float) -> bool:
        """First to fourth check of RFC 9293 3.10.7.4, as RFC 5961 has them."""
        flags, receiver = segment.flags, self._receiver
        sequence = unwrap(segment.sequence, receiver.next)
        length = len(segment.payload) + bool(flags & SYN) + bool(flags & FIN)
        fits = receiver.acceptable(sequence, length)
        if flags & RST:
            if sequence == receiver.next:
                self._end(None if self.state in _NOTHING_TO_LOSE else StreamError.RESET)
            elif fits:
                self._challenge(now)
            else:
                self.ignored += 1
            return False
        if flags & SYN:
            if self.state is State.SYN_RECEIVED and sequence == receiver.next - 1:
                self._sender.repeat_syn()
            else:
                self._challenge(now)
            return False
        if not fits and not (receiver.closed and sequence == receiver.next):
            if self.state is State.TIME_WAIT and flags & FIN:
                self._ends_at = now + self._limits.time_wait  # our last acknowledgment was lost
            self._challenge(now)
            return False
        if not flags & ACK:
            self.ignored += 1
            return False
        acknowledged = unwrap(segment.acknowledgment, self._sender.una)
        if self.state is State.SYN_RECEIVED and not self._sender.una < acknowledged <= self._sender.highest:
            self._refuse(segment)
            return False
        if not self._sender.believable(acknowledged):
            self._challenge(now)
            return False
        return True

    def _receive_fitting(self, segment: Segment, now: float) -> None:
        """Fifth to eighth check."""
        sender, receiver = self._sender, self._receiver
        sequence = unwrap(segment.sequence, receiver.next)
        fin = bool(segment.flags & FIN)
        before = sender.una
        sender.acknowledge(
            unwrap(segment.acknowledgment, sender.una),
            sequence,
            segment.window,
            now,
            bare=not segment.payload and not fin,
        )
        if self.state is State.SYN_RECEIVED:
            self._establish()
        if sender.una > before:
            self._progress(now)
            if self.state is State.CLOSED:
                return
        if len(segment.payload) or fin:
            self._receive_data(sequence, segment.payload, fin, now)

    def _progress(self, now: float) -> None:
        """The peer has acknowledged something new."""
        if self.state in _CLOSED_BY_US:
            self._ends_at = now + self._limits.linger
        if self._short_write and self._sender.room:
            self._short_write = False
            self._events.append(StreamEvent.WRITABLE)
        if not self._sender.finished:
            return
        if self.state is State.FIN_WAIT_1:
            self.state = State.FIN_WAIT_2
        elif self.state is State.CLOSING:
            self._wait(now)
        elif self.state is State.LAST_ACK:
            self._end(None)

    def _receive_data(self, sequence: int, payload: memoryview, fin: bool, now: float) -> None:
        receiver = self._receiver
        self._ack_due = True
        if self.state not in _RECEIVING:
            return
        readable, known = receiver.readable, receiver.next
        receiver.receive(sequence, payload, fin=fin)
        self._unacknowledged += receiver.next - known
        if receiver.next > known and self.state in _CLOSED_BY_US:
            self._ends_at = now + self._limits.linger
        if receiver.readable > readable:
            self._events.append(StreamEvent.READABLE)
        if receiver.finished:
            self._events.append(StreamEvent.FINISHED)
            if self.state is State.ESTABLISHED:
                self.state = State.CLOSE_WAIT
            elif self.state is State.FIN_WAIT_1:
                self.state = State.CLOSING
            else:
                self._wait(now)
        if receiver.next == known or self._unacknowledged >= 2 * self._announced_mss:
            self._reply(ACK, self._sender.bare)  # at once: the peer counts these (RFC 5681 4.2)

    def _synchronize(self, segment: Segment) -> None:
        self._receiver.start(unwrap(segment.sequence, 1 << 32))

    def _establish(self) -> None:
        self.state = State.FIN_WAIT_1 if self._sender.finishing else State.ESTABLISHED
        self._events.append(StreamEvent.CONNECTED)

    def _wait(self, now: float) -> None:
        self.state = State.TIME_WAIT
        self._ends_at = now + self._limits.time_wait

    def _end(self, error: StreamError | None) -> None:
        if self.state is State.CLOSED:
            return
        if not (self.accepted and self.state is State.SYN_RECEIVED):  # of which nobody has heard
            self._events.append(StreamEvent.CLOSED)
        self.state = State.CLOSED
        self.error = error
        self._changed(self)

    # -- out

    def _send(self, chunk: Chunk) -> None:
        if chunk.syn:
            flags = SYN if self.state is State.SYN_SENT else SYN | ACK
            self._reply(flags, chunk.sequence, options=mss_option(self._announced_mss))
        else:
            flags = ACK | (FIN if chunk.fin else 0) | (PSH if chunk.payload else 0)
            self._reply(flags, chunk.sequence, chunk.payload)

    def _reply(
        self, flags: int, sequence: int, payload: bytes | bytearray = b"", *, options: bytes = b""
    ) -> None:
        acknowledgment = self._receiver.next if flags & ACK else 0
        window = self._receiver.window()
        self._out.append(Outgoing(sequence, acknowledgment, flags, window, options, payload))
        if flags & ACK:
            self._ack_due = False
            self._unacknowledged = 0

    def _challenge(self, now: float) -> None:
        """Tell the peer, or whoever it was, what we expect; a true peer knows what to do with that."""
        self.ignored += 1
        if self._challenges.allow(now):
            self._reply(ACK, self._sender.bare)

    def _refuse(self, segment: Segment) -> None:
        """An acknowledgment of something never sent, before there is a connection: not from our peer."""
        self.ignored += 1
        if not segment.flags & RST:
            self._out.append(Outgoing(segment.acknowledgment, 0, RST, 0))
