"""The media of a user agent's calls: RTP ports, sessions, their clocks."""

from __future__ import annotations

from edge.proto.types import Address
from scenarios.proto.call import Call, MediaFactory, Taker
from scenarios.proto.sdp import Agreement
from scenarios.proto.timer_queue import TimerQueue


class CallMedia:
    """Even ports for RTP, the odd ones above for RTCP. A port stays open after its call, for what is on its way."""

    def __init__(self, address: str, first_port: int, pairs: int, factory: MediaFactory) -> None:
        self._address = address
        self._ports: dict[int, Call | None] = {first_port + 2 * n: None for n in range(pairs)}
        self._factory = factory
        self.timers: TimerQueue[Call] = TimerQueue()
        self._out: list[tuple[int, Address, bytes]] = []

    @property
    def ports(self) -> tuple[int, ...]:
        """All ports that are open now."""
        return tuple(port + n for port, call in self._ports.items() if call is not None for n in (0, 1))

    def wants(self, port: int) -> bool:
        return self._user(port) is not None

    def _user(self, port: int) -> Call | None:
        return self._ports.get(port) or self._ports.get(port - 1)

    def reserve(self, call: Call) -> bool:
        """Give the call an RTP address, preferably one never used; else the one free for longest."""
        free = [port for port, user in self._ports.items() if user is None or user.state.over]
        if not free:
            return False
        port = min(free, key=lambda port: self._freed_at(port))
        del self._ports[port]
        self._ports[port] = call
        call.local_media = (self._address, port)
        return True

    def _freed_at(self, port: int) -> float:
        user = self._ports[port]
        return -1.0 if user is None or user.ended_at is None else user.ended_at

    def settle(self, call: Call, agreement: Agreement, now: float) -> None:
        """Start the session that was agreed on, or change the running one (re-INVITE)."""
        before, call.signalling.agreement = call.signalling.agreement, agreement
        call.remote_media = agreement.remote
        call.held = not agreement.direction.sends
        changed = before is not None and before.codec != agreement.codec
        if changed:
            self.stop(call, now)
        if call.media is None or changed:
            call.begin_media(self._factory(agreement, call.source, now), now)
        else:
            call.media.set_remote(agreement.remote)
        if call.media is not None:
            direction = agreement.direction
            call.media.set_direction(send=direction.sends, receive=direction.receives, now=now)
            self._collect(call)

    def stop(self, call: Call, now: float) -> None:
        if call.media is not None:
            call.media.stop(now)
            self._collect(call)
            self.timers.cancel(call)

    def taker(self, port: int) -> Taker | None:
        """The short way into the session at an RTP port; it closes by itself when the session ends."""
        call = self._ports.get(port)
        return None if call is None or call.media is None else call.media.take

    def receive(self, port: int, source: Address, data: bytes, now: float) -> None:
        """A datagram on one of our ports."""
        call = self._user(port)
        if call is None or call.media is None:
            return
        if port in self._ports:
            call.media.handle_rtp(source, data, now)
        else:
            call.media.handle_rtcp(source, data, now)
            self._collect(call)

    def _collect(self, call: Call) -> None:
        if call.media is not None:
            self._out += call.media.poll_transmit()
            self.timers.set(call, call.media.poll_timeout())

    def poll_timeout(self) -> float:
        return self.timers.due

    def handle_timeout(self, now: float) -> None:
        for call in self.timers.pop_all(now):  # a session that is late is due again, in the next round
            if call.media is not None:
                call.media.handle_timeout(now)
                self._collect(call)

    def poll_transmit(self) -> list[tuple[int, Address, bytes]]:
        out = self._out
        if not out:
            return []
        self._out = []
        return out
