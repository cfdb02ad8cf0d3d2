"""The language of scenario files: these structs are its only source; the JSON Schema follows from them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from edge.config import DEFAULT_POOL, RuleFile
from edge.document import Duration, IPAddress, Prefix

Name = Annotated[
    str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", description="a name of yours")
]
Identifier = Annotated[
    str, msgspec.Meta(pattern="^[a-z][a-z0-9_]{0,62}$", description="a name that conditions can use")
]
Actor = Annotated[
    str, msgspec.Meta(description="a client, such as alice, or a host of a site, such as hq/pbx")
]
Condition = Annotated[str, msgspec.Meta(description="such as: setup_time < 2s and status == 200")]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Count = Annotated[int, msgspec.Meta(ge=1, le=100_000)]


def written(value: object) -> Any:
    """A default of a type that JSON Schema does not know; msgspec would try to write it there."""
    return msgspec.field(default_factory=lambda: value)


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mapping with fixed keys."""


class Vnet(Section, frozen=True, kw_only=True):
    """A virtual network: it shares nothing with the others, not even address space."""

    pool: Prefix = written(DEFAULT_POOL)
    mtu: Annotated[int, msgspec.Meta(ge=576, le=65455)] = 1420
    default: Literal["allow", "block", "reject"] = "block"
    policy: tuple[RuleFile, ...] | None = None
    """Rules of this network alone; without them those at the top of the file apply."""


class SipPbx(Section, frozen=True, kw_only=True):
    """A registrar and proxy, with an extension that echoes what one says."""

    users: tuple[str, ...] | None = None
    """Without it, every phone that names this PBX, or could only mean this one."""
    echo_extension: str | None = "600"


class SipPhone(Section, frozen=True, kw_only=True):
    """A softphone."""

    user: str | None = None
    """Without it, the name of the client or host."""
    registrar: Actor | None = None
    """Without it, the one PBX of the virtual network."""
    codec: Literal["PCMU", "PCMA"] = "PCMU"
    lines: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4
    """How many calls it takes at once."""
    answer_after: Duration | None = written(Duration(0.02))
    """How long it rings before somebody picks up; null: nobody does."""


class UdpEcho(Section, frozen=True, kw_only=True):
    """A server that sends back what it gets (RFC 862)."""

    port: Port = 7


class Apps(Section, frozen=True, kw_only=True):
    """What runs on a host; every host answers ping anyway."""

    sip_pbx: SipPbx | None = msgspec.field(name="sip.pbx", default=None)
    sip_phone: SipPhone | None = msgspec.field(name="sip.phone", default=None)
    udp_echo: UdpEcho | None = msgspec.field(name="udp.echo", default=None)


class Host(Section, frozen=True, kw_only=True):
    """A machine in the network of a site."""

    ip: IPAddress
    app: Apps = Apps()


class Connector(Section, frozen=True, kw_only=True):
    """The virtual router of a site."""

    tunnel: Literal["wireguard"] = "wireguard"
    keepalive: Duration | None = None


class Site(Section, frozen=True, kw_only=True):
    """A network behind a connector."""

    vnet: Name
    routes: Annotated[tuple[Prefix, ...], msgspec.Meta(min_length=1)]
    connectors: Annotated[dict[Name, Connector], msgspec.Meta(max_length=1)] = {}
    """Without it, one connector that is called like the site."""
    hosts: dict[Name, Host] = {}
    tags: tuple[str, ...] = ()


class Client(Section, frozen=True, kw_only=True):
    """One device with a tunnel of its own."""

    vnet: Name
    ip: IPAddress
    tunnel: Literal["wireguard"] = "wireguard"
    keepalive: Duration | None = None
    user: str | None = None
    groups: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    app: Apps = Apps()


class Topology(Section, frozen=True, kw_only=True):
    """Who is there, and where."""

    sites: dict[Name, Site] = {}
    clients: dict[Name, Client] = {}


class Wait(Section, frozen=True, kw_only=True):
    """Wait until all of this is so."""

    tunnels: Literal["up"] | None = None
    step: tuple[str, ...] | str | None = None
    duration: Duration | None = msgspec.field(name="for", default=None)


