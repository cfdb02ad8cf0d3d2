"""The PoP as a process: configuration, state, signals, log. ``poplab edge --config edge.yaml`` ends up here."""

from __future__ import annotations

import base64
import contextlib
import os
import resource
import signal
from collections.abc import Callable
from itertools import count
from pathlib import Path

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from edge import config as configuration
from edge.config import counted
from edge.document import HostPort
from edge.errors import PoplabError, Refused
from edge.log import configure_log
from edge.server.exporter import Exporter
from edge.server.relay import Relay
from edge.state import MemoryStore, SqliteStore, Word

DRAIN = 0.1  # seconds in which datagrams that are on their way to us may still arrive and leave

LINGER = 0.001  # the process is there for this port: metrics and signals can wait a millisecond

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

log: FilteringBoundLogger = structlog.get_logger("poplab")


def serve(path: Path, *, verbose: bool = False) -> None:
    """Run the PoP of `path` until SIGTERM or Ctrl-C. PoplabError, with nothing started, if it cannot be run."""
    # A reload that is asked for during the start, as by who sees our lock already, is done after it; by default the
    # signal would end the process.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    configure_log(verbose=verbose)
    _raise_file_limit()
    config = configuration.load(path)
    store: SqliteStore | MemoryStore = SqliteStore(config.state) if config.state else MemoryStore()
    try:
        # Bound once: the lazy logger would assemble itself anew for every line, even for those that are not written.
        relay = Relay(config, store, log=log.bind(), linger=LINGER)
        try:
            trio.run(_run, relay, path, store.tell if isinstance(store, SqliteStore) else _tell_nobody)
        except* PoplabError as group:
            error = _first(group)
            if isinstance(error, Refused):  # by what the file says, such as a port
                raise Refused(f"{path}: {error}") from None
            raise error from None
    finally:
        store.close()


def _raise_file_limit() -> None:
    """A connection of TCP is a file: the usual limit of 1,024 would be theirs who hold a few idle ones."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _tell_nobody(_: Word) -> None:
    """Without a state file nobody could find the word."""


async def _run(relay: Relay, path: Path, tell: Callable[[Word], None]) -> None:
    # Signals first: a stop that comes during the start is a stop as well.
    reloads = count(1)
    with trio.open_signal_receiver(*SIGNALS) as signals:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        async with trio.open_nursery() as nursery:
            address = await nursery.start(relay.run)
            config = relay.config
            if config.metrics is not None:
                metrics = await nursery.start(Exporter(relay.snapshot).run, config.metrics)
                log.info("metrics", url=f"http://{HostPort(metrics)}/metrics")
            log.info(
                "serving",
                pop=config.name,
                process=os.getpid(),
                wireguard=str(HostPort(address)),
                **({"masque": str(HostPort(masque))} if (masque := relay.masque_address) else {}),
                public_key=base64.b64encode(relay.public_key).decode(),
                vnets=len(config.vnets),
                tunnels=len(config.tunnels),
            )
            if config.masque is not None and config.masque.keylog is not None:
                log.warning(
                    "keylog", file=str(config.masque.keylog), danger="its readers can read the tunnels"
                )
            async for number in signals:
                if number == signal.SIGHUP:
                    tell(_reload(relay, path, next(reloads)))
                    continue
                log.info("draining", signal=signal.Signals(number).name)
                # Who presses Ctrl-C again gets the same clean stop: no more signals from here on.
                signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
                with trio.move_on_after(DRAIN):
                    async for _ in signals:
                        pass
                nursery.cancel_scope.cancel()
                break
    snapshot = relay.snapshot()
    log.info(
        "stopped",
        packets_in=sum(v.packets_in for v in snapshot.vnets),
        packets_out=sum(v.packets_out for v in snapshot.vnets),
        dropped=sum(v.dropped for v in snapshot.vnets),
    )


def _reload(relay: Relay, path: Path, number: int) -> Word:
    """Read everything again; a file that is wrong changes nothing."""
    try:
        config = configuration.load(path)
    except PoplabError as error:
        relay.count_failed_reload()
        log.error("reload-refused", problems=str(error))
        return Word(number, False, str(error))
    try:
        relay.reload(config)
    except PoplabError as error:
        log.error("reload-refused", problems=str(error))
        return Word(number, False, str(error))
    vnets, tunnels = len(config.vnets), len(config.tunnels)
    log.info("reloaded", vnets=vnets, tunnels=tunnels)
    return Word(number, True, f"{counted(vnets, 'vnet')}, {counted(tunnels, 'tunnel')}")


def _first(group: BaseExceptionGroup[PoplabError]) -> PoplabError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, PoplabError)
    return error
