"""Worlds in memory: what a scenario writes reaches the far ends."""

from __future__ import annotations

from scenarios import world
from scenarios.runner import check

TEXT = """\
version: 1
name: office
vnets: {acme: {}}
topology:
  links: {line: {delay: 20ms}, lines: {delay: 40ms}}
  sites:
    hq: {vnet: acme, link: lines, routes: [10.0.50.0/24], connectors: {hq-a: {link: line}}}
    branch: {vnet: acme, link: lines, routes: [10.0.60.0/24], connectors: {branch-a: {}}}
steps: [{wait: {tunnels: up}}]
"""


def test_the_link_of_a_connector_is_its_own_or_that_of_its_site() -> None:
    (script,) = check(TEXT)
    delays = {end.name: end.path().up.profile.delay for end in world.build(script).ends}
    assert delays == {"hq-a": 0.02, "branch-a": 0.04}
