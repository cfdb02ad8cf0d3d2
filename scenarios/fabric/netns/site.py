"""The LAN of a site: a switch, a machine for each host, router and connector, and the address that they send to."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from functools import cached_property
from struct import pack

from edge.document import Prefix
from edge.proto.ip.icmp.messages import build_message
from scenarios.fabric.netns.wiring import ETHERNET, Machine
from scenarios.proto.route_table import Device, Route, network_text
from scenarios.site_plan import Machine as Planned
from scenarios.site_plan import SitePlan

_BROADCAST = b"\xff" * 6
_ETH_P_ARP = 0x0806


class SiteLan:
    """`plan` in namespaces."""

    def __init__(self, plan: SitePlan) -> None:
        self.plan = plan
        self.machines: dict[str, Machine] = {}
        self._holder: str | None = None
        self._stack = ExitStack()
        with ExitStack() as undo:
            undo.callback(self.close)
            self._build()
            undo.pop_all()
        if len(plan.connectors) == 1:
            self._holder = plan.connectors[0].name

    def _build(self) -> None:
        self.switch = Machine(f"{self.plan.site}: switch")
        self._stack.callback(self.switch.close)
        self.switch.bridge()
        for number, planned in enumerate(self.plan.machines):
            machine = self.machines[planned.name] = Machine(planned.name, forwards=planned.role != "host")
            self._stack.callback(machine.close)
            self.switch.plug(machine, f"port{number}")
            for address in planned.addresses:
                machine.address(ETHERNET, str(address))
        for planned in self.plan.machines:
            self._set_routes(planned)
        for machine in self.everything:
            machine.settle()

    @cached_property
    def ordinary(self) -> frozenset[bytes]:
        """The hardware addresses of hosts and the router: of all on the LAN that have no tunnel."""
        names = (planned.name for planned in self.plan.machines if planned.role != "connector")
        return frozenset(_hardware_address(self.machines[name]) for name in names)

    @property
    def everything(self) -> list[Machine]:
        return [self.switch, *self.machines.values()]

    def close(self) -> None:
        self._stack.close()

    def _set_routes(self, planned: Planned) -> None:
        machine = self.machines[planned.name]
        # What is on the link first: only through that a gateway can be reached.
        for route in sorted(planned.static, key=lambda route: route.via is not None):
            if route.device is Device.LAN:
                _set_route(machine, route)
        if planned.role != "host":
            for version in {address.version for address in planned.addresses}:
                machine.nowhere(version)  # the Internet does not answer for private addresses

    def gateway_is(self, connector: str | None) -> None:
        """From now on `connector` has the address that the others send to, as the master of a VRRP group does.

        None: nobody works; it stays where it is.
        """
        if connector is None or connector == self._holder:
            return
        for shared in self.plan.shared:
            if self._holder is not None:
                self.machines[self._holder].forget_address(ETHERNET, str(shared))
            machine = self.machines[connector]
            machine.address(ETHERNET, str(shared))
            machine.settle()  # who is told must not be faster than our own kernel
            _announce(machine, shared)
        self._holder = connector


def _set_route(machine: Machine, route: Route) -> None:
    to = network_text(route.network)
    if to == "default":
        to = "0.0.0.0/0"
    if route.via is None:
        machine.route(to, interface=ETHERNET)
    else:
        family = socket.AF_INET if len(route.via) == 4 else socket.AF_INET6
        via = socket.inet_ntop(family, route.via)
        # Every next hop is on the link, also one to which another route of this table leads by a detour: of IPv6, the
        # kernel would refuse it.
        machine.route(to, via=via, interface=ETHERNET, onlink=True)


def _hardware_address(machine: Machine) -> bytes:
    with machine.space.inside(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind((ETHERNET, 0))
        return bytes(sock.getsockname()[4])


def _announce(machine: Machine, shared: Prefix) -> None:
    """Tell the neighbours who has `shared` now (RFC 5227 section 3, RFC 4861 section 7.2.6)."""
    own = _hardware_address(machine)
    with machine.space.inside(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind((ETHERNET, 0))
        if shared.version == 4:
            body = pack("!HHBBH", 1, 0x0800, 6, 4, 1) + own + shared.address + bytes(6) + shared.address
            sock.send(_BROADCAST + own + pack("!H", _ETH_P_ARP) + body)
        else:
            everybody = socket.inet_pton(socket.AF_INET6, "ff02::1")
            override = 0x20000000
            body = shared.address + pack("!BB", 2, 1) + own
            packet = build_message(shared.address, everybody, 136, 0, override, body, ttl=255)
            sock.send(b"\x33\x33\x00\x00\x00\x01" + own + pack("!H", 0x86DD) + bytes(packet))
