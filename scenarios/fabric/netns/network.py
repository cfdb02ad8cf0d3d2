"""A world of real kernels, while it runs: TUN devices at the ends of tunnels, the Internet between them, the PoP."""

from __future__ import annotations

import socket
from contextlib import AbstractContextManager
from functools import partial
from ipaddress import IPv4Network, ip_address, ip_network

import trio

from connectors.dialer import Dialer
from connectors.endpoint import Endpoint
from connectors.proto.border import Border
from connectors.tun import DeviceGone
from edge.config import Kind, public_key
from edge.document import HostPort, Prefix
from edge.io.udp import UdpPort
from edge.metrics import TunnelSnapshot
from edge.server.relay import Relay
from edge.state import StateStore
from scenarios.fabric.door import Door
from scenarios.fabric.netns.agents import Told, program
from scenarios.fabric.netns.entrance import entrance
from scenarios.fabric.netns.foreign_end import ForeignEnd
from scenarios.fabric.netns.lab_side import LabSide
from scenarios.fabric.netns.place import MachinePlace
from scenarios.fabric.netns.places import TUNNEL, UPLINK, Places
from scenarios.fabric.netns.room import explained
from scenarios.fabric.netns.wiring import Machine
from scenarios.fabric.sockets import SocketNetwork
from scenarios.proto.host import Host
from scenarios.proto.link_pair import LinkPair
from scenarios.proto.premises import Premises
from scenarios.proto.route_table import Hop
from scenarios.world import End, World, masque_target

LOOK = 0.05
"""Seconds between two looks at the PoP for what it knows of tunnels that are made by other people's programs."""

ELECTION = 0.1
"""Seconds between two looks at which connector of a site is its gateway."""


