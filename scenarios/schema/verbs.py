"""What a step can do, and what can be done to the world."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec

from edge.document import Duration
from scenarios.schema.programs import ExecRun, ExecStart, ExecStop
from scenarios.schema.topology import Link
from scenarios.schema.words import (
    Actor,
    Actors,
    Count,
    DomainName,
    Name,
    Port,
    Section,
    UrlPath,
    written,
)

Machine = Annotated[
    str, msgspec.Meta(description='a connector, a client or "edge"; ${condition} is worked out then')
]
Tunnels = Annotated[
    tuple[str, ...] | str,
    msgspec.Meta(
        description='connectors, clients, or a site for all of its connectors; "all"; ${condition} is worked out then'
    ),
]


class Wait(Section, frozen=True, kw_only=True):
    """Wait until all of this is so."""

    tunnels: Literal["up"] | None = None
    programs: Literal["ready"] | None = None
    """Those that start at once; one that cannot be is a failure."""
    step: tuple[str, ...] | str | None = None
    duration: Duration | None = msgspec.field(name="for", default=None)


class SipRegister(Section, frozen=True, kw_only=True):
    """Phones register; done when each has an answer."""

    phones: Annotated[tuple[Actor, ...], msgspec.Meta(min_length=1)]
    give_up: Duration = written(Duration(5.0))


class SipCall(Section, frozen=True, kw_only=True):
    """One phone calls another, or an extension of its PBX, and hangs up after `hold`."""

    caller: Actor = msgspec.field(name="from", default="")
    to: str
    """A phone, such as bob or hq/desk; an extension, such as "600"; or a SIP URI."""
    hold: Duration | None = written(Duration(2.0))
    """How long the caller talks; null: until the callee or the end of the run hangs up."""
    give_up: Duration = written(Duration(10.0))


class PbxDial(Section, frozen=True, kw_only=True):
    """The PBX itself calls a phone: the direction in which NAT and one-way tunnels break."""

    pbx: Actor
    to: str
    """A phone, or a user of the PBX whose phone is a program."""
    hold: Duration | None = written(Duration(2.0))
    give_up: Duration = written(Duration(10.0))


class UdpSend(Section, frozen=True, kw_only=True):
    """Numbered datagrams to an echo server, and the time until they are back."""

    sender: Actor = msgspec.field(name="from", default="")
    to: str
    """An actor or an address."""
    port: Port = 7
    count: Count = 1
    size: Annotated[int, msgspec.Meta(ge=32, le=65000)] = 64
    interval: Duration = written(Duration(0.02))
    patience: Duration = written(Duration(1.0))


class Ping(Section, frozen=True, kw_only=True):
    """ICMP echo requests."""

    sender: Actor = msgspec.field(name="from", default="")
    to: str
    """An actor or an address."""
    count: Count = 3
    size: Annotated[int, msgspec.Meta(ge=32, le=65000)] = 56
    interval: Duration = written(Duration(0.02))
    patience: Duration = written(Duration(1.0))
    ttl: Annotated[int, msgspec.Meta(ge=1, le=255)] = 64
    """Of the requests, or their hop limit: with a small one a router answers, as for traceroute."""


class ProbeMtu(Section, frozen=True, kw_only=True):
    """What becomes of IP packets of these sizes, sent one after the other, with permission to cut them and without."""

    sender: Actor = msgspec.field(name="from", default="")
    to: Actor
    sizes: Annotated[
        tuple[Annotated[int, msgspec.Meta(ge=68, le=1500)], ...], msgspec.Meta(min_length=1, max_length=64)
    ]
    """Bytes, IP header included."""
    protocols: Annotated[tuple[Literal["udp", "icmp", "tcp"], ...], msgspec.Meta(min_length=1)] = (
        "udp",
        "icmp",
        "tcp",
    )
    port: Port = 9
    patience: Duration = written(Duration(0.5))
    """How long a packet gets of which nothing is heard."""


class RouteCheck(Section, frozen=True, kw_only=True):
    """Whether route tables lead requests there, and their answers back through the connector; nothing is sent."""

    sender: Actor = msgspec.field(name="from", default="")
    to: Actor


class HttpRequest(Section, frozen=True, kw_only=True):
    """One request to a web server, over TCP."""

    sender: Actor = msgspec.field(name="from", default="")
    to: str
    """An actor or an address."""
    port: Port = 80
    method: Literal["GET", "HEAD", "POST", "PUT", "DELETE"] = "GET"
    path: UrlPath = "/"
    body: str = ""
    give_up: Duration = written(Duration(10.0))


class WebhookPost(Section, frozen=True, kw_only=True):
    """A server tells others of an event by a request to each of them, and tries again until they took it."""

    sender: Actor = msgspec.field(name="from", default="")
    to: Actors
    port: Port = 80
    path: UrlPath = "/webhook"
    event: str = "event"
    secret: str | None = None
    """Signs the body (X-Hub-Signature-256)."""
    give_up: Duration = written(Duration(30.0))


class DnsQuery(Section, frozen=True, kw_only=True):
    """One question to a name server."""

    sender: Actor = msgspec.field(name="from", default="")
    server: str
    """An actor or an address."""
    name: DomainName
    type: Literal["A", "AAAA", "CNAME", "SRV", "PTR"] = "A"
    give_up: Duration = written(Duration(5.0))


class TrafficRun(Section, frozen=True, kw_only=True):
    """Sources send for a while; then what arrived is counted."""

    sources: Actors = msgspec.field(name="from")
    duration: Duration = msgspec.field(name="for")
    settle: Duration = written(Duration(1.0))
    """How long what is on its way gets."""


class DirectoryPush(Section, frozen=True, kw_only=True):
    """A directory server pushes a version of its policy to every member that it knows."""

    server: Actor
    version: Annotated[int, msgspec.Meta(ge=1)] = 1
    give_up: Duration = written(Duration(10.0))


class DirectoryBind(Section, frozen=True, kw_only=True):
    """Members join their directory."""

    members: Actors
    give_up: Duration = written(Duration(5.0))


class Kill(Section, frozen=True, kw_only=True):
    """A process dies. Hosts behind it go on, and reach nobody."""

    machine: Machine
    graceful: bool = False


class Restart(Section, frozen=True, kw_only=True):
    """A process that was killed starts anew, with the same keys and an empty memory."""

    machine: Machine


class Partition(Section, frozen=True, kw_only=True):
    """Nothing passes between these tunnels' far ends and the PoP; `direction` is seen from the far end."""

    tunnels: Tunnels
    direction: Literal["both", "up", "down"] = "both"


