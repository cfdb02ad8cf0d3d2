"""A virtual network: its own routes, flows, fragments, policy and counters. Nothing here is shared with another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from edge.proto.forwarding.attachment import Attachment
from edge.proto.forwarding.fib import Fib
from edge.proto.forwarding.flows import FlowTable
from edge.proto.forwarding.policy import Party, Policy
from edge.proto.forwarding.site import Site
from edge.proto.ip import DeadFragment, FragmentTable
from edge.proto.types import DropReason

if TYPE_CHECKING:
    from edge.proto.forwarding.watch import Watch

FLOW_LIMIT = 131072
FLOWS_PER_TUNNEL = 32768
FRAGMENTED_DATAGRAMS = 1024  # being tracked at once
FRAGMENT_BYTES = 1 << 20  # held at once, waiting for a first fragment


class VirtualNetwork:
    """See the module. `gateway4` and `gateway6` are the PoP's own addresses in it: what its ICMP errors come from."""

    def __init__(
        self,
        name: str,
        policy: Policy,
        *,
        gateway4: bytes | None = None,
        gateway6: bytes | None = None,
        flow_limit: int = FLOW_LIMIT,
        flows_per_tunnel: int = FLOWS_PER_TUNNEL,
    ) -> None:
        self.name = name
        self.policy = policy
        self.gateway4 = gateway4
        self.gateway6 = gateway6
        self.generation = 0
        self.fib: Fib[Attachment | Site] = Fib()
        self._nobody = Attachment(Party(""), self, (), 0)
        self.attachments: dict[str, Attachment] = {}
        self.sites: dict[str, Site] = {}
        self.failovers: Counter[str] = Counter()  # by site, whatever happens to the site
        self.flows = FlowTable(flow_limit, flows_per_tunnel)
        self.fragments = FragmentTable(FRAGMENTED_DATAGRAMS, FRAGMENT_BYTES)
        self.drops: Counter[DropReason] = Counter()
        self.watch: Watch | None = None
        """Told of what dies, while somebody watches."""
        self.packets_generated = 0  # ICMP and RST of our own, and fragments beyond the first of a packet
        self._departed: Counter[str] = (
            Counter()
        )  # what tunnels that are gone have counted: totals never go back

    def __repr__(self) -> str:
        return f"<VirtualNetwork {self.name} routes={len(self.fib)} flows={len(self.flows)}>"

    @property
    def gateways(self) -> tuple[bytes | None, bytes | None]:
        return self.gateway4, self.gateway6

    @property
    def packets_in(self) -> int:
        """Packets that came out of tunnels."""
        return self._total("packets_in")

    @property
    def bytes_in(self) -> int:
        return self._total("bytes_in")

    @property
    def packets_out(self) -> int:
        """Packets handed to a tunnel, which may still hold or drop them."""
        return self._total("packets_out")

    @property
    def bytes_out(self) -> int:
        return self._total("bytes_out")

    def _total(self, counter: str) -> int:
        # Kept by tunnel only: the data path counts each packet once.
        return self._departed[counter] + sum(
            int(getattr(each, counter)) for each in self.attachments.values()
        )

    @property
    def packets_held(self) -> int:
        """Fragments that wait for their first one."""
        return self.fragments.held

    def changed(self) -> None:
        """Decide every flow afresh on its next packet."""
        self.generation += 1

    def owner(self, address: bytes) -> Attachment | Site | None:
        """The tunnel or site of the longest prefix that holds `address`; None for an address that nobody has."""
        found = self.fib.lookup(address)
        return found if found is not self._nobody else None

    def set_pools(self, pools: Iterable[tuple[bytes, int]]) -> None:
        """Of these prefixes, addresses are given to tunnels one by one; the others are nobody's.

        Else a site with a default route could speak in the name of a client that left, or would be sent what is for it.
        """
        for prefix, length in self._nobody.prefixes:
            self.fib.remove(prefix, length)
        self._nobody.prefixes = tuple(pools)
        for prefix, length in self._nobody.prefixes:
            self.fib.insert(prefix, length, self._nobody)
        self.changed()

    def attach(self, attachment: Attachment) -> None:
        """Route the attachment's prefixes to it. ValueError if one is already routed elsewhere."""
        self._route(attachment)
        self.attachments[attachment.name] = attachment
        self.changed()

    def join(
        self,
        attachment: Attachment,
        site: str,
        prefixes: tuple[tuple[bytes, int], ...],
        *,
        address: bytes | None = None,
        preference: int = 0,
    ) -> Site:
        """Let an attached connector be a replica of `site`. ValueError if the site has other prefixes.

        `address` is the connector's own, where it is probed. Packets go there once the site is watched.
        """
        group = self.sites.get(site)
        if group is None:
            group = Site(site, self, prefixes)
            self._route(group)
            self.sites[site] = group
        elif sorted(group.prefixes) != sorted(prefixes):
            raise ValueError(f"site {site} has other prefixes")
        group.join(attachment, address, preference)
        self.changed()
        return group

    def detach(self, attachment: Attachment) -> None:
        site = attachment.group
        if isinstance(site, Site):
            site.leave(attachment)
            if not site.replicas:
                del self.sites[site.name]
                self._unroute(site)
        self._unroute(attachment)
        del self.attachments[attachment.name]
        for counter in ("packets_in", "bytes_in", "packets_out", "bytes_out"):
            self._departed[counter] += getattr(attachment, counter)
        attachment.cache.clear()
        self.changed()

    def _route(self, owner: Attachment | Site) -> None:
        for prefix, length in owner.prefixes:
            other = self.fib.exact(prefix, length)
            if other is not None:
                raise ValueError(f"prefix is already routed to {other.name}")
        for prefix, length in owner.prefixes:
            self.fib.insert(prefix, length, owner)

    def _unroute(self, owner: Attachment | Site) -> None:
        for prefix, length in owner.prefixes:
            self.fib.remove(prefix, length)
        self.flows.remove_initiator(owner)

    def set_policy(self, policy: Policy) -> None:
        self.policy = policy
        self.changed()

    def expire(self, now: float) -> None:
        """Let go of idle flows and of fragments whose datagram never became whole."""
        if self.flows.expire(now):
            for attachment in self.attachments.values():
                attachment.forget_dead()
        self.count_dead(self.fragments.expire(now))

    def drop(self, ingress: Attachment, packet: bytearray, reason: DropReason, rule: str = "") -> None:
        """A packet dies here, counted; `rule` if it was policy."""
        self.drops[reason] += 1
        if self.watch is not None:
            self.watch.dropped(ingress, packet, reason, rule)

    def count_dead(self, dead: Iterable[DeadFragment]) -> None:
        """Fragments that were held and now die, each for its reason."""
        for fragment in dead:
            assert isinstance(fragment.ingress, Attachment)
            self.drop(fragment.ingress, fragment.packet, fragment.reason)
