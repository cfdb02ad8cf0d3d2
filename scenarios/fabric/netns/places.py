"""Every machine of a world in a namespace: the PoP, sites with their LANs, clients; wired up, and nothing runs yet."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import ip_address, ip_network

from connectors.tun import Tun
from edge.config import Kind
from edge.document import Prefix
from edge.errors import FabricUnavailable
from edge.proto.types import Address
from scenarios.fabric.base import EDGE
from scenarios.fabric.netns.cards import Card, Cards
from scenarios.fabric.netns.place import MachinePlace
from scenarios.fabric.netns.site import SiteLan
from scenarios.fabric.netns.spawner import Spawner
from scenarios.fabric.netns.veth_wire import VethWire
from scenarios.fabric.netns.wires import Wires
from scenarios.fabric.netns.wiring import ETHERNET, Machine
from scenarios.proto.host import ETHERNET_MTU, Host
from scenarios.proto.internet import POP, Internet
from scenarios.proto.link_pair import LinkPair
from scenarios.proto.real_host import RealHost
from scenarios.proto.route_table import Device, Hop
from scenarios.site_plan import router_name
from scenarios.world import End, World

POP_ADDRESS = "198.18.0.1"
WIREGUARD: Address = (POP_ADDRESS, 51820)
MASQUE: Address = (POP_ADDRESS, 443)

TUNNEL, UPLINK = "poplab0", "uplink"

QUEUE = 10_000
"""Packets that wait while this process does something else; those of a burst are many."""

_ANY = {4: "0.0.0.0/0", 6: "::/0"}
_DEVICES = {ETHERNET: Device.LAN, TUNNEL: Device.TUNNEL, UPLINK: Device.INTERNET, "lo": Device.LAN}
_BY_TUNNEL = 100
"""Metric of routes through the tunnel; those to nowhere, behind them, have a worse one."""


class Places:
    """Every machine of a world, wired up; nothing runs on them yet. A context manager that takes all of it down.

    Programs on them may have so many `open_files`; None: as we do.
    """

    def __init__(self, world: World, *, open_files: int | None = None) -> None:
        self.world = world
        self._open_files = open_files
        self.internet = Internet(None if world.recorder is None else world.recorder.lost)
        self.wires = Wires(self.internet)
        self.cards = Cards()
        world.ledger.unseen = self.cards.unseen
        self.lans: dict[str, SiteLan] = {}
        self.ends: dict[str, Machine] = {}
        """Where the far end of a tunnel runs: a connector's machine, or a client's device."""
        self.machines: dict[str, Machine] = {}
        """By the name of their host."""
        self._spawner: Spawner | None = None
        self.on_spawner: Callable[[Spawner], None] | None = None
        """Told when there is one, which somebody must run."""
        self._programs: dict[str, MachinePlace] = {}
        self.paths: dict[str, LinkPair] = {}
        self._addresses: dict[str, str] = {}
        self._hub: Machine | None = None
        """Where our ends of wires are that are no TUN devices."""
        self._stack = ExitStack()
        self.pop: Machine

    def __enter__(self) -> Places:
        try:
            self._build()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _build(self) -> None:
        self._stack.callback(self.cards.close)
        self._stack.callback(self.wires.close)
        self.pop = self._keep(Machine(POP))
        self._uplink(self.pop, POP, POP_ADDRESS)
        self.internet.attach_pop([POP_ADDRESS])
        plans = self.world.plans
        for end in self.world.ends:
            site = end.premises.inside.name
            if end.kind is Kind.CLIENT:
                machine = self._keep(Machine(end.name))
                for version in _ANY:
                    machine.nowhere(version)
            else:
                if site not in self.lans:
                    lan = self.lans[site] = SiteLan(plans[site])
                    self._stack.callback(lan.close)
                machine = self.lans[site].machines[end.name]
            self.ends[end.name] = machine
            path = self.paths[end.name] = end.path()
            address = self.internet.attach(end.name, path, end.nat, vnet=end.vnet)
            self._addresses[end.name] = address
            self._uplink(machine, end.name, address)
        for member in self.world.members.values():
            if member.actor.name not in self.world.script.cast.outside:
                self._place(member.host, member.actor.site)
        self._settle(self.pop)

    def _keep(self, machine: Machine) -> Machine:
        self._stack.callback(machine.close)
        return machine

    def _uplink(self, machine: Machine, name: str, address: str) -> None:
        device = self._device(machine, UPLINK, ETHERNET_MTU)
        self.wires.plug(name, device)
        machine.space.sysctl(f"ipv6/conf/{UPLINK}/disable_ipv6", 1)
        machine.up(UPLINK, queue=QUEUE)
        machine.address(UPLINK, f"{address}/32")
        machine.route(_ANY[4] if name == POP else f"{POP_ADDRESS}/32", interface=UPLINK)

    def _device(self, machine: Machine, name: str, mtu: int) -> Tun | VethWire:
        """An interface whose packets are for us."""
        if self._hub is None:
            try:
                with machine.space.inside():
                    return Tun.open(name, mtu=mtu)
            except FabricUnavailable:  # as for an ordinary user where /dev/net/tun is root's alone
                self._hub = self._keep(Machine("hub"))
        return machine.veth_wire(name, self._hub, mtu=mtu)

    def _settle(self, machine: Machine) -> None:
        """`machine` is ready, and so are wires that stand for TUN devices."""
        machine.settle()
        if self._hub is not None:
            self._hub.settle()

    def _place(self, host: Host, site: str | None) -> None:
        interface = TUNNEL if site is None else ETHERNET
        machine = self.ends[host.name] if site is None else self.lans[site].machines[host.name]
        self.machines[host.name] = machine
        if isinstance(host, RealHost):
            self._programs[host.name] = MachinePlace(machine, self.spawner, {})
            host.has_besides = machine.has
        else:
            machine.silence(interface)
        if host.name in self.world.script.cast.proxied:
            return  # what passes its card, nobody else gets like this
        neighbours = frozenset() if site is None else self.lans[site].ordinary
        card = Card(host, machine.space, interface, mtu=host.mtu, neighbours=neighbours)
        if site is not None:
            card.plug_in()
        self.cards.add(card)

    def spawner(self) -> Spawner:
        """Made when it is first needed."""
        if self._spawner is None:
            self._spawner = Spawner(open_files=self._open_files)
            self._stack.callback(self._spawner.close)
            if self.on_spawner is not None:
                self.on_spawner(self._spawner)
        return self._spawner

    def end_programs(self) -> list[str]:
        """Kill whatever runs on the machines; a line for each process that is there all the same."""
        if self._spawner is not None:
            self._spawner.close()
        inside = {}
        machines = [
            self.pop,
            *self.ends.values(),
            *(each for lan in self.lans.values() for each in lan.everything),
        ]
        for machine in machines:
            inside[os.fstat(machine.space.fd).st_ino] = machine.name
        return [
            f"process {pid} still runs on {inside[space]}" for pid, space in _processes() if space in inside
        ]

    def programs(self, host: str) -> MachinePlace | None:
        """Where real programs of `host` run; None if its system is ours."""
        return self._programs.get(host)

    def by_name(self) -> dict[str, Machine]:
        """All that somebody may want to see: where programs run, far ends, hosts, routers, the PoP."""
        return {
            **{name: self.machines[name] for name in self._programs},
            **self.ends,
            **self.machines,
            **{name: machine for lan in self.lans.values() for name, machine in lan.machines.items()},
            EDGE: self.pop,
        }

    def next_hop(self, name: str, destination: str) -> Hop | None:
        """Where the kernel of a machine sends what is for `destination`; None: nowhere."""
        machine = self._named(name)
        found = machine.route_to(destination)
        if found is None:  # what a site's router does not know goes to the Internet, which ends here
            return Hop(Device.INTERNET) if name.startswith(router_name("")) else None
        via = None if found.via is None else ip_address(found.via).packed
        network = ip_network(found.to)
        device = _DEVICES.get(found.interface, Device.OTHER)
        return Hop(device, via, (network.network_address.packed, network.prefixlen))

    def _named(self, name: str) -> Machine:
        found = self.machines.get(name) or self.ends.get(name)
        if found is not None:
            return found
        return next(lan.machines[name] for lan in self.lans.values() if name in lan.machines)

    def behind(self, end: End) -> list[Prefix]:
        """What lies behind a tunnel."""
        if end.kind is Kind.CONNECTOR:
            return list(end.routes)
        return [Prefix.of(host.packed) for host in end.premises.hosts]

    @contextmanager
    def tunnel(self, end: End, own: list[Prefix]) -> Iterator[Tun | VethWire]:
        """The TUN device of a far end, with its addresses, and everything routed into it."""
        machine = self.ends[end.name]
        with self._device(machine, TUNNEL, end.mtu) as tun:
            self.set_up_tunnel(end, own)
            self.watch_tunnel(end)
            yield tun

    def set_up_tunnel(self, end: End, own: list[Prefix]) -> None:
        """The interface of a tunnel is there: it gets its addresses, and everything is routed into it."""
        machine = self.ends[end.name]
        addresses = [*own, *(self.behind(end) if end.kind is Kind.CLIENT else ())]
        versions = {prefix.version for prefix in (*addresses, *end.routes)}
        if 6 not in versions:
            machine.space.sysctl(f"ipv6/conf/{TUNNEL}/disable_ipv6", 1)
        machine.up(TUNNEL, queue=QUEUE, mtu=end.mtu)
        for address in addresses:
            machine.address(TUNNEL, str(address))
        for version in sorted(versions):
            machine.route(_ANY[version], interface=TUNNEL, metric=_BY_TUNNEL)
        self._settle(machine)

    def watch_tunnel(self, end: End) -> None:
        """The interface of a tunnel is there: a client has its network card in it."""
        if end.kind is Kind.CLIENT and end.name not in self.world.script.cast.proxied:
            for host in end.premises.hosts:
                self.cards.of(host).plug_in()
                self.cards.touch(host)

    def roam(self, tunnel: str) -> None:
        """Another access network, another address."""
        machine, old = self.ends[tunnel], self._addresses[tunnel]
        new = self._addresses[tunnel] = self.internet.roam(tunnel)
        if new != old:
            machine.address(UPLINK, f"{new}/32")
            machine.forget_address(UPLINK, f"{old}/32")
            machine.route(f"{POP_ADDRESS}/32", interface=UPLINK)


def _processes() -> Iterator[tuple[str, int]]:
    """Their numbers and the network namespaces that they are in."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):
                yield name, os.stat(f"/proc/{name}/ns/net").st_ino
