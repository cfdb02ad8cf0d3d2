"""What runs on a host. Every host answers ping and can ping, send datagrams, ask a name server and a web server."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from edge.document import Duration, Prefix
from scenarios.schema.programs import Program
from scenarios.schema.scalars import PerSecond, Records, Sizes
from scenarios.schema.words import Actor, Actors, DomainName, Port, Section, UrlPath, written


class SipPbx(Section, frozen=True, kw_only=True):
    """A registrar and proxy, with an extension that echoes what one says."""

    users: tuple[str, ...] | None = None
    """Without it, every phone that names this PBX, or could only mean this one."""
    echo_extension: str | None = "600"
    digest: Annotated[tuple[Literal["SHA-256", "MD5"], ...], msgspec.Meta(min_length=1)] = ("SHA-256", "MD5")
    """Which proofs of a password it asks for, the best first (RFC 8760); many real phones know MD5 only."""


class ToneMedia(Section, frozen=True, kw_only=True):
    """A sine."""

    frequency: Annotated[int, msgspec.Meta(ge=1, le=3999)] = 400
    """Hz."""
    level: Annotated[float, msgspec.Meta(ge=-90, le=3.14)] = -10.0
    """dBm0."""


class Media(Section, frozen=True, kw_only=True):
    """What a phone says; one of these."""

    wav: str | None = None
    """A file beside the scenario: one channel, 8000 Hz, linear or G.711. It is said again and again."""
    tone: ToneMedia | None = None


class SipPhone(Section, frozen=True, kw_only=True):
    """A softphone."""

    user: str | None = None
    """Without it, the name of the client or host."""
    registrar: Actor | None = None
    """Without it, the one PBX of the virtual network."""
    codec: Literal["PCMU", "PCMA"] = "PCMU"
    plc: bool = True
    """Whether it conceals lost packets (ITU-T G.711 appendix I): what it hears is judged accordingly."""
    media: Media | None = None
    """Without it, a tone of 400 Hz."""
    lines: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4
    """How many calls it takes at once."""
    answer_after: Duration | None = written(Duration(0.02))
    """How long it rings before somebody picks up; null: nobody does."""


class UdpEcho(Section, frozen=True, kw_only=True):
    """A server that sends back what it gets (RFC 862)."""

    port: Port = 7


class Answer(Section, frozen=True, kw_only=True):
    """What a web server says to a path."""

    status: Annotated[int, msgspec.Meta(ge=200, le=599)] = 200
    body: str = ""
    delay: Duration = written(Duration(0.0))


class HttpServer(Section, frozen=True, kw_only=True):
    """A web server; it remembers who asked for what."""

    port: Port = 80
    routes: dict[UrlPath, Answer] = {}
    """By path; everything else is 404."""
    secret: str | None = None
    """Posts must be signed with it (X-Hub-Signature-256)."""


class Stage(Section, frozen=True, kw_only=True):
    """One stage of a pipeline: all of its targets must take the build before the next one begins."""

    name: str
    deploy: Actors
    path: UrlPath = "/deploy"


class CiPipeline(Section, frozen=True, kw_only=True):
    """A CI server: a commit hook starts its stages in order; it tells people when it is done, or has failed."""

    port: Port = 8080
    hook: UrlPath = "/commit"
    build_time: Duration = written(Duration(2.0))
    stages: Annotated[tuple[Stage, ...], msgspec.Meta(min_length=1)]
    notify: Actors = ()
    """Who is told after each stage: the server calls them, not they the server."""
    notify_path: UrlPath = "/notify"
    secret: str | None = None
    """The hook must be signed with it, and what the server posts is."""


class DnsServer(Section, frozen=True, kw_only=True):
    """A name server, on port 53."""

    zone: dict[DomainName, Records] = {}
    """Name to addresses, to another name, or to services, as in: 10 5 5060 pbx.hq.test."""
    ttl: Duration = written(Duration(300.0))


class Traffic(Section, frozen=True, kw_only=True):
    """A source of datagrams, from the start or when a step says so."""

    to: str
    """An actor or an address."""
    port: Port = 9
    rate: PerSecond = written(PerSecond(50.0))
    arrivals: Literal["constant", "poisson"] = "constant"
    size: Sizes = written(Sizes((200, 200)))
    """Bytes of payload."""
    on: Duration | None = None
    off: Duration | None = None
    """With both, it talks and is silent in turns of about these lengths."""
    start: Literal["at-once", "by-step"] = "at-once"


class TrafficSink(Section, frozen=True, kw_only=True):
    """Counts and times what sources send."""

    port: Port = 9


class DirectoryServer(Section, frozen=True, kw_only=True):
    """Logs and authorises by source address, and itself contacts its members to push policy."""

    allow: dict[str, tuple[Prefix, ...]]
    """Role to the source prefixes that have it. `admin` may change what is there, every other role may read it."""
    port: Port = 10389


class DirectoryMember(Section, frozen=True, kw_only=True):
    """A machine that joins a directory and takes its policy."""

    server: Actor
    port: Port = 8530


class Apps(Section, frozen=True, kw_only=True):
    """What runs on a host."""

    sip_pbx: SipPbx | None = msgspec.field(name="sip.pbx", default=None)
    sip_phone: SipPhone | None = msgspec.field(name="sip.phone", default=None)
    udp_echo: UdpEcho | None = msgspec.field(name="udp.echo", default=None)
    http_server: HttpServer | None = msgspec.field(name="http.server", default=None)
    ci_pipeline: CiPipeline | None = msgspec.field(name="ci.pipeline", default=None)
    dns_server: DnsServer | None = msgspec.field(name="dns.server", default=None)
    traffic: Traffic | None = None
    traffic_sink: TrafficSink | None = msgspec.field(name="traffic.sink", default=None)
    directory_server: DirectoryServer | None = msgspec.field(name="directory.server", default=None)
    directory_member: DirectoryMember | None = msgspec.field(name="directory.member", default=None)
    programs: tuple[Program, ...] | None = msgspec.field(name="exec", default=None)
    """Real programs, on a fabric that has real machines."""

    @property
    def words(self) -> list[str]:
        """The applications by their names in the file."""
        fields = zip(self.__struct_fields__, self.__struct_encode_fields__, strict=True)
        return [word for name, word in fields if getattr(self, name) is not None]
