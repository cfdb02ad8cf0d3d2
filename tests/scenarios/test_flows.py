"""Flows between actors of a scenario: both legs, whoever it is that knows the routes."""

from __future__ import annotations

from ipaddress import ip_address

from scenarios.flows import Flows, Planned
from scenarios.proto.route_table import Device, Hop
from scenarios.runner import check
from scenarios.site_plan import SitePlans

TEXT = """\
version: 1
name: offices
vnets: {acme: {}}
topology:
  sites:
    hq:
      vnet: acme
      routes: [10.0.50.0/24]
      deploy: per-host
      gateway: 10.0.50.10
      router: {ip: 10.0.50.1}
      hosts: {good: {ip: 10.0.50.60}, bad: {ip: 10.0.50.61, routes: []}}
    branch:
      vnet: acme
      routes: [10.0.60.0/24]
      connectors: {branch-a: {}, branch-b: {}}
      router: {ip: 10.0.60.1}
      hosts: {good: {ip: 10.0.60.60}, bad: {ip: 10.0.60.61, gateway: 10.0.60.1}}
  clients:
    alice: {vnet: acme, ip: 100.96.0.12}
    bob: {vnet: acme, ip: 100.96.0.13}
steps: [{wait: {tunnels: up}}]
"""


def flows(text: str = TEXT) -> Flows:
    (script,) = check(text)
    plans = SitePlans(script.scenario)
    return Flows(script.cast, plans, Planned(plans, script.cast))


def test_a_flow_between_two_sites_passes_both_connectors() -> None:
    verdict = flows().judge("hq/good", "branch/good")
    assert verdict.returns and not verdict.says and not verdict.fix
    assert verdict.request == ("hq/good", "hq", "PoP", "branch-a", "branch/good")
    assert verdict.reply == ("branch/good", "branch-a", "PoP", "hq", "hq/good")


def test_each_side_is_judged_for_itself() -> None:
    verdict = flows().judge("hq/bad", "branch/bad")
    assert not verdict.returns
    assert verdict.fixes == (
        "on hq/bad: ip route add 10.0.60.0/24 via 10.0.50.10",
        "on branch/bad: ip route replace default via 10.0.60.2",
    )
    assert verdict.request == ("hq/bad", "router:hq", "the Internet")
    assert verdict.reply == ("branch/bad", "router:branch", "the Internet")


def test_a_request_that_arrives_without_an_answer_is_no_flow() -> None:
    verdict = flows().judge("hq/good", "branch/bad")
    assert not verdict.returns
    assert verdict.request[-1] == "branch/bad"
    assert verdict.says.startswith("branch/bad (10.0.60.61) answers 10.0.50.60 via 10.0.60.1")


def test_neighbours_and_clients_need_nothing() -> None:
    assert flows().judge("hq/good", "hq/bad").reply == ("hq/bad", "hq/good")
    assert flows().judge("alice", "bob").request == ("alice", "PoP", "bob")


def test_what_machines_say_is_believed_more_than_the_plan() -> None:
    """A kernel may have other routes than it was given, a connector too."""
    (script,) = check(TEXT)
    plans = SitePlans(script.scenario)

    class Kernels:
        planned = Planned(plans, script.cast)

        def next_hop(self, machine: str, destination: str) -> Hop | None:
            if machine == "hq":
                return Hop(Device.TUNNEL)
            if machine == "hq/good":
                known = Hop(Device.LAN, ip_address("10.0.50.1").packed)
                return (
                    known if destination.startswith("100.") else self.planned.next_hop(machine, destination)
                )
            return self.planned.next_hop(machine, destination)

    verdict = Flows(script.cast, plans, Kernels()).judge("alice", "hq/good")
    assert verdict.says == (
        "connector hq does not send what is for hq/good (10.0.50.60) to the LAN; "
        "hq/good (10.0.50.60) answers 100.96.0.12 via 10.0.50.1: hq/good has no route to 100.96.0.0/12, "
        "so it goes to the Internet"
    )
    assert verdict.fixes == (
        "on hq: ip route add 10.0.50.60/32 dev eth0",
        "on hq/good: ip route add 100.96.0.0/12 via 10.0.50.10",
    )


def test_every_machine_has_a_next_hop() -> None:
    (script,) = check(TEXT)
    planned = Planned(SitePlans(script.scenario), script.cast)
    lan = ip_address("10.0.60.1").packed
    assert planned.next_hop("alice", "10.0.50.60") == Hop(Device.TUNNEL)
    assert planned.next_hop("branch-b", "100.96.0.12") == Hop(Device.TUNNEL, None, (bytes(4), 0))
    assert planned.next_hop("router:branch", "100.96.0.12") == Hop(Device.INTERNET, None, (bytes(4), 0))
    assert planned.next_hop("branch/bad", "100.96.0.12") == Hop(Device.LAN, lan, (bytes(4), 0))
    assert planned.next_hop("branch/bad", "fd00::1") is None
