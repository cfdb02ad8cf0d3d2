"""The PoP on its sockets: receive, a turn of the engine, send; one task, one nursery, a drain on the way out.

All state lives in the cores (``engine.Engine``); this shell moves bytes and keeps the clock.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace

import trio
from structlog.typing import FilteringBoundLogger

from edge.config import EdgeConfig, MasqueConfig, public_key
from edge.errors import Refused
from edge.io.driver import Driver
from edge.io.streams import StreamPort
from edge.io.udp import UdpPort
from edge.metrics import Snapshot
from edge.proto.forwarding import Observer
from edge.proto.types import Address
from edge.server import assembly
from edge.server.engine import SILENT, Engine
from edge.server.keylog import KeyLog
from edge.server.ports import Arrivals, Ports, WireGuardPort
from edge.state import StateStore

READS_PER_TURN = 64  # 64 KiB of buffer each
QUIC_READS = 32
MASQUE_KEY = "`listen.masque`"
FREE_PORT_TRIES = 16
CLOSING = 256  # connections of TCP beyond those that are allowed, which are just being closed
DRAIN_TURNS = 1024  # when stopping: more than the largest socket buffer holds, unless it is filled meanwhile


def _as_it_is(port: UdpPort) -> WireGuardPort:
    return port


class Relay:
    """A PoP on its ports. ``run`` it in a nursery; everything else may be called while it runs.

    `rng(n)` gives secret random bytes; `timer` measures the budget of hooks and the latency of a turn; `linger` as in
    ``Driver``; `observer` as in ``Engine``. Sockets are opened inside of what `opening` gives: a lab enters another
    network namespace there. `widen` may put another port of WireGuard in front of the one that was opened.
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
        observer: Observer | None = None,
        opening: Callable[[], AbstractContextManager[None]] = nullcontext,
        widen: Callable[[UdpPort], WireGuardPort] = _as_it_is,
    ) -> None:
        assembly.refuse_if_wrong(config)
        self._config = config
        self._store = store
        self._rng = rng
        self._timer = timer
        self._log = log
        self._linger = linger
        self._observer = observer
        self._opening = opening
        self._widen = widen
        self._engine: Engine | None = None
        self._driver: Driver[Arrivals] | None = None
        self._ports: Ports | None = None
        self._key_log: Callable[[str], None] | None = None
        self._scope: trio.CancelScope | None = None
        self._crashed = False
        self._running = False
        self._started_at = time.time()
        self._reloads_ok = self._reloads_failed = 0

    @property
    def public_key(self) -> bytes:
        return public_key(self._config.private_key)

    @property
    def address(self) -> Address:
        """Where the PoP listens for WireGuard; only while running."""
        assert self._ports is not None, "not running"
        return self._ports.wireguard.address

    @property
    def masque_address(self) -> Address | None:
        """Where the PoP listens for MASQUE, UDP and TCP alike; None if it does not. Only while running."""
        assert self._ports is not None, "not running"
        return None if self._ports.quic is None else self._ports.quic.address

    @property
    def running(self) -> bool:
        return self._running

    @property
    def config(self) -> EdgeConfig:
        return self._config if self._engine is None else self._engine.config

    async def run(self, *, task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled or stopped; started with the bound address.

        On the way out what has arrived is still forwarded.
        """
        with self._open() as ports, KeyLog.of(self._config) as key_log:
            self._key_log = key_log
            self._crashed = False
            self._running = True
            try:
                with trio.CancelScope() as self._scope:
                    await self._serve(ports, task_status)
            finally:
                self._running = False

    @contextmanager
    def _open(self) -> Iterator[Ports]:
        """All sockets, or none."""
        with ExitStack() as stack:
            with self._opening():
                masque = self._config.masque
                wireguard = self._widen(
                    UdpPort.bind(
                        self._config.listen,
                        reads=READS_PER_TURN,
                        buffer_bytes=16 << 20,
                        may_fragment=True,
                        is_dialled=True,
                        setting="`listen.wireguard`",
                    )
                )
                stack.callback(wireguard.close)
                quic = streams = None
                if masque is not None:
                    quic, streams = _open_masque(masque)
                    stack.callback(quic.close)
                    if streams is not None:
                        stack.callback(streams.close)
            ports = Ports(wireguard, quic, streams)
            stack.callback(ports.close)
            yield ports

    async def _serve(self, ports: Ports, task_status: trio.TaskStatus[Address]) -> None:
        now = trio.current_time()
        engine = self._engine = Engine(
            self.config,
            self._store,
            now=now,
            epoch=time.time() - now,
            rng=self._rng,
            timer=self._timer,
            log=self._log,
            observer=self._observer,
            on_secret=self._key_log,
        )
        driver = self._driver = Driver(ports, linger=self._linger)
        self._ports = ports
        async with trio.open_nursery() as nursery:
            if ports.streams is not None:
                await nursery.start(ports.streams.serve, driver.wake)
            task_status.started(ports.wireguard.address)
            try:
                while True:
                    self._turn(engine, ports, await driver.wait(engine.poll_timeout()))
            finally:
                if not self._crashed:
                    self._drain(engine, ports)
                    engine.save()

    def _drain(self, engine: Engine, ports: Ports) -> None:
        """Forward what the sockets hold. Who keeps sending must not keep us from stopping."""
        for _ in range(DRAIN_TURNS):
            arrivals = ports.receive()
            self._turn(engine, ports, arrivals)
            if not arrivals:
                break
        engine.drain(trio.current_time())
        self._send(engine, ports)

    def _turn(self, engine: Engine, ports: Ports, arrivals: Arrivals) -> None:
        engine.turn(arrivals.wireguard, trio.current_time(), arrivals.quic, arrivals.streams)
        self._send(engine, ports)

    @staticmethod
    def _send(engine: Engine, ports: Ports) -> None:
        ports.wireguard.send(engine.poll_transmit())
        if ports.quic is not None:
            ports.quic.send(engine.poll_quic())
            if ports.streams is not None:
                ports.streams.send(engine.poll_streams())

    def stop(self, *, graceful: bool) -> None:
        """End the present run; without grace at once, as if the process had been killed: nothing more is saved."""
        if self._scope is not None:
            self._crashed = not graceful
            self._scope.cancel()

    def pause(self) -> None:
        """Stand still, as after SIGSTOP."""
        if self._driver is not None:
            self._driver.hold()

    def resume(self) -> None:
        if self._driver is not None:
            self._driver.release()

    def reload(self, config: EdgeConfig) -> None:
        """As ``Engine.reload``; refusals are counted."""
        assert self._engine is not None and self._driver is not None
        try:
            self._engine.reload(config, trio.current_time())
        except Exception:
            self._reloads_failed += 1
            raise
        self._reloads_ok += 1
        self._driver.wake()

    def active(self, site: str) -> str | None:
        """As ``Engine.active``."""
        return None if self._engine is None else self._engine.active(site)

    def count_failed_reload(self) -> None:
        """A file that could not even be read or parsed."""
        self._reloads_failed += 1

    def snapshot(self) -> Snapshot:
        """Everything counted, at one instant."""
        if self._engine is None or self._ports is None:
            return Snapshot(started_at=self._started_at)
        snapshot = self._engine.snapshot(trio.current_time())
        return replace(
            snapshot,
            datagram_drops=Counter(snapshot.datagram_drops) + self._ports.drops,
            reloads_ok=self._reloads_ok,
            reloads_failed=self._reloads_failed,
        )


def _open_masque(config: MasqueConfig) -> tuple[UdpPort, StreamPort | None]:
    """UDP and TCP of one number, or none of them. Which one is free of both, for port 0, is found by trying."""
    for attempt in range(FREE_PORT_TRIES if not config.listen[1] else 1):
        quic = UdpPort.bind(
            config.listen, reads=QUIC_READS, buffer_bytes=16 << 20, is_dialled=True, setting=MASQUE_KEY
        )
        if not config.http2:
            return quic, None
        try:
            return quic, StreamPort.bind(
                quic.address, limit=config.max_connections + CLOSING, setting=MASQUE_KEY
            )
        except Refused:
            quic.close()
            if config.listen[1] or attempt == FREE_PORT_TRIES - 1:
                raise
    raise AssertionError("unreachable")
