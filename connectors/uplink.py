"""The way of this machine to its PoPs: which address of its own the kernel sends from, and when that is another.

Any change of a link, an address, a route or a rule wakes us, also those that our own interface makes: what counts is
only whether the source address has become another one, and the PoP is never reached through the tunnel.

A plain socket, though pyroute2 is there: its handle would parse what we throw away, and keep what we do not take. Ours
holds a few messages; the kernel says that it has thrown the rest away, which tells as much.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import Protocol, Self

import trio

from edge.proto.types import Address

SETTLING = 0.5
"""Seconds from the first sign of a change until we look: addresses and routes come one after the other."""

LONGEST_PAUSE = 10.0
"""Seconds that we wait instead on a network that keeps changing."""

CALM = 4
"""Times the pause without a change after which a network is at rest."""

# Bits of the groups that nl_groups of netlink(7) has; the socket module does not name them.
_LINK, _IPV4_ADDRESS, _IPV4_ROUTE, _IPV4_RULE = 0x1, 0x10, 0x40, 0x80
_IPV6_ADDRESS, _IPV6_ROUTE, _IPV6_RULE = 0x100, 0x400, 0x40000
_GROUPS = _LINK | _IPV4_ADDRESS | _IPV4_ROUTE | _IPV4_RULE | _IPV6_ADDRESS | _IPV6_ROUTE | _IPV6_RULE
_BUFFER = 8192  # octets
_MESSAGES = 1024  # in a row: more of them than fit wake us again

Moved = Callable[[str, str], None]
"""Told our address of before and that of now, each empty if there is or was no way."""


def source_towards(pop: Address) -> str:
    """The address that packets to `pop` would leave with; empty if there is no way. Nothing is sent."""
    family = socket.AF_INET6 if ":" in pop[0] else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect(pop)
            return str(sock.getsockname()[0])
    except OSError:
        return ""


class Changes(Protocol):
    """Tells that something about the network has changed."""

    async def wait(self) -> None: ...

    def forget(self) -> None:
        """What has been told so far."""


class KernelChanges:
    """Those of the network namespace of the thread that makes it. A context manager, which closes it."""

    def __init__(self) -> None:
        self._sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        try:
            self._sock.setblocking(False)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            self._sock.bind((0, _GROUPS))
        except BaseException:
            self._sock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._sock.close()

    async def wait(self) -> None:
        await trio.lowlevel.wait_readable(self._sock)

    def forget(self) -> None:
        for _ in range(_MESSAGES):
            try:
                self._sock.recv(1)  # of a longer message the rest is thrown away
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS: so were whole ones
                continue


class Uplink:
    """Towards `pops`. `look` is ``source_towards``, but for tests."""

    def __init__(
        self, pops: Iterable[Address], changes: Changes, *, look: Callable[[Address], str] = source_towards
    ) -> None:
        self._changes = changes
        self._look = look
        self.head_for(pops)

    def head_for(self, pops: Iterable[Address]) -> None:
        """From now on towards these."""
        self._sources = {pop: self._look(pop) for pop in pops}

    @property
    def is_there(self) -> bool:
        """Whether there is a way to one of them, as when it was last looked at."""
        return any(self._sources.values())

    async def follow(self, moved: Moved) -> None:
        """Call `moved` when the address has become another, for ever; ever more slowly if it keeps doing so."""
        pause, at = SETTLING, trio.current_time()
        while True:
            await self._changes.wait()
            if trio.current_time() > at + CALM * pause:
                pause = SETTLING
            await trio.sleep(pause)
            self._changes.forget()
            before = self._sources
            self.head_for(before)
            both = zip(before.values(), self._sources.values(), strict=True)
            changes = [(was, now) for was, now in both if was != now]
            if changes:
                was, now = max(changes, key=lambda change: change[1] != "")  # one that there is a way for
                if now:  # to lose a way is no move: the next one shall not wait for that
                    pause, at = min(2 * pause, LONGEST_PAUSE), trio.current_time()
                moved(was, now)
