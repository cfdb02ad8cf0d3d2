"""What conditions can ask for of the applications on a host, where they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import islice

from scenarios.casting import Member
from scenarios.checks import Plain, Seconds
from scenarios.proto.directory_server import DirectoryServer
from scenarios.proto.dns_server import DnsServer
from scenarios.proto.histogram import Histogram
from scenarios.proto.http_server import HttpServer, Served
from scenarios.proto.pbx import Pbx
from scenarios.proto.pipeline import Deploy, Pipeline, Run

AUDITED = 100
"""The last entries of an audit; its counts are of all of them."""


def of(member: Member) -> dict[str, Plain]:
    """`registered`, `requests`, `pipeline`, `dns`, `directory`, `traffic`."""
    given: dict[str, Plain] = {}
    if member.pbx is not None:
        given["registered"] = _registered(member.pbx)
    if member.web_servers:
        given["requests"] = _requests(member.web_servers)
    if member.pipeline is not None:
        given["pipeline"] = _pipeline(member.pipeline)
    if member.dns is not None:
        given["dns"] = _dns(member.dns)
    if member.directory is not None or member.agent is not None:
        given["directory"] = {**_directory(member.directory), **_agent(member)}
    if member.flow is not None or member.sink is not None:
        given["traffic"] = {**_source(member), **_sink(member)}
    return given


def _registered(pbx: Pbx) -> Plain:
    """Its users who are registered now: where each was seen, and where they say they are."""
    return {
        user: {"source_ip": binding.source[0], "contact": str(binding.contact)}
        for user, binding in pbx.registrations.items()
    }


def _requests(servers: Iterable[HttpServer]) -> Plain:
    """What the web servers of a host saw."""
    servers = list(servers)
    logged = [entry for server in servers for entry in server.log]
    sources: Counter[str] = Counter()
    for server in servers:
        sources.update(server.sources)
    return {
        "count": sum(server.served for server in servers),
        "sources": sorted(sources),
        "by_source": dict(sources),
        "paths": sorted({entry.target for entry in logged}),
        "refused": sum(entry.status >= 400 for entry in logged),
        "last": _served(max(logged, key=lambda entry: entry.at)) if logged else None,
    }


def _served(entry: Served) -> Plain:
    return {
        "at": Seconds(entry.at),
        "source": entry.source[0],
        "method": entry.method,
        "path": entry.target,
        "status": entry.status,
        "body": entry.body.decode("utf-8", "replace"),
    }


def _pipeline(pipeline: Pipeline) -> Plain:
    """`state` and `stages` are those of the last run."""
    runs = list(pipeline.runs)
    last = _run(runs[-1]) if runs else {"state": None, "source": None, "stages": {}, "notices": 0, "told": []}
    return {"runs": len(runs), **last, "all": [_run(run) for run in runs]}


def _run(run: Run) -> dict[str, Plain]:
    return {
        "state": str(run.state),
        "source": run.source[0],
        "stages": {
            stage.name: {
                "state": str(stage.state),
                "deploys": [_deploy(deploy) for deploy in stage.deploys],
                "refused_by": [deploy.target.host for deploy in stage.deploys if deploy.reason],
            }
            for stage in run.stages
        },
        "notices": sum(notice.delivered for notice in run.notices),
        "told": sorted({notice.target.host for notice in run.notices if notice.delivered}),
    }


def _deploy(deploy: Deploy) -> Plain:
    return {"target": deploy.target.host, "status": deploy.status, "ok": deploy.ok, "reason": deploy.reason}


def _dns(server: DnsServer) -> Plain:
    last = server.log[-1] if server.log else None
    return {
        "queries": server.answered.total(),
        "codes": {str(code): count for code, count in server.answered.items()},
        "sources": sorted({line.source[0] for line in server.log}),
        "last": None
        if last is None
        else {"source": last.source[0], "name": last.name, "type": last.type, "code": str(last.code)},
    }


def _directory(server: DirectoryServer | None) -> dict[str, Plain]:
    if server is None:
        return {}
    audit = server.audit
    refused = {entry.source[0] for entry in audit if entry.verdict == "refused"}
    return {
        "version": server.version,
        "members": sorted(server.clients),
        "verdicts": {str(verdict): count for verdict, count in server.verdicts.items()},
        "sources": sorted({entry.source[0] for entry in audit}),
        "refused": sorted(refused),
        "audit": [
            {
                "source": entry.source[0],
                "user": entry.user,
                "request": entry.request.name.lower(),
                "verdict": str(entry.verdict),
            }
            for entry in islice(audit, max(0, len(audit) - AUDITED), None)
        ],
    }


def _agent(member: Member) -> dict[str, Plain]:
    agent = member.agent
    if agent is None:
        return {}
    return {"bound": agent.bound, "policy_version": agent.policy_version, "policy": agent.policy}


def _source(member: Member) -> dict[str, Plain]:
    if member.flow is None:
        return {}
    streams = member.flow.source.streams
    return {
        "sent": sum(stream.sent for stream in streams),
        "sent_bytes": sum(stream.bytes for stream in streams),
        "overrun": sum(stream.overrun for stream in streams),
    }


def _sink(member: Member) -> dict[str, Plain]:
    if member.sink is None:
        return {}
    arrived = list(member.sink.arrivals.values())
    delay = Histogram()
    for arrivals in arrived:
        delay.merge(arrivals.delay)
    p95 = delay.percentile(95)
    return {
        "received": sum(arrivals.received for arrivals in arrived),
        "received_bytes": sum(arrivals.bytes for arrivals in arrived),
        "duplicates": sum(arrivals.duplicates for arrivals in arrived),
        "reordered": sum(arrivals.reordered for arrivals in arrived),
        "gaps": sum(arrivals.lost for arrivals in arrived),
        "sources": sorted({arrivals.source[0] for arrivals in arrived}),
        "delay_avg": None if delay.average is None else Seconds(delay.average),
        "delay_p95": None if p95 is None else Seconds(p95),
    }
