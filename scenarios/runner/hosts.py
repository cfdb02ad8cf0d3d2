"""What reached each host, small enough for a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from scenarios.casting import Member
from scenarios.proto.host import IcmpError
from scenarios.report import HostRecord
from scenarios.world import World

MOST_HOSTS = 1000
MOST_OF_ONE = 32
"""Entries of each list of a host: strangers choose how many there are."""


def host_records(world: World) -> list[HostRecord]:
    """The first hosts of the world."""
    return [_record(member) for member in list(world.members.values())[:MOST_HOSTS]]


def hits(rule_hits: Mapping[tuple[str, str], int]) -> dict[str, int]:
    """By rule, whatever it did; without those that decided nothing."""
    counted: Counter[str] = Counter()
    for (rule, _), count in rule_hits.items():
        counted[rule] += count
    return dict(+counted)


def _record(member: Member) -> HostRecord:
    host = member.host
    record = HostRecord(name=member.actor.name, address=host.address)

    def first(words: Iterable[str]) -> list[str]:
        kept = sorted(set(words))
        record.more += max(0, len(kept) - MOST_OF_ONE)
        return kept[:MOST_OF_ONE]

    record.sources = first(host.seen)
    record.told = first(_said(error) for error in host.icmp_errors)
    record.apps = {name: first(words) for name, words in _apps(member).items()}
    return record


def _said(error: IcmpError) -> str:
    """Without what is another number each time: ports."""
    size = f" MTU {error.mtu}" if error.mtu is not None else ""
    return f"{error.source} says {error.icmp_type}/{error.icmp_code}{size}"


def _apps(member: Member) -> dict[str, Iterable[str]]:
    """Who asked the applications of a host for what, and what came of it."""
    given: dict[str, Iterable[str]] = {}
    if member.web_servers:
        given["requests.sources"] = [source for server in member.web_servers for source in server.sources]
        logged = [entry for server in member.web_servers for entry in server.log]
        given["requests.answers"] = [f"{each.method} {each.target} {each.status}" for each in logged]
    if member.dns is not None:
        given["dns.sources"] = [line.source[0] for line in member.dns.log]
        given["dns.answers"] = [f"{line.name} {line.type} {line.code}" for line in member.dns.log]
    if member.directory is not None:
        audit = member.directory.audit
        given["directory.audit"] = [
            f"{each.source[0]} {each.request.name.lower()} {each.verdict}" for each in audit
        ]
    if member.agent is not None:
        given["directory.policy"] = [f"version {member.agent.policy_version}"]
    if member.sink is not None:
        given["traffic.sources"] = [arrivals.source[0] for arrivals in member.sink.arrivals.values()]
    if member.pipeline is not None:
        given["pipeline.stages"] = [
            f"run {number} {stage.name} {stage.state}"
            for number, run in enumerate(member.pipeline.runs, 1)
            for stage in run.stages
        ]
    return given
