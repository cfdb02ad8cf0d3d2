"""A tunnel as the forwarder sees it: who it is, what it may send, and the packets decided for it in this turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge.proto.forwarding.policy import Party
from edge.proto.ip import RateLimit

if TYPE_CHECKING:
    from edge.proto.forwarding.flows import Direction
    from edge.proto.forwarding.replica import Replica
    from edge.proto.forwarding.site import Site
    from edge.proto.forwarding.vnet import VirtualNetwork

CACHE_LIMIT = 4096  # header shapes; a tunnel that shows more starts over with an empty cache
ICMP_RATE = 100.0  # errors per second to one tunnel (RFC 1812 4.3.2.8, RFC 4443 2.4 f)
ICMP_BURST = 20.0


class Attachment:
    """One tunnel in one virtual network. `link` is the tunnel core's own object, passed through to ``seal``.

    A peer that may come by several protocols has several `links`; `link` is the one that it spoke through last.

    `prefixes` are its alone. As a replica it also serves those of its site, which then is its `group`.
    """

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "cache",
        "egress",
        "group",
        "icmp_rate",
        "link",
        "links",
        "mtu",
        "name",
        "packets_in",
        "packets_out",
        "party",
        "pending",
        "prefixes",
        "replica",
        "vnet",
    )

    def __init__(
        self,
        party: Party,
        vnet: VirtualNetwork,
        prefixes: tuple[tuple[bytes, int], ...],
        mtu: int,
        link: Any = None,
    ) -> None:
        self.party = party
        self.name = party.name
        self.vnet = vnet
        self.prefixes = prefixes
        self.mtu = mtu
        self.link = link
        self.links: list[Any] = [] if link is None else [link]
        self.group: Attachment | Site = self
        self.egress: Attachment | None = self  # where packets for its own prefixes go
        self.replica: Replica | None = None
        # Header shape -> what was decided for it: (fragment bits, TTL, protocol, addresses, ports), see forwarder.
        self.cache: dict[tuple[int, ...], Direction] = {}
        self.pending: list[bytearray] = []
        self.icmp_rate = RateLimit(ICMP_RATE, ICMP_BURST)
        self.packets_in = self.bytes_in = 0
        self.packets_out = self.bytes_out = 0

    def __repr__(self) -> str:
        return f"<Attachment {self.name} in {self.vnet.name}>"

    def forget_dead(self) -> None:
        """Let go of shapes whose flow is gone."""
        self.cache = {
            shape: direction for shape, direction in self.cache.items() if direction.egress is not None
        }