class Heal(Section, frozen=True, kw_only=True):
    """Partitions, firewalls, black holes and degradations of these tunnels end."""

    tunnels: Tunnels = "all"


Filtered = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^(udp|tcp)(/[1-9][0-9]{0,4})?$",
        description="a transport, or one port of the PoP; 443 is MASQUE, 51820 WireGuard",
        extra={"write": "write udp, tcp, udp/443, tcp/443 or udp/51820"},
    ),
]


class Block(Section, frozen=True, kw_only=True):
    """A firewall on the way of these tunnels stops this from now on, both ways, without a word."""

    tunnels: Tunnels
    what: Annotated[tuple[Filtered, ...], msgspec.Meta(min_length=1)] | Filtered


class Degrade(Section, frozen=True, kw_only=True):
    """The path of these tunnels becomes like a link of the file or a preset, or gets other figures."""

    tunnels: Tunnels
    to: Name | Link


class Roam(Section, frozen=True, kw_only=True):
    """The far end gets another outer address, as a phone that leaves the Wi-Fi."""

    tunnel: Machine


class Rebind(Section, frozen=True, kw_only=True):
    """The NAT in front of a client forgets its mappings."""

    client: Machine


class RekeyNow(Section, frozen=True, kw_only=True):
    """The far ends start a handshake, whatever the age of their keys."""

    tunnels: Tunnels


class Pause(Section, frozen=True, kw_only=True):
    """A process stands still, as after SIGSTOP, and goes on later."""

    machine: Machine
    duration: Duration = msgspec.field(name="for")


class BlackHole(Section, frozen=True, kw_only=True):
    """Part of what these tunnels carry vanishes though they look alive, and nobody is told."""

    tunnels: Tunnels
    over: Annotated[int, msgspec.Meta(ge=64, le=65535)] | None = None
    """Only datagrams larger than that: a path MTU black hole (RFC 2923). Without it, all data, but no handshake."""