class SipRegister(Section, frozen=True, kw_only=True):
    """Phones register; done when each has an answer."""

    phones: Annotated[tuple[Actor, ...], msgspec.Meta(min_length=1)]
    give_up: Duration = written(Duration(5.0))


class SipCall(Section, frozen=True, kw_only=True):
    """One phone calls another, or an extension of its PBX, and hangs up after `hold`."""

    caller: Actor = msgspec.field(name="from")
    to: str
    """A phone, such as bob or hq/desk; an extension, such as "600"; or a SIP URI."""
    hold: Duration | None = written(Duration(2.0))
    """How long the caller talks; null: until the callee or the end of the run hangs up."""
    give_up: Duration = written(Duration(10.0))


class PbxDial(Section, frozen=True, kw_only=True):
    """The PBX itself calls a phone: the direction in which NAT and one-way tunnels break."""

    pbx: Actor
    to: Actor
    hold: Duration | None = written(Duration(2.0))
    give_up: Duration = written(Duration(10.0))


class UdpSend(Section, frozen=True, kw_only=True):
    """Numbered datagrams to an echo server, and the time until they are back."""

    sender: Actor = msgspec.field(name="from")
    to: str
    """An actor or an address."""
    port: Port = 7
    count: Count = 1
    size: Annotated[int, msgspec.Meta(ge=32, le=65000)] = 64
    interval: Duration = written(Duration(0.02))
    patience: Duration = written(Duration(1.0))


class Ping(Section, frozen=True, kw_only=True):
    """ICMP echo requests."""

    sender: Actor = msgspec.field(name="from")
    to: str
    """An actor or an address."""
    count: Count = 3
    size: Annotated[int, msgspec.Meta(ge=32, le=65000)] = 56
    interval: Duration = written(Duration(0.02))
    patience: Duration = written(Duration(1.0))


Verb = Wait | SipRegister | SipCall | PbxDial | UdpSend | Ping


class Step(Section, frozen=True, kw_only=True):
    """One thing that is done: exactly one verb, and what is expected of it."""

    id: Identifier | None = None
    """Later conditions call the results of this step by it."""
    name: str = ""
    background: bool = False
    """Later steps do not wait for this one."""
    within: Duration | None = None
    """A step that takes longer has failed."""
    expect: tuple[Condition, ...] = ()

    wait: Wait | None = None
    sip_register: SipRegister | None = msgspec.field(name="sip.register", default=None)
    sip_call: SipCall | None = msgspec.field(name="sip.call", default=None)
    pbx_dial: PbxDial | None = msgspec.field(name="pbx.dial", default=None)
    udp_send: UdpSend | None = msgspec.field(name="udp.send", default=None)
    ping: Ping | None = None

    @property
    def verbs(self) -> dict[str, Verb]:
        """The verbs written in this step, by their name in the file; in a checked file exactly one."""
        return {
            word: verb for attribute, word in VERBS.items() if (verb := getattr(self, attribute)) is not None
        }

    @property
    def verb(self) -> tuple[str, Verb]:
        """The one verb of a checked step."""
        return next(iter(self.verbs.items()))


VERBS = {
    "wait": "wait",
    "sip_register": "sip.register",
    "sip_call": "sip.call",
    "pbx_dial": "pbx.dial",
    "udp_send": "udp.send",
    "ping": "ping",
}


class Outputs(Section, frozen=True, kw_only=True):
    """What ``--out`` gets."""

    report: tuple[Literal["junit", "json"], ...] = ("junit", "json")


class Scenario(Section, frozen=True, kw_only=True):
    """A world, what happens in it, and what must come of it."""

    version: Literal[1]
    name: Name
    about: str = ""
    fabric: Annotated[tuple[Literal["loopback"], ...], msgspec.Meta(min_length=1)] = ("loopback",)
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] = 7
    deadline: Duration = written(Duration(60.0))
    vnets: Annotated[dict[Name, Vnet], msgspec.Meta(min_length=1)]
    topology: Topology
    policy: tuple[RuleFile, ...] = ()
    steps: Annotated[tuple[Step, ...], msgspec.Meta(min_length=1)]
    expect: tuple[Condition, ...] = ()
    """Checked once, after the last step."""
    outputs: Outputs = Outputs()
