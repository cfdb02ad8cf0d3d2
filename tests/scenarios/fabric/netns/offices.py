"""Sites in namespaces for tests: a plan from a few lines, sockets on its machines, hosts of ours at their cards."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from scenarios.fabric.netns.site import SiteLan
from scenarios.fabric.netns.wiring import Machine
from scenarios.runner import check
from scenarios.site_plan import SitePlan, SitePlans

FRAME = """\
version: 1
name: office
vnets: {{acme: {{}}, other: {{}}}}
topology:
  sites:
    hq: {{vnet: acme, routes: {routes}, {rest}}}
    branch: {{vnet: acme, routes: [10.0.60.0/24, "fd00:60::/64"]}}
steps: [{{wait: {{tunnels: up}}}}]
"""
HOSTS = "hosts: {pbx: {ip: 10.0.50.60}, desk: {ip: 10.0.50.61}}"
HOSTS6 = 'hosts: {pbx: {ip: "fd00:50::60"}, desk: {ip: "fd00:50::61"}}'
BOTH = '[10.0.50.0/24, "fd00:50::/64"]'


def plan(rest: str = HOSTS, routes: str = BOTH) -> SitePlan:
    (script,) = check(FRAME.format(routes=routes, rest=rest))
    return SitePlans(script.scenario)["hq"]


@contextmanager
def office(rest: str = HOSTS, routes: str = BOTH) -> Iterator[SiteLan]:
    lan = SiteLan(plan(rest, routes))
    try:
        yield lan
    finally:
        lan.close()


def open_socket(
    machine: Machine, family: int, kind: int = socket.SOCK_DGRAM, protocol: int = 0
) -> trio.socket.SocketType:
    """Of the kernel of `machine`, as a program there has it."""
    with machine.space.inside():
        return trio.socket.from_stdlib_socket(socket.socket(family, kind, protocol))


def family_of(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
