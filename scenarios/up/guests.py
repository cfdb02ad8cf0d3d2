"""What a device from outside needs to join: its WireGuard configuration, and its telephone accounts."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import NamedTuple

from edge.enrol.wireguard import WireGuardPeer
from scenarios.outside import sip_password
from scenarios.world import End, World

KEEPALIVE = 25
"""Seconds: so that the world reaches a device behind a NAT."""


class Account(NamedTuple):
    """Of a device at a PBX."""

    pbx: str
    user: str
    password: str
    server: str
    echo: str | None
    """The extension that repeats what it hears."""


def config_text(world: World, end: End, endpoint: str) -> str:
    """For ``wg-quick`` and every WireGuard app; it holds the device's private key."""
    keepalive = KEEPALIVE if end.keepalive is None else round(end.keepalive)
    peer = WireGuardPeer(endpoint, keepalive, end.private_key, end.preshared_key)
    return peer.text(world.config, world.config.tunnels[end.name])


def accounts(world: World, end: End) -> Iterator[Account]:
    """At every PBX of its network that it can reach and that lets it in."""
    cast = world.script.cast
    for actor in cast.actors.values():
        reaches = actor.vnet == end.vnet and len(actor.ip) == len(cast.actors[end.name].ip)
        if actor.pbx is not None and reaches and end.name in cast.users(actor):
            address = str(ip_address(actor.ip))
            password = sip_password(end.private_key, actor.name)
            yield Account(actor.name, end.name, password, address, actor.pbx.echo_extension)
