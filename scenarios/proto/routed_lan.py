"""A LAN on which every machine has a route table: what a host sends may go to the connector, to a router, or nowhere.

Neighbours are found by their addresses as ARP and NDP find them; a host does not forward what is not for itself, and
takes no advice from ICMP redirects. A connector is a router as well: what is for a neighbour, it puts back on the LAN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from scenarios.proto.host import Host
from scenarios.proto.lan import Lan, destination_of
from scenarios.proto.lan_router import Forwarded, LanRouter
from scenarios.proto.route_table import Device, RouteTable

LOST = (
    "network_unreachable",
    "no_neighbour",
    "not_a_router",
    "internet",
    "ttl_exceeded",
    "for_the_router",
    "bad_packet",
)
"""Why packets end on a LAN: no route; nobody has the address of the next hop, or a host has it; sent to the Internet,
where private addresses lead nowhere; too many hops; the router itself took it, whether it answers or not."""


class RoutedLan(Lan):
    """`tables` are those of the hosts, by name; `gateways` the addresses under which they find the connector, and
    `connector` is what it does with packets that stay on the LAN: whether its tunnel works does not matter for them.
    """

    def __init__(
        self,
        name: str,
        hosts: list[Host],
        *,
        tables: Mapping[str, RouteTable],
        gateways: Iterable[bytes],
        router: LanRouter | None = None,
        connector: LanRouter | None = None,
    ) -> None:
        super().__init__(name, hosts)
        self.on_lost: Callable[[str, Sequence[bytearray]], None] | None = None
        """Told what died here, with the reason."""
        self._tables = tables
        self._gateways = frozenset(gateways)
        self._router = router
        self._connector = connector

    def _sent(self, host: Host, packets: list[bytearray], staying: list[bytearray]) -> None:
        table = self._tables[host.name]
        for packet in packets:
            destination = destination_of(packet)
            hop = table.lookup(destination)
            if hop is None:
                self._lose("network_unreachable", packet)
            else:
                self._hand_over(packet, hop.via or destination, destination, staying)

    def _for_nobody(self, packet: bytearray) -> None:
        destination = destination_of(packet)
        if not self._is_router(destination):
            super()._for_nobody(packet)
            return
        staying: list[bytearray] = []
        self._hand_over(packet, destination, destination, staying)
        self._deliver(staying, self._now)

    def _hand_over(
        self, packet: bytearray, neighbour: bytes, destination: bytes, staying: list[bytearray]
    ) -> None:
        """Give `packet` to whoever has the address `neighbour`."""
        if neighbour in self._gateways:
            self._to_connector(packet, destination, staying)
        elif self._router is not None and self._is_router(neighbour):
            for forwarded in self._router.forward(packet, self._now, self._lose):
                self._from_router(self._router, forwarded, staying)
        elif neighbour not in self._by_address:
            self._lose("no_neighbour", packet)
        elif neighbour != destination:
            self._lose("not_a_router", packet)
        else:
            staying.append(packet)

    def _to_connector(self, packet: bytearray, destination: bytes, staying: list[bytearray]) -> None:
        connector = self._connector
        hop = None if connector is None else connector.table.lookup(destination)
        if connector is None or hop is None or hop.device is Device.TUNNEL or destination in self._gateways:
            self._out.append(packet)
            return
        for forwarded in connector.forward(packet, self._now, self._lose):
            self._from_router(connector, forwarded, staying)

    def _from_router(self, router: LanRouter, forwarded: Forwarded, staying: list[bytearray]) -> None:
        packet, hop = forwarded
        if hop.device is Device.INTERNET:
            self._lose("internet", packet)
            return
        destination = destination_of(packet)
        neighbour = hop.via or destination
        if neighbour in self._gateways or neighbour in self._by_address or self._is_router(neighbour):
            self._hand_over(packet, neighbour, destination, staying)
            return
        self._lose("no_neighbour", packet)
        answers = (each.packet for each in router.no_neighbour(packet, self._now))
        staying += [answer for answer in answers if destination_of(answer) in self._by_address]

    def _is_router(self, address: bytes) -> bool:
        return self._router is not None and address in self._router.addresses

    def _lose(self, reason: str, packet: bytearray) -> None:
        if self.on_lost is None:
            self.counters[reason] += 1
        else:
            self.on_lost(reason, [packet])
