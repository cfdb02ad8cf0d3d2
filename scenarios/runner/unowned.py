"""Addresses that a network routes and that nobody has: mostly those of a slip of the pen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from edge.document import Prefix, address_text
from scenarios.casting import Member
from scenarios.world import World

MOST_SAID = 3


def unowned(world: World, sender: Member, addresses: Iterable[bytes]) -> list[str]:
    """Of those that lie in the routes of a site of the sender's network, or in its pools, a sentence for each."""
    vnet = sender.host.vnet
    taken: set[bytes] = {actor.ip for actor in world.script.cast.actors.values() if actor.vnet == vnet}
    taken |= world.ledger.routers.get(vnet, set())
    taken |= {end.address for end in world.ends if end.vnet == vnet and end.address is not None}
    ranges = list(_ranges(world, vnet))
    said = []
    for address in dict.fromkeys(addresses):
        holding = [each for each in ranges if each[0].covers(address)]
        if address in taken or not holding:
            continue
        prefix, where, who = max(holding, key=lambda each: each[0].length)
        names_the_network = prefix.length < len(address) * 8 and address in (prefix.network, prefix.last)
        if not names_the_network:
            said.append(f"{address_text(address)} is in the {where}, but no {who} has it")
    return said[:MOST_SAID]


def _ranges(world: World, vnet: str) -> Iterator[tuple[Prefix, str, str]]:
    """What leads to somebody of the network."""
    for name, site in world.scenario.topology.sites.items():
        if site.vnet == vnet:
            for route in site.routes:
                yield route, f"routes of {name}", "host"
    for pool in world.scenario.vnets[vnet].pools:
        yield pool, f"pool of {vnet}", "client"
