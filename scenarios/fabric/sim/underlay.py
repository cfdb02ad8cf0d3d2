"""The Internet of a simulated world: addresses, a path from each tunnel's far end to the PoP, NATs in front of some.

Addresses are from the ranges for benchmarks (RFC 2544) and for private networks behind a NAT.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Address
from random import Random

from edge.proto.types import Address
from scenarios.fabric.sim.heap import EventHeap
from scenarios.fabric.sim.nodes import MASQUE_ADDRESS, POP_ADDRESS, EndNode, PopNode
from scenarios.proto.link import IPV4_UDP, Link, flip
from scenarios.proto.link_pair import LinkPair
from scenarios.proto.premises import Premises
from scenarios.proto.streams import MTU, Streams
from scenarios.trace.recorder import Recorder

FIRST_ADDRESS = int(IPv4Address("198.18.0.2"))
END_PORT = 51820
INSIDE_ADDRESS: Address = ("192.168.1.2", 51820)
"""Of everybody who is behind a NAT."""


class Underlay:
    """Carries datagrams between the PoP and the ends."""

    def __init__(
        self,
        heap: EventHeap,
        recorder: Recorder | None = None,
        *,
        random: Callable[[str], Random],
    ) -> None:
        self.heap = heap
        self.recorder = recorder
        self.pop: PopNode
        self.ends: dict[str, EndNode] = {}
        self.counters: Counter[str] = Counter()
        self._by_address: dict[Address, EndNode] = {}
        self._by_host: dict[str, EndNode] = {}  # public address of a NAT
        self._by_public: dict[str, EndNode] = {}  # the same, or an address of its own
        self._addresses = FIRST_ADDRESS
        self._random = random

    def streams(self, name: str, host: str, mtu: int = MTU) -> Streams:
        """TCP for a machine; `name` tells its random numbers from others'."""
        return Streams(host, self._random(f"{name}/streams"), mtu=mtu)

    # -- addresses

    def _fresh_address(self) -> str:
        self._addresses += 1
        return str(IPv4Address(self._addresses - 1))

    def place(self, node: EndNode) -> None:
        """Give `node` an address of its own; behind a NAT, that is the NAT's."""
        host = self._fresh_address()
        node.nat = node.end.nat(host)
        if node.nat is None:
            node.address = (host, END_PORT)
            self._by_address[node.address] = node
        else:
            node.address = INSIDE_ADDRESS
            self._by_host[host] = node
        self._by_public[host] = node

    def roam(self, node: EndNode) -> None:
        """Another access network: a new address, and a new NAT if there was one. The old address is nobody's."""
        if node.nat is None:
            del self._by_address[node.address]
        else:
            del self._by_host[node.nat.host]
        del self._by_public[node.host]
        self.place(node)
        node.moved()

    # -- datagrams

    def from_end(self, node: EndNode, destination: Address, datagrams: list[bytes]) -> None:
        source = node.address
        if node.nat is not None:
            mapped = node.nat.outbound(source, destination, self.heap.now)
            if mapped is None:
                self.lose("nat_full", node, "up", datagrams)
                return
            source = mapped
        if destination not in (POP_ADDRESS, MASQUE_ADDRESS):
            self.lose("no_such_address", node, "up", datagrams)
            return
        if not node.path.admits("udp", destination[1], datagrams):
            return
        if node.path.swallow is not None:
            datagrams = list(node.path.passing(datagrams, IPV4_UDP))
        self._carry(node.path.up, datagrams, self._reach_pop, (source, destination == MASQUE_ADDRESS))

    def from_pop(self, destination: Address, datagrams: list[bytes], source: Address) -> None:
        node = self._by_address.get(destination) or self._by_host.get(destination[0])
        if node is None:
            self.lose("no_such_address", None, "down", datagrams)
            return
        if not node.path.admits("udp", source[1], datagrams):
            return
        if node.path.swallow is not None:
            datagrams = list(node.path.passing(datagrams, IPV4_UDP))
        self._carry(node.path.down, datagrams, self._reach_end, (node, destination, source))

    def _carry(self, link: Link, datagrams: list[bytes], arrive: Callable[..., None], place: object) -> None:
        heap = self.heap
        now = heap.now
        if link.clear(now):
            link.pass_through(len(datagrams), sum(map(len, datagrams)) + IPV4_UDP * len(datagrams))
            arrive((place, datagrams))
            return
        together: list[bytes] = []
        when = now
        for datagram in datagrams:
            for at, corrupt in link.carry(len(datagram) + IPV4_UDP, now):
                body = datagram if corrupt is None else flip(datagram, corrupt)
                if together and at != when:
                    heap.at(when, arrive, (place, together))
                    together = []
                when = at
                together.append(body)
        if together:
            heap.at(when, arrive, (place, together))

    def _reach_pop(self, arrival: tuple[tuple[Address, bool], list[bytes]]) -> None:
        (source, quic), datagrams = arrival
        self.pop.deliver(source, datagrams, quic=quic)

    def _reach_end(self, arrival: tuple[tuple[EndNode, Address, Address], list[bytes]]) -> None:
        (node, destination, source), datagrams = arrival
        if node.nat is None:
            here = destination == node.address
        else:
            inside = node.nat.inbound(destination[1], source, self.heap.now)
            here = inside is not None and destination[0] == node.nat.host
        if here:
            node.deliver(source, datagrams)
        else:
            self.lose("no_such_address", node, "down", datagrams)

    # -- TCP: NATs keep its mappings for hours (RFC 5382) and are not simulated for it

    def segment_from_end(self, node: EndNode, host: str, packet: bytes) -> None:
        if host != MASQUE_ADDRESS[0]:
            self.lose("no_such_address", node, "up", [packet])
            return
        self._carry_segment(node.path, node.path.up, packet, self._segment_reaches_pop, None)

    def segment_from_pop(self, host: str, packet: bytes) -> None:
        node = self._by_public.get(host)
        if node is None:
            self.lose("no_such_address", None, "down", [packet])
            return
        self._carry_segment(node.path, node.path.down, packet, self._segment_reaches_end, (node, host))

    def _carry_segment(
        self, path: LinkPair, link: Link, packet: bytes, arrive: Callable[..., None], place: object
    ) -> None:
        if not path.admits("tcp", MASQUE_ADDRESS[1], [packet]) or not path.passes(packet):
            return
        for at, corrupt in link.carry(len(packet), self.heap.now):
            self.heap.at(at, arrive, (place, packet if corrupt is None else flip(packet, corrupt)))

    def _segment_reaches_pop(self, arrival: tuple[None, bytes]) -> None:
        self.pop.deliver_segments([arrival[1]])

    def _segment_reaches_end(self, arrival: tuple[tuple[EndNode, str], bytes]) -> None:
        (node, host), packet = arrival
        if node.host == host:
            node.deliver_segments([packet])
        else:
            self.lose("no_such_address", node, "down", [packet])

    def lose(self, reason: str, node: EndNode | None, way: str, datagrams: list[bytes]) -> None:
        """Datagrams that end where nobody takes them; `node` is the tunnel's far end, if that is known."""
        self.counters[reason] += len(datagrams)
        if self.recorder is not None:
            name, vnet = (node.end.name, node.end.vnet) if node is not None else ("", "")
            for datagram in datagrams:
                self.recorder.lost(name, vnet, reason, way, len(datagram))

    # -- premises without a tunnel

    def orphaned(self, premises: Premises) -> None:
        """Let the hosts behind a dead tunnel go on: their timers run, what they send is lost."""
        if premises.gateway is None:
            self.heap.at(self.heap.now, self._run_premises, premises)

    def _run_premises(self, premises: Premises) -> None:
        if premises.gateway is not None:
            return  # a tunnel is back and drives them
        premises.run(self.heap.now)
        at = premises.inside.poll_timeout()
        self.heap.at(at, self._run_premises, premises)
