"""The way of a flow between two actors and that of its answers, as route tables have it. Policy is not looked at."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple, Protocol

from scenarios.proto.return_path import POP, Fate, Ground, Leg, trace
from scenarios.proto.route_advice import Advice, Repair, advise
from scenarios.proto.route_table import Device, Hop, Network, Route
from scenarios.schema import Actor, Cast
from scenarios.site_plan import SitePlan, SitePlans


class Routing(Protocol):
    """Whoever knows where machines send: a network that is up, or the plans of the sites."""

    def next_hop(self, machine: str, destination: str) -> Hop | None: ...


class Planned:
    """What the plans of the sites say, for worlds in which nothing runs."""

    def __init__(self, plans: SitePlans, cast: Cast) -> None:
        self._plans = plans
        self._cast = cast

    def next_hop(self, machine: str, destination: str) -> Hop | None:
        """See `Network`."""
        if machine in self._cast.tunnels and self._cast.tunnels[machine] is None:
            return Hop(Device.TUNNEL)  # a client sends everything into its tunnel
        return self._plans.of(machine).next_hop(machine, ip_address(destination).packed)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a flow."""

    returns: bool
    """Whether requests arrive, and their answers come back through the connectors that the requests went through."""
    request: tuple[str, ...]
    """The machines that a request passes, both ends included, as far as it gets."""
    reply: tuple[str, ...]
    says: str
    """What is wrong; empty if nothing is."""
    fixes: tuple[str, ...]
    """Every route that is missing or wrong, as a command and where to give it."""

    @property
    def fix(self) -> str:
        return "; ".join(self.fixes)


class _Half(NamedTuple):
    """One direction."""

    names: tuple[str, ...]
    advice: Advice | None
    """None: it arrives."""


class Flows:
    """Judges flows between actors of one scenario."""

    def __init__(self, cast: Cast, plans: SitePlans, routing: Routing) -> None:
        self._cast = cast
        self._plans = plans
        self._routing = routing
        self._grounds: dict[str, Ground] = {}

    def judge(self, sender: str, target: str) -> Verdict:
        """Between two actors of one virtual network."""
        ends = self._cast.actors[sender], self._cast.actors[target]
        request = self._half(*ends, answers=False)
        reply = self._half(*reversed(ends), answers=True)
        wrong = [half.advice for half in (request, reply) if half.advice is not None]
        return Verdict(
            not wrong,
            request.names,
            reply.names,
            "; ".join(advice.says for advice in wrong),
            tuple(dict.fromkeys(str(repair) for advice in wrong for repair in advice.repairs)),
        )

    def _half(self, source: Actor, destination: Actor, *, answers: bool) -> _Half:
        out: tuple[str, ...] = (source.name,)
        if source.site is not None:
            ground = self._ground(source.site)
            leg = self._trace(ground, source.name, destination.ip)
            out = tuple(leg.names)
            if not leg.arrives:
                return _Half(out, advise(ground, leg, self._next_hop, answers=answers))
            if leg.fate is Fate.DELIVERED:
                return _Half(out, None)
        if destination.site is None:
            return _Half((*out, POP, destination.name), None)
        into = self._trace(self._ground(destination.site), self._connector(destination.site), destination.ip)
        whole = (*out, POP, *into.names)
        if into.fate is Fate.DELIVERED:
            return _Half(whole, None)
        connector = into.steps[0].machine
        says = f"connector {connector} does not send what is for {destination.name} ({destination.ip}) to the LAN"
        route = Route((bytes(destination.ip), len(destination.ip) * 8))
        return _Half(whole, Advice(says, (Repair(connector, "add", route),)))

    def _trace(self, ground: Ground, machine: str, destination: bytes) -> Leg:
        return trace(ground, machine, destination, self._next_hop)

    def _next_hop(self, machine: str, destination: bytes) -> Hop | None:
        return self._routing.next_hop(machine, str(ip_address(destination)))

    def _ground(self, site: str) -> Ground:
        found = self._grounds.get(site)
        if found is None:
            found = self._grounds[site] = ground_of(self._plans[site])
        return found

    def _connector(self, site: str) -> str:
        return self._plans[site].connectors[0].name


def ground_of(plan: SitePlan) -> Ground:
    """What paths through the LAN of a site depend on."""
    remote: list[Network] = list(plan.remote)
    return Ground(
        plan.mode,
        plan.by_address,
        {len(each.address): each.address for each in plan.shared},
        {machine.name for machine in plan.connectors},
        None if plan.router is None else plan.router.name,
        remote,
    )
