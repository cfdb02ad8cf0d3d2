"""What a PoP says that it forwards to, taken over in an amount and at a pace that no PoP can overdo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_network

import trio

from connectors.proto.split_tunnel import Network
from edge.errors import Refused
from edge.proto.masque.capsule import BadCapsule
from edge.proto.masque.route import ANY_PROTOCOL, MAX_PREFIXES, AddressRange, prefixes_of

LEAST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds between two changes of the routes: the more of them, the longer."""


class Advertised:
    """The last that was told counts: what came in between is never looked at."""

    def __init__(self) -> None:
        self._latest: Sequence[AddressRange] | None = None
        self._news = trio.Event()

    def tell(self, ranges: Sequence[AddressRange]) -> None:
        self._latest = ranges
        self._news.set()

    async def follow(self, take: Callable[[Sequence[AddressRange]], None]) -> None:
        """Call `take` with the news, for ever: the first at once, the next ones after a pause."""
        pause = LEAST_PAUSE
        while True:
            await self._news.wait()
            self._news = trio.Event()
            assert self._latest is not None
            take(self._latest)
            await trio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE) if self._news.is_set() else LEAST_PAUSE


def prefixes(ranges: Sequence[AddressRange]) -> list[Network]:
    """Those that hold for every protocol, for a route cannot tell one from another, and that are for routers to
    forward. Refused if they are more than a machine shall have."""
    try:
        found = prefixes_of(each for each in ranges if each.protocol == ANY_PROTOCOL)
    except BadCapsule as error:
        raise Refused(
            f"the PoP tells {error}\n    fix: --include PREFIX takes those that you need"
        ) from error
    assert len(found) <= MAX_PREFIXES
    networks = [ip_network(prefix) for prefix in found]
    return [net for net in networks if not (net.is_loopback or net.is_link_local or net.is_multicast)]