class NetnsNetwork(SocketNetwork):
    """The PoP and its tunnels, while they run."""

    INSIDE = IPv4Network("198.18.0.0/15")

    def __init__(
        self,
        world: World,
        places: Places,
        relay: Relay,
        store: StateStore,
        servers: trio.Nursery,
        nursery: trio.Nursery,
        door: Door | None = None,
    ) -> None:
        super().__init__(world, relay, store, servers, nursery, door)
        self.places = places
        self.address = str(HostPort(self._pop))
        self._sides: dict[str, LabSide] = {}
        self._gone: list[str] = []
        """Far ends whose tunnel's interface somebody has deleted."""
        self._again: set[str] = set()
        """Far ends that are to start again once they have died."""
        self._sites = {
            end.premises.inside.name: end.premises for end in world.ends if end.kind is Kind.CONNECTOR
        }

    async def start(self) -> None:
        """Bring up every far end."""
        self.places.on_spawner = lambda spawner: self._servers.start_soon(spawner.run)
        if self._world.script.cast.real:
            with explained(self._world):
                self.places.spawner()
        await self._nursery.start(self.places.wires.run)
        await self._nursery.start(self.places.cards.run)
        foreign: list[ForeignEnd] = []
        for end in self._world.ends:
            if end.agent == "poplab":
                self._add_end(end, self._endpoint(end))
            else:
                foreign.append(self._foreign(end))
                self._add_end(end, foreign[-1])
        self.agents += foreign
        if foreign:
            self.every(LOOK, self._look_at_pop)
        for name in self._ends:
            await self._nursery.start(self._run_end, name)
        if any(len(premises.ports) > 1 for premises in self._sites.values()):
            self.every(ELECTION, self._elect)
        self._watch_outside()

    async def _run_end(
        self, name: str, *, task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED
    ) -> None:
        try:
            await super()._run_end(name, task_status=task_status)
        except* DeviceGone:
            self._gone.append(name)  # it has died of it, as of a crash; the others go on

    @property
    def damage(self) -> list[str]:
        lost = [f"{TUNNEL} of {name}" for name in self._gone]
        lost += [f"{UPLINK} of {name}" for name in self.places.wires.gone]
        return [f"the interface {each} was deleted" for each in lost]

    def _settle(self) -> None:
        self.places.cards.catch_up(trio.current_time())
        super()._settle()

    def _endpoint(self, end: End) -> Endpoint:
        places, world = self.places, self._world
        machine = places.ends[end.name]
        own = [Prefix.of(bytes(end.address))] if end.address is not None else []
        border = Border(ip_network(str(prefix)) for prefix in (*places.behind(end), *own))
        here = [bytes(address) for address in (end.address, *end.on_lan) if address is not None]
        side = self._sides[end.name] = LabSide(
            partial(places.tunnel, end, own),
            border,
            end.premises.ports[end.name],
            here,
            end.watch,
            places.cards.catch_up,
        )
        masque = None
        if world.certificate is not None and self._masque_pop is not None and end.tunnel != "wireguard":
            masque = masque_target(end, world.certificate, self._masque_pop)
        inside = partial(_make_socket, machine)
        return Endpoint(
            end.name,
            end.private_key,
            public_key(world.config.private_key),
            self._pop,
            side,
            psk=end.preshared_key,
            keepalive=end.keepalive,
            tunnel=end.tunnel,
            masque=masque,
            bind=("0.0.0.0", 0),
            open_port=partial(UdpPort.bind, make_socket=inside),
            open_streams=partial(Dialer, make_socket=inside),
        )

    def _foreign(self, end: End) -> ForeignEnd:
        told = Told.of(end, self._world, self._pop, self._masque_pop)
        site = self._world.scenario.topology.sites.get(end.premises.inside.name)
        mode = "" if end.kind is Kind.CLIENT or site is None else site.deploy
        size = len(end.premises.hosts[0].packed) if end.kind is Kind.CLIENT else 4
        gateways = self._world.config.vnets[end.vnet].gateways
        return ForeignEnd(
            end,
            program(told, mode),
            self.places,
            partial(self._tunnel, end.name),
            gateway=str(next(ip_address(each) for each in gateways if len(each) == size)),
        )

    def _tunnel(self, name: str) -> TunnelSnapshot | None:
        return next((tunnel for tunnel in self.snapshot().tunnels if tunnel.name == name), None)

    def _look_at_pop(self) -> None:
        """What far ends of other people do, they do not tell us."""
        tunnels = {tunnel.name: tunnel for tunnel in self.snapshot().tunnels}
        for agent in self.agents:
            if isinstance(agent, ForeignEnd) and agent.name in tunnels:
                agent.saw(tunnels[agent.name])

    def _opening(self) -> AbstractContextManager[None]:
        return self.places.pop.space.inside()

    def _ended(self, name: str, premises: Premises) -> None:
        self._elect()

    def _elect(self) -> None:
        now = trio.current_time()
        for site, premises in self._sites.items():
            if len(premises.ports) > 1:
                gateway = premises.elect(now)
                self.places.lans[site].gateway_is(None if gateway is None else gateway.name)

    def wake(self, host: Host) -> None:
        self.places.cards.touch(host)

    def place(self, actor: str) -> MachinePlace | None:
        return self.places.programs(actor)

    @property
    def shells(self) -> dict[str, str]:
        return {name: entrance(machine.space) for name, machine in self.places.by_name().items()}

    def next_hop(self, machine: str, destination: str) -> Hop | None:
        return self.places.next_hop(machine, destination)

    def _in_flight(self) -> bool:
        return bool(self.places.internet.in_flight)

    async def leftovers(self) -> list[str]:
        self._again.clear()
        return await super().leftovers()

    def _left_open(self) -> list[str]:
        return [
            *self.places.end_programs(),
            *(
                f"the interface {TUNNEL} of {name} is there"
                for name, machine in self.places.ends.items()
                if machine.index(TUNNEL) is not None
            ),
        ]

    # -- faults

    def restart(self, machine: str) -> None:
        end = self._ends.get(machine)
        if isinstance(end, ForeignEnd) and machine not in self._again:
            ending = end.ending
            if ending is not None:
                self._again.add(machine)
                self._nursery.start_soon(self._restart_after, machine, ending)
            elif not self._premises[machine].ports[machine].running:
                super().restart(machine)
            else:
                return
            end.expect_another_life()
        elif not isinstance(end, ForeignEnd):
            super().restart(machine)

    async def _restart_after(self, machine: str, ending: trio.Event) -> None:
        await ending.wait()
        if machine in self._again:
            self._again.remove(machine)
            super().restart(machine)

    def path(self, tunnel: str) -> LinkPair:
        return self.places.paths[tunnel]

    def roam(self, tunnel: str) -> None:
        self.places.roam(tunnel)
        self._ends[tunnel].moved()

    def rebind(self, tunnel: str) -> None:
        self.places.internet.rebind(tunnel)
        self._ends[tunnel].wake()

    def zombie(self, tunnel: str, *, on: bool) -> None:
        super().zombie(tunnel, on=on)
        self._sides[tunnel].zombie = on


def _make_socket(machine: Machine, family: int, kind: int) -> socket.socket:
    """One of `machine`."""
    with machine.space.inside():
        return socket.socket(family, kind)