class Zombie(Section, frozen=True, kw_only=True):
    """A connector whose tunnel is alive, but which forwards nothing."""

    machine: Machine
    on: bool = True


Fault = (
    Kill
    | Restart
    | Partition
    | Block
    | Heal
    | Degrade
    | Roam
    | Rebind
    | RekeyNow
    | Pause
    | BlackHole
    | Zombie
)
FAULTS: tuple[type[Fault], ...] = get_args(Fault)
Verb = (
    Wait
    | SipRegister
    | SipCall
    | PbxDial
    | UdpSend
    | Ping
    | ProbeMtu
    | RouteCheck
    | HttpRequest
    | WebhookPost
    | DnsQuery
    | TrafficRun
    | DirectoryBind
    | DirectoryPush
    | ExecRun
    | ExecStart
    | ExecStop
    | Fault
)


class Verbs(Section, frozen=True, kw_only=True):
    """One of these."""

    wait: Wait | None = None
    sip_register: SipRegister | None = msgspec.field(name="sip.register", default=None)
    sip_call: SipCall | None = msgspec.field(name="sip.call", default=None)
    pbx_dial: PbxDial | None = msgspec.field(name="pbx.dial", default=None)
    udp_send: UdpSend | None = msgspec.field(name="udp.send", default=None)
    ping: Ping | None = None
    probe_mtu: ProbeMtu | None = msgspec.field(name="probe.mtu", default=None)
    route_check: RouteCheck | None = msgspec.field(name="route.check", default=None)
    http_request: HttpRequest | None = msgspec.field(name="http.request", default=None)
    webhook_post: WebhookPost | None = msgspec.field(name="webhook.post", default=None)
    dns_query: DnsQuery | None = msgspec.field(name="dns.query", default=None)
    traffic_run: TrafficRun | None = msgspec.field(name="traffic.run", default=None)
    directory_bind: DirectoryBind | None = msgspec.field(name="directory.bind", default=None)
    directory_push: DirectoryPush | None = msgspec.field(name="directory.push", default=None)
    exec_run: ExecRun | None = msgspec.field(name="exec.run", default=None)
    exec_start: ExecStart | None = msgspec.field(name="exec.start", default=None)
    exec_stop: ExecStop | None = msgspec.field(name="exec.stop", default=None)
    fault_kill: Kill | None = msgspec.field(name="fault.kill", default=None)
    fault_restart: Restart | None = msgspec.field(name="fault.restart", default=None)
    fault_partition: Partition | None = msgspec.field(name="fault.partition", default=None)
    fault_block: Block | None = msgspec.field(name="fault.block", default=None)
    fault_heal: Heal | None = msgspec.field(name="fault.heal", default=None)
    fault_degrade: Degrade | None = msgspec.field(name="fault.degrade", default=None)
    fault_roam: Roam | None = msgspec.field(name="fault.roam", default=None)
    fault_rebind: Rebind | None = msgspec.field(name="fault.rebind", default=None)
    fault_rekey: RekeyNow | None = msgspec.field(name="fault.rekey-now", default=None)
    fault_pause: Pause | None = msgspec.field(name="fault.pause", default=None)
    fault_blackhole: BlackHole | None = msgspec.field(name="fault.blackhole", default=None)
    fault_zombie: Zombie | None = msgspec.field(name="fault.zombie", default=None)

    @property
    def verbs(self) -> dict[str, Verb]:
        """The verbs that are written, by their name in the file; in a checked file at most one."""
        return {
            word: verb for attribute, word in VERBS.items() if (verb := getattr(self, attribute)) is not None
        }


VERBS = {field.name: field.encode_name for field in msgspec.structs.fields(Verbs)}
"""Attribute to word, of every verb."""

FAULT_KINDS: dict[type, str] = {
    get_args(field.type)[0]: field.encode_name.removeprefix("fault.")
    for field in msgspec.structs.fields(Verbs)
    if field.encode_name.startswith("fault.")
}
"""What the file calls each fault behind ``fault.``."""

EXEC_WORDS = tuple(word for word in VERBS.values() if word.startswith("exec."))

FAULT_WORDS = tuple(word for word in VERBS.values() if word.startswith("fault."))
