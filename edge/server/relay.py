"""The PoP's one loop: receive, open, forward, seal, send; what must survive is saved before it is sent.

All state lives in the cores (``assembly.Pop``); this shell moves bytes, keeps the clock and tells the log.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from edge.config import EdgeConfig
from edge.document import HostPort
from edge.errors import PoplabError
from edge.io.driver import Driver
from edge.io.udp import UdpPort
from edge.metrics import FORWARD_BOUNDS, HANDSHAKE_BOUNDS, Histogram, Snapshot, TunnelSnapshot, VnetSnapshot
from edge.proto.forwarding import Forwarder
from edge.proto.types import Address
from edge.proto.wireguard import (
    Device,
    EndpointChanged,
    Event,
    HandshakeCompleted,
    HandshakeGivenUp,
    Identity,
    TimestampAdvanced,
    TimestampClock,
    Tunnel,
)
from edge.server import assembly
from edge.state import PeerState, StateStore

READS_PER_TURN = 64  # 64 KiB of buffer each
HOUSEKEEPING = 1.0  # seconds between looks at idle flows and old fragments
DRAIN_TURNS = 1024  # when stopping: more than the largest socket buffer holds, unless it is filled meanwhile
GREETING_PACE = 0.02  # after a restart: this long between two handfuls of initiations
GREETINGS = 16

SILENT: FilteringBoundLogger = structlog.wrap_logger(
    structlog.ReturnLogger(), wrapper_class=structlog.make_filtering_bound_logger("critical")
)
"""For a PoP inside another program, such as a scenario: what it has to say is in its snapshot."""


class Relay:
    """A PoP on one UDP port. ``run`` it in a nursery; everything else may be called while it runs.

    `rng(n)` gives secret random bytes; `timer` measures the budget of hooks and the latency of a turn; `linger` as in
    ``Driver``.
    """

    def __init__(
        self,
        config: EdgeConfig,
        store: StateStore,
        *,
        rng: Callable[[int], bytes] = os.urandom,
        timer: Callable[[], float] = time.perf_counter,
        log: FilteringBoundLogger = SILENT,
        linger: float = 0.0,
    ) -> None:
        assembly.refuse_if_wrong(config)
        self._store = store
        self._rng = rng
        self._timer = timer
        self._log = log
        self._linger = linger
        self._identity = Identity.from_bytes(config.private_key)
        self._config = config
        self._pop: assembly.Pop | None = None
        self._driver: Driver | None = None
        self._forwarder = Forwarder()
        self._clock: TimestampClock | None = None
        self._handshake_seconds = Histogram(HANDSHAKE_BOUNDS)
        self._forward_seconds = Histogram(FORWARD_BOUNDS)
        self._started_at = time.time()
        self._generation = 1
        self._reloads_ok = self._reloads_failed = 0
        self._save_failed = False
        self._moved: dict[bytes, Tunnel] = {}  # whose endpoint is not saved yet

    @property
    def public_key(self) -> bytes:
        return self._identity.public

    @property
    def address(self) -> Address:
        """Where the PoP listens; only while running."""
        assert self._driver is not None, "not running"
        return self._driver.port.address

    @property
    def config(self) -> EdgeConfig:
        return self._config

    async def run(self, *, task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; started with the bound address. On the way out what has arrived is still forwarded."""
        port = UdpPort.bind(self._config.listen, reads=READS_PER_TURN, buffer_bytes=16 << 20)
        try:
            now = trio.current_time()
            self._clock = TimestampClock(time.time() - now, greatest=_sent_before(self._store))
            device = Device(self._identity, rng=self._rng, clock=self._clock, now=now)
            pop = self._pop = assembly.Pop(device, self._config)
            known = self._store.load()
            tunnels = [
                device.tunnels[t.public_key] for t in assembly.apply(pop, self._config, known, self._timer)
            ]
            self._driver = Driver(port, linger=self._linger)
            task_status.started(port.address)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._greet, tunnels)
                nursery.start_soon(self._housekeeping)
                await self._forward()
        finally:
            try:
                if self._driver is not None and self._pop is not None:
                    self._drain(self._pop, port)
                    self._save(self._pop.device.tunnels.values())
            finally:
                port.close()

    def _drain(self, pop: assembly.Pop, port: UdpPort) -> None:
        """Forward what the socket holds. Who keeps sending must not keep us from stopping."""
        for _ in range(DRAIN_TURNS):
            reads = port.receive()
            self._turn(pop, reads)
            if not reads:
                break

    async def _forward(self) -> None:
        assert self._driver is not None
        driver = self._driver
        while True:
            assert self._pop is not None
            reads = await driver.wait(self._pop.device.poll_timeout().at)
            self._turn(self._pop, reads)

    def _turn(self, pop: assembly.Pop, reads: list[tuple[memoryview, int, Address]]) -> None:
        """One pass of the four verbs over what was read."""
        started = self._timer()
        now = trio.current_time()
        device = pop.device
        forwarder = self._forwarder
        forwarder.forward([(tunnel.owner, packets) for tunnel, packets in device.open(reads, now)], now)
        device.handle_timeout(now)
        forwarded = 0
        for attachment, packets in forwarder.take():
            device.seal(attachment.link, packets, now)
            forwarded += len(packets)
        self._handle_events(device.poll_events())
        assert self._driver is not None
        self._driver.port.send(device.poll_transmit())
        if forwarded:
            self._forward_seconds.observe(self._timer() - started, forwarded)

    # -- events --

    def _handle_events(self, events: list[Event]) -> None:
        """Runs before the turn's datagrams leave: what a response reveals must already be on disk."""
        if not events:
            return
        changed: dict[bytes, Tunnel] = {}
        for event in events:
            tunnel = event.tunnel
            if isinstance(event, TimestampAdvanced):
                changed[tunnel.remote.public] = tunnel
            elif isinstance(event, EndpointChanged):
                self._moved[tunnel.remote.public] = tunnel
                self._log.debug("endpoint", tunnel=tunnel.name, endpoint=tunnel.endpoint, before=event.before)
            elif isinstance(event, HandshakeCompleted):
                self._handshake_seconds.observe(event.seconds)
                self._log.debug(
                    "handshake", tunnel=tunnel.name, initiator=event.initiator, seconds=event.seconds
                )
            elif isinstance(event, HandshakeGivenUp):
                self._log.info(
                    "handshake-given-up", tunnel=tunnel.name, endpoint=tunnel.endpoint, dropped=event.dropped
                )
        if changed:
            self._save(changed.values())

    def _save(self, tunnels: Iterable[Tunnel]) -> None:
        assert self._clock is not None
        try:
            self._store.save(
                [
                    # An endpoint that nobody answered from is a line of the configuration, which may be corrected.
                    PeerState(t.remote.public, t.endpoint if t.was_heard else None, t.timestamp or None)
                    for t in tunnels
                ],
                clock=self._clock.greatest or None,
            )
        except PoplabError as error:
            # A full disk must not stop forwarding; said once, not per handshake.
            if not self._save_failed:
                self._log.error(
                    "state-not-saved", error=str(error), fix="make room; the next handshake tries again"
                )
            self._save_failed = True
        else:
            self._save_failed = False

    # -- beside the loop --

    async def _greet(self, tunnels: list[Tunnel]) -> None:
        """Peers of an earlier run notice a restart only after 15 s of silence: speak first."""
        assert self._pop is not None and self._driver is not None
        known = [tunnel for tunnel in tunnels if tunnel.endpoint is not None]
        for start in range(0, len(known), GREETINGS):
            for tunnel in known[start : start + GREETINGS]:
                # Unless a reload has removed it meanwhile.
                if self._pop.device.tunnels.get(tunnel.remote.public) is tunnel:
                    self._pop.device.initiate(tunnel, trio.current_time())
            self._driver.wake()
            await trio.sleep(GREETING_PACE)

    async def _housekeeping(self) -> None:
        while True:
            await trio.sleep(HOUSEKEEPING)
            assert self._pop is not None
            now = trio.current_time()
            for vnet in self._pop.vnets.values():
                vnet.expire(now)
            assert self._clock is not None
            if self._moved or self._clock.greatest > self._store.clock:
                moved, self._moved = self._moved, {}
                self._save(moved.values())

    # -- for others --

    def reload(self, config: EdgeConfig) -> None:
        """Change to `config` between two turns: tunnels that keep their keys keep their sessions.

        ConfigError or Refused if it cannot be; then nothing has changed.
        """
        assert self._pop is not None and self._driver is not None
        try:
            assembly.refuse_if_wrong(config)
            assembly.refuse_restart_only(self._config, config)
        except Exception:
            self._reloads_failed += 1
            raise
        gone = {t.public_key for t in self._config.tunnels.values()} - {
            t.public_key for t in config.tunnels.values()
        }
        fresh = assembly.apply(self._pop, config, self._store.load(), self._timer)
        for public in gone:
            self._moved.pop(public, None)
        self._config = config
        self._generation += 1
        self._reloads_ok += 1
        now = trio.current_time()
        device = self._pop.device
        for tunnel in fresh:
            device.initiate(device.tunnels[tunnel.public_key], now)
        for link in device.tunnels.values():
            device.keep_alive(link, now)
        self._driver.wake()
        try:
            self._store.forget(gone)
        except PoplabError as error:
            # The configuration is in force already; a record too many does no harm.
            self._log.error("state-not-saved", error=str(error), fix="make room; the next reload tries again")

    def count_failed_reload(self) -> None:
        """A file that could not even be read or parsed."""
        self._reloads_failed += 1

    def snapshot(self) -> Snapshot:
        """Everything counted, at one instant. Cheap enough for every scrape; never called per packet."""
        pop = self._pop
        if pop is None:
            return Snapshot(started_at=self._started_at)
        now = trio.current_time()
        assert self._driver is not None
        return Snapshot(
            vnets=tuple(self._vnet_snapshot(pop, name) for name in pop.vnets),
            tunnels=tuple(self._tunnel_snapshot(pop, name, now) for name in pop.attachments),
            datagrams_in=pop.device.datagrams_in,
            datagrams_out=pop.device.datagrams_out,
            datagram_drops=pop.device.drops + self._driver.port.drops,
            handshake_seconds=self._handshake_seconds.snapshot(),
            forward_seconds=self._forward_seconds.snapshot(),
            started_at=self._started_at,
            generation=self._generation,
            reloads_ok=self._reloads_ok,
            reloads_failed=self._reloads_failed,
        )

    @staticmethod
    def _vnet_snapshot(pop: assembly.Pop, name: str) -> VnetSnapshot:
        vnet = pop.vnets[name]
        waiting, died_waiting = pop.staged(name)
        drops, held = assembly.drops_of(pop, name)
        return VnetSnapshot(
            name=name,
            packets_in=vnet.packets_in,
            bytes_in=vnet.bytes_in,
            packets_generated=vnet.packets_generated,
            packets_out=vnet.packets_out - waiting - died_waiting,
            bytes_out=vnet.bytes_out,
            packets_held=held,
            drops=drops,
            flows=len(vnet.flows),
            flow_limit=vnet.flows.limit,
            rule_hits=dict(vnet.policy.hits),
        )

    @staticmethod
    def _tunnel_snapshot(pop: assembly.Pop, name: str, now: float) -> TunnelSnapshot:
        attachment = pop.attachments[name]
        link: Tunnel = attachment.link
        return TunnelSnapshot(
            name=name,
            vnet=attachment.vnet.name,
            kind=attachment.party.kind,
            up=link.is_up(now),
            handshakes=link.handshakes,
            handshakes_initiated=link.handshakes_initiated,
            last_handshake_age=now - link.last_handshake if link.handshakes else None,
            packets_rx=attachment.packets_in,
            bytes_rx=attachment.bytes_in,
            packets_tx=attachment.packets_out,
            bytes_tx=attachment.bytes_out,
            endpoint=str(HostPort(link.endpoint)) if link.endpoint else "",
        )


def _sent_before(store: StateStore) -> bytes:
    """The greatest timestamp of an earlier run, empty if there was none."""
    return store.clock if any(store.clock) else b""
