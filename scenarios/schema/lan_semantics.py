"""What the LAN of a site must satisfy beyond its form: gateways and next hops that its machines can reach."""

from __future__ import annotations

from collections.abc import Iterator

from edge.document import IPAddress, Path, Prefix
from scenarios.schema.expand import NOBODY
from scenarios.schema.places import Finding
from scenarios.schema.topology import LINK_LOCAL, Host, Site


def check(name: str, site: Site) -> Iterator[Finding]:
    """Everything wrong with the gateways and routes of site `name`."""
    path: Path = ("topology", "sites", name)
    if site.deploy != "default-gateway" and site.router is None:
        text = f"{site.deploy} needs the site's ordinary router, and {name} has none"
        yield Finding((*path, "deploy"), text, "add `router: {ip: ...}`, its address on the LAN")
    if site.gateway is not None:
        yield from _address(name, site, site.gateway, (*path, "gateway"))
    if site.router is not None:
        where = (*path, "router", "ip")
        if site.router.ip == site.gateway:
            text = f"the connectors and the router of {name} both have {site.gateway}"
            yield Finding(where, text, "give one another address")
        else:
            yield from _address(name, site, site.router.ip, where)
        for index, prefix in enumerate(site.router.routes or ()):
            yield from _to(name, site, prefix, (*path, "router", "routes", index))
            if not any(route.version == prefix.version for route in site.routes):
                text = f"{prefix} is IPv{prefix.version}, and {name} has no IPv{prefix.version} route"
                yield Finding((*path, "router", "routes", index), text, "take it out")
    for short, host in site.hosts.items():
        yield from _host(name, site, host, (*path, "hosts", short))


def _address(name: str, site: Site, address: IPAddress, path: Path) -> Iterator[Finding]:
    """An address that a machine of the LAN can have beside the hosts."""
    if address == NOBODY:
        return  # a copy without an address, which is said already
    problem = _off_link(name, site, address, path)
    if problem is not None:
        yield problem
        return
    owner = next((short for short, host in site.hosts.items() if host.ip == address), None)
    if owner is not None:
        yield Finding(path, f"{owner!r} has {address} already", "give one another address")
    home = max((route for route in site.routes if route.covers(address)), key=lambda route: route.length)
    if home.length < len(address) * 8 - 1 and (
        address == home.network or (home.version == 4 and address == home.last)
    ):
        text = f"{address} is the network or broadcast address of {home}"
        yield Finding(path, text, "take one between the first and the last")


def _host(name: str, site: Site, host: Host, path: Path) -> Iterator[Finding]:
    if host.gateway is not None:
        yield from _next_hop(name, site, host, host.gateway, (*path, "gateway"))
    for index, route in enumerate(host.routes or ()):
        where = (*path, "routes", index)
        if route.to.version != _version(host.ip):
            text = f"{route.to} is IPv{route.to.version}, and {host.ip} is not"
            yield Finding((*where, "to"), text, "take it out")
        else:
            yield from _to(name, site, route.to, (*where, "to"))
            yield from _next_hop(name, site, host, route.via, (*where, "via"))


def _to(name: str, site: Site, prefix: Prefix, path: Path) -> Iterator[Finding]:
    """Where a written route may lead."""
    if prefix in site.routes:
        text = f"{prefix} is on the LAN of {name}: its machines reach it without a next hop"
        yield Finding(path, text, "take it out, or write a longer prefix")


def _next_hop(name: str, site: Site, host: Host, address: IPAddress, path: Path) -> Iterator[Finding]:
    """Where a host can send to; whether anybody is there does not matter: that is a mistake one may plant."""
    problem = _off_link(name, site, address, path)
    if problem is not None and address not in LINK_LOCAL.values():
        yield problem
    elif _version(address) != _version(host.ip):
        yield Finding(path, f"{address} and {host.ip} are of different IP versions", "take one of the same")
    elif address == host.ip:
        yield Finding(path, f"{address} is the host itself", "name the connector's address, or the router's")


def _off_link(name: str, site: Site, address: IPAddress, path: Path) -> Finding | None:
    if any(route.covers(address) for route in site.routes):
        return None
    routes = ", ".join(map(str, site.routes))
    text = f"{address} is not on the LAN of {name}: {routes}"
    return Finding(path, text, "take an address of its routes")


def _version(address: IPAddress) -> int:
    return 4 if len(address) == 4 else 6
