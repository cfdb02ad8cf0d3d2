"""Whether a program can be used yet."""

from __future__ import annotations

import trio

from scenarios.fabric.process import Process
from scenarios.proto.bound_ports import LISTEN, UNCONNECTED, bound
from scenarios.proto.pick import expression
from scenarios.proto.program_output import ProgramOutput
from scenarios.runner.cpu_limit import Overrun, limited
from scenarios.runner.launcher import GRACE, Launcher, NotStarted
from scenarios.runner.program_results import too_long
from scenarios.schema.programs import Ready

LOOK_AGAIN = 0.05
"""Seconds between two looks."""

TRY_AGAIN = 0.25
"""Seconds between two runs of a program that tells."""


async def until_ready(launcher: Launcher, host: str, process: Process, ready: Ready) -> None:
    """NotStarted if that cannot be found out, ExpressionError for a placeholder. The caller knows how long to wait."""
    if ready.run is not None:
        await _until_told(launcher, host, ready.run)
        return
    while not _is_ready(process, ready):  # noqa: ASYNC110 - the kernel tells nobody of a new socket
        await trio.sleep(LOOK_AGAIN)


def awaited(ready: Ready) -> str:
    """What is not so yet, in words."""
    if ready.tcp is not None:
        return f"nobody listens on TCP port {ready.tcp}"
    if ready.udp is not None:
        return f"nobody takes datagrams at UDP port {ready.udp}"
    if ready.output is not None:
        return f"it has written nothing that matches {ready.output!r}"
    return f"{(ready.run or ('nothing',))[0]} has not ended with 0"


def _is_ready(process: Process, ready: Ready) -> bool:
    if ready.tcp is not None:
        return ready.tcp in _ports(process, "tcp", LISTEN)
    if ready.udp is not None:
        return ready.udp in _ports(process, "udp", UNCONNECTED)
    return ready.output is not None and _has_written(process, ready.output)


def _has_written(process: Process, wanted: str) -> bool:
    text = process.output.both.text
    try:
        return bool(limited(lambda: expression(wanted).search(text)))
    except Overrun:
        raise NotStarted(f"{wanted!r}: {too_long(text)}") from None


def _ports(process: Process, protocol: str, state: str) -> set[int]:
    """On the machine on which the program runs: its own network namespace."""
    found: set[int] = set()
    for table in (protocol, f"{protocol}6"):
        try:
            text = process.place.table(table)
        except OSError:  # it has ended, or there is no IPv6
            continue
        found.update(bound(text, state))
    return found


async def _until_told(launcher: Launcher, host: str, argv: tuple[str, ...]) -> None:
    while True:
        asking = launcher.begin(host, argv, ProgramOutput(1 << 12), env={})
        try:
            await asking.ended.wait()
        finally:
            if asking.alive:
                await asking.end(grace=GRACE)
        if asking.code == 0:
            return
        await trio.sleep(TRY_AGAIN)
