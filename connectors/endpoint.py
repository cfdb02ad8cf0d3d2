"""The far end of one tunnel on a UDP port of its own, and TCP where it needs that.

One task drives everything behind the tunnel too: datagrams, timers and the hosts' own deadlines share its loop.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace

import trio

from connectors.arrivals import Arrivals, Datagrams, DatagramsAndPackets
from connectors.dialer import Dialer, Streams
from connectors.proto import ChoosingEnd, EndpointStatistics, PacketSide, TunnelEnd
from connectors.tun_side import PacketDevice, TunSide
from connectors.ways import MasqueTarget, TunnelWord, WireGuardTarget, make_end
from edge.io.driver import Driver, Port
from edge.io.udp import UdpPort
from edge.proto.masque.route import AddressRange
from edge.proto.types import Address

OpenStreams = Callable[[trio.Nursery, Callable[[], None]], Streams]

DRAIN_TURNS = 1024  # when stopping: what the socket holds, but no endless flood

NOTHING_YET = EndpointStatistics(0, 0, 0, 0, 0, None, 0)


class Endpoint:
    """Connects `side` to the PoP at `pop` whose public key is `pop_public`.

    `private_key` and `psk` are 32 bytes and never shown. `keepalive` in seconds keeps NAT mappings and the PoP's
    idea of our address fresh; it also makes the tunnel come up without waiting for traffic. `tunnel` other than
    wireguard needs `masque`. `open_port` is called once per run with the address to bind, and `open_streams`, if there
    may be TCP, with a nursery and what wakes this end; a lab puts a simulated path there. A `side` that is a TunSide is
    attached to its device for each run; then the port must have a file descriptor. `linger` as in ``Driver``.
    """

    def __init__(
        self,
        name: str,
        private_key: bytes,
        pop_public: bytes,
        pop: Address,
        side: PacketSide,
        *,
        psk: bytes | None = None,
        keepalive: float | None = 25.0,
        tunnel: TunnelWord = "wireguard",
        masque: MasqueTarget | None = None,
        bind: Address | None = None,
        open_port: Callable[[Address], Port] = UdpPort.bind,
        open_streams: OpenStreams = Dialer,
        rng: Callable[[int], bytes] = os.urandom,
        linger: float = 0.0,
    ) -> None:
        self.name = name
        self.side = side
        self.pop = pop
        self._wireguard = WireGuardTarget(pop, pop_public, private_key, psk, keepalive)
        self._tunnel = tunnel
        self._masque = masque
        self._bind = bind or (("::1", 0) if ":" in pop[0] else ("127.0.0.1", 0))
        self._open_port = open_port
        self._open_streams = open_streams
        self._rng = rng
        self._linger = linger
        self._driver: Driver[Arrivals] | None = None
        self._port: Port | None = None
        self._end: TunnelEnd | ChoosingEnd | None = None
        self._scope: trio.CancelScope | None = None
        self._crashed = False
        self._to_redial = False
        self._earlier = NOTHING_YET  # of this run, towards other addresses
        self._epoch = 0.0
        self._up = trio.Event()
        self._way = ""
        self.on_way: Callable[[str], None] | None = None
        """Told the word of the way that packets take from now on; empty: none."""
        self.on_routes: Callable[[Sequence[AddressRange]], None] | None = None
        """Told what the PoP forwards to, when it has said so or changed its mind; WireGuard has no word for it."""
        self._advertised: Sequence[AddressRange] = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} up={self.up}>"

    @property
    def up(self) -> bool:
        """True once a handshake of this run has completed."""
        return self._up.is_set()

    @property
    def address(self) -> Address:
        """The outer address that this end sends from; only while it runs."""
        assert self._port is not None, "not running"
        return self._port.address

    @property
    def way(self) -> str:
        """How packets go to the PoP now: h3, h2 or wireguard; empty if they do not."""
        return self._way

    @property
    def failures(self) -> list[str]:
        """Why they do not go a better way, or any: a line for each way that was tried, such as `h3: ...`."""
        return self._end.failures(trio.current_time()) if isinstance(self._end, ChoosingEnd) else []

    async def wait_up(self) -> None:
        await self._up.wait()

    @property
    def core(self) -> TunnelEnd | ChoosingEnd | None:
        """What is driven here, without IO; None before the first run."""
        return self._end

    def wake(self) -> None:
        """Look at `side` again: somebody gave a host behind it something to do."""
        if self._driver is not None:
            self._driver.wake()

    def moved(self) -> None:
        """Its address has changed, as it would learn from the system."""
        if self._end is not None and self._driver is not None:
            self._end.moved(trio.current_time())
            self._driver.wake()

    def redial(self, pop: Address, masque: MasqueTarget | None, bind: Address) -> None:
        """Go on with the PoP at other addresses, from a fresh port. The side and its device stay as they are.

        What is under way to the old ones is given up without a word: this is for when they do not answer.
        """
        self.pop, self._masque, self._bind = pop, masque, bind
        self._wireguard = replace(self._wireguard, pop=pop)
        if self._driver is not None:
            self._to_redial = True
            self._driver.wake()

    def stop(self, *, graceful: bool) -> None:
        """End the present run; without grace at once, as if the process had been killed."""
        if self._driver is not None and self._scope is not None:
            self._crashed = not graceful
            self._scope.cancel()

    def pause(self) -> None:
        """Stand still, as after SIGSTOP."""
        if self._driver is not None:
            self._driver.hold()

    def resume(self) -> None:
        if self._driver is not None:
            self._driver.release()

    def statistics(self) -> EndpointStatistics:
        return self._earlier if self._end is None else self._earlier + self._end.statistics()

    @property
    def answers(self) -> bool:
        """Whether the PoP answers, as far as is known."""
        return self._end is not None and self._end.answers(trio.current_time())

    async def run(self, *, task_status: trio.TaskStatus[Endpoint] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled or stopped; started once port and device are open. The tunnel comes up on its own.

        A cancellation is graceful: what has arrived is still delivered, and what the hosts say to it still leaves.
        """
        self._earlier, self._crashed = NOTHING_YET, False
        # Of all of the run: a PoP takes no stamp that goes back.
        self._epoch = time.time() - trio.current_time()
        if self._up.is_set():  # an earlier run's
            self._up = trio.Event()
        with ExitStack() as stack:
            port = self._open_port(self._bind)
            stack.callback(lambda: port.close())
            device = stack.enter_context(self.side.attached()) if isinstance(self.side, TunSide) else None
            with trio.CancelScope() as self._scope:
                while True:
                    self._to_redial = False
                    self._earlier += await self._towards_one_pop(port, device, task_status)
                    port.close()
                    port = self._open_port(self._bind)
                    task_status = trio.TASK_STATUS_IGNORED

    async def _towards_one_pop(
        self, port: Port, device: PacketDevice | None, task_status: trio.TaskStatus[Endpoint]
    ) -> EndpointStatistics:
        """Until it shall be redialled."""
        source: Datagrams | DatagramsAndPackets
        if isinstance(self.side, TunSide):
            assert device is not None
            source = DatagramsAndPackets(port, self.side, device)
        else:
            source = Datagrams(port)
        with closing(source):
            return await self._run(port, source, task_status)

    async def _run(
        self,
        port: Port,
        source: Datagrams | DatagramsAndPackets,
        task_status: trio.TaskStatus[Endpoint],
    ) -> EndpointStatistics:
        try:
            now = trio.current_time()
            end = make_end(
                self._tunnel,
                self.side,
                wireguard=self._wireguard,
                masque=self._masque,
                now=now,
                epoch=self._epoch,
                rng=self._rng,
            )
            driver: Driver[Arrivals] = Driver(source, linger=self._linger)
            self._end, self._driver, self._port = end, driver, port
            async with trio.open_nursery() as nursery:
                streams = None if isinstance(end, TunnelEnd) else self._open_streams(nursery, driver.wake)
                self._send(end, port, streams)
                task_status.started(self)
                try:
                    while not self._to_redial:
                        at = end.poll_timeout()
                        if streams is not None:
                            at = min(at, streams.poll_timeout())
                        self._turn(end, port, streams, await driver.wait(at))
                except trio.Cancelled:
                    if not self._crashed:
                        self._drain(end, port, source, streams)
                    raise
                nursery.cancel_scope.cancel()  # what is left of TCP
            return end.statistics()
        finally:
            self._driver = self._port = None
            if self._way:
                self._took("")

    def _drain(
        self,
        end: TunnelEnd | ChoosingEnd,
        port: Port,
        source: Datagrams | DatagramsAndPackets,
        streams: Streams | None,
    ) -> None:
        for _ in range(DRAIN_TURNS):
            arrivals = source.receive()
            self._turn(end, port, streams, arrivals)
            if not arrivals:
                break
        if isinstance(end, ChoosingEnd):
            end.stop(trio.current_time())
            self._send(end, port, streams)

    def _turn(
        self, end: TunnelEnd | ChoosingEnd, port: Port, streams: Streams | None, arrivals: Arrivals
    ) -> None:
        now = trio.current_time()
        if isinstance(end, TunnelEnd):
            end.turn(arrivals.reads, now)
        else:
            assert streams is not None
            end.turn(arrivals.reads, now, streams.receive())
        self._send(end, port, streams)
        if end.has_been_up and not self._up.is_set():
            self._up.set()
        if end.way != self._way:
            self._took(end.way)
        if self.on_routes is not None and isinstance(end, ChoosingEnd):
            advertised = end.advertised
            if advertised and advertised is not self._advertised:
                self._advertised = advertised
                self.on_routes(advertised)

    def _took(self, way: str) -> None:
        self._way = way
        if self.on_way is not None:
            self.on_way(way)

    @staticmethod
    def _send(end: TunnelEnd | ChoosingEnd, port: Port, streams: Streams | None) -> None:
        port.send(end.poll_transmit())
        if isinstance(end, ChoosingEnd) and streams is not None:
            for number, address in end.poll_dials():
                streams.dial(number, address)
            streams.send(end.poll_streams())
