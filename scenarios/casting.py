"""From what a file says runs on a host to the applications themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from random import Random
from types import MappingProxyType

from edge.document import Path as Place
from edge.document import address_bytes
from edge.errors import ConfigError
from edge.proto.types import BadPacket
from scenarios.outside import sip_password
from scenarios.proto.app import Endpoint
from scenarios.proto.audio import MediaSource, Recording, Tone, parse_wav_untrusted
from scenarios.proto.directory_agent import DirectoryAgent
from scenarios.proto.directory_message import Kind
from scenarios.proto.directory_server import USUAL_ROLES, DirectoryServer
from scenarios.proto.dns_message import Type
from scenarios.proto.dns_resolver import DnsResolver
from scenarios.proto.dns_server import DNS_PORT, DnsServer, Zone
from scenarios.proto.host import Host
from scenarios.proto.http import HttpResponse
from scenarios.proto.http_client import HttpClient
from scenarios.proto.http_server import HttpServer
from scenarios.proto.pbx import Pbx
from scenarios.proto.ping import Ping
from scenarios.proto.pipeline import Pipeline, StagePlan
from scenarios.proto.premises import Premises
from scenarios.proto.quality import CODECS
from scenarios.proto.softphone import Softphone, media_with
from scenarios.proto.traffic import TrafficSource
from scenarios.proto.traffic_profile import Arrivals, Bursts, Profile, Uniform
from scenarios.proto.traffic_sink import TrafficSink
from scenarios.proto.udp_echo import UdpEcho, UdpProbe
from scenarios.proto.webhook import Target, WebhookSender, signed_posts
from scenarios.schema import Actor, Script
from scenarios.schema.apps import Media

SIP_PORT = 5060
RTP_PORT_BASE = 16384  # where the voice rules of most networks begin
REALM = "poplab"

LARGEST_WAV = 16 * 2**20
"""Bytes: half an hour of voice."""


def stream(seed: int, name: str) -> Random:
    """The random numbers of `name`: those of others do not shift when something is added."""
    return Random(f"{seed}/{name}")


@dataclass(frozen=True, slots=True)
class Flow:
    """What a source of traffic sends, and where to."""

    source: TrafficSource
    destination: Endpoint
    profile: Profile
    at_once: bool


class Member:
    """A host, with the applications that steps talk to. Clients, which every host has, are made when they are used."""

    __slots__ = (
        "_draw",
        "_http",
        "_ping",
        "_probe",
        "_resolvers",
        "_webhooks",
        "actor",
        "agent",
        "directory",
        "dns",
        "echo",
        "flow",
        "host",
        "passwords",
        "pbx",
        "phone",
        "pipeline",
        "premises",
        "sink",
        "web",
    )

    def __init__(self, actor: Actor, host: Host, premises: Premises, draw: Callable[[str], Random]) -> None:
        self.actor = actor
        self.host = host
        self.premises = premises
        """Which tunnels it is behind."""
        self.passwords: Mapping[str, str] = {}
        """Of the users of its PBX; for phones, never for reports."""
        self.phone: Softphone | None = None
        self.pbx: Pbx | None = None
        self.echo: UdpEcho | None = None
        self.web: HttpServer | None = None
        self.pipeline: Pipeline | None = None
        self.dns: DnsServer | None = None
        self.flow: Flow | None = None
        self.sink: TrafficSink | None = None
        self.directory: DirectoryServer | None = None
        self.agent: DirectoryAgent | None = None
        self._draw = draw
        self._probe: UdpProbe | None = None
        self._ping: Ping | None = None
        self._http: HttpClient | None = None
        self._webhooks: WebhookSender | None = None
        self._resolvers: dict[str, DnsResolver] = {}

    @property
    def probe(self) -> UdpProbe:
        if self._probe is None:
            self._probe = UdpProbe()
            self.host.add(self._probe)
        return self._probe

    @property
    def ping(self) -> Ping:
        if self._ping is None:
            self._ping = Ping()
            self.host.add(self._ping)
        return self._ping

    @property
    def http(self) -> HttpClient:
        if self._http is None:
            self._http = HttpClient()
            self.host.add_stream(self._http)
        return self._http

    @property
    def webhooks(self) -> WebhookSender:
        if self._webhooks is None:
            self._webhooks = WebhookSender()
            self.host.add_stream(self._webhooks)
        return self._webhooks

    def resolver(self, server: str) -> DnsResolver:
        """What asks the name server at that address."""
        if server not in self._resolvers:
            rng = self._draw(f"{self.actor.name}/resolver/{server}")
            self._resolvers[server] = DnsResolver([(server, DNS_PORT)], rng)
            self.host.add(self._resolvers[server])
        return self._resolvers[server]

    @property
    def web_servers(self) -> list[HttpServer]:
        """Whatever takes HTTP requests here."""
        servers = (self.web, None if self.pipeline is None else self.pipeline.server)
        return [server for server in servers if server is not None]


class Casting:
    """Makes the members of one world. Raises ConfigError for what a file says that cannot be."""

    def __init__(self, script: Script, seed: int, keys: Mapping[str, bytes] = MappingProxyType({})) -> None:
        """`keys` are those of devices from outside, by name."""
        self._script = script
        self._seed = seed
        self._keys = keys
        self._draw = partial(stream, seed)
        self._recordings: dict[Path, Recording] = {}

    def member(self, actor: Actor, host: Host, premises: Premises) -> Member:
        member = Member(actor, host, premises, self._draw)
        self._voice(member)
        self._web(member)
        self._directory(member)
        apps = actor.apps
        if apps.udp_echo is not None:
            member.echo = UdpEcho(apps.udp_echo.port)
            host.add(member.echo)
        if apps.dns_server is not None:
            member.dns = DnsServer([self._zone(actor)])
            host.add(member.dns)
        if apps.traffic_sink is not None:
            member.sink = TrafficSink(apps.traffic_sink.port)
            host.add(member.sink)
        if apps.traffic is not None:
            member.flow = self._flow(actor)
            host.add(member.flow.source)
        return member

    def _address(self, name: str) -> str:
        """Of an actor, or the address that it is."""
        actor = self._script.cast.actors.get(name)
        return name if actor is None else str(ip_address(actor.ip))

    def _password(self, server: Actor, user: str) -> str:
        """Known to both ends, and to nobody who reads a report."""
        guest = self._script.cast.actors.get(user)
        if guest is not None and guest.vnet == server.vnet and user in self._keys:
            return sip_password(self._keys[user], server.name)
        return self._draw(f"{server.name}/password/{user}").randbytes(12).hex()

    def _wrong(self, actor: Actor, place: Place, message: str, fix: str) -> ConfigError:
        return ConfigError([self._script.problem((*actor.path, "app", *place), message, fix)])

    # -- voice

    def _voice(self, member: Member) -> None:
        actor, cast = member.actor, self._script.cast
        address = member.host.address
        if actor.pbx is not None:
            member.passwords = {user: self._password(actor, user) for user in cast.users(actor)}
            # Some telephones of today give up at once where a challenge names an algorithm that they do not know.
            guests = not cast.outside.isdisjoint(cast.users(actor))
            member.pbx = Pbx(
                actor.name,
                address,
                realm=REALM,
                users=dict(member.passwords),
                echo_extension=actor.pbx.echo_extension,
                rng=self._draw(f"{actor.name}/pbx"),
                algorithms=("MD5",) if guests else actor.pbx.digest,
            )
            member.host.add(member.pbx)
        registrar = cast.registrar(actor)
        if actor.phone is not None and registrar is not None:
            rng = self._draw(f"{actor.name}/phone")
            profile = CODECS["G.711+PLC" if actor.phone.plc else "G.711"]
            member.phone = Softphone(
                actor.user,
                address,
                sip_port=SIP_PORT,
                rtp_port_base=RTP_PORT_BASE,
                codec=actor.phone.codec,
                registrar=(str(ip_address(registrar.ip)), SIP_PORT),
                username=actor.user,
                password=self._password(registrar, actor.user),
                auto_answer_after=actor.phone.answer_after,
                max_calls=actor.phone.lines,
                source=self._media(actor, actor.phone.media),
                media_factory=media_with(rng, profile),
                rng=rng,
            )
            member.host.add(member.phone)

    def _media(self, actor: Actor, media: Media | None) -> MediaSource | None:
        if media is None:
            return None
        if media.wav is not None:
            return self._recording(actor, media.wav)
        return None if media.tone is None else Tone(media.tone.frequency, media.tone.level)

    def _recording(self, actor: Actor, name: str) -> Recording:
        """What is in a file beside the scenario; of many phones with one file, it is read once."""
        file = Path(self._script.file).parent / name
        place: Place = ("sip.phone", "media", "wav")
        if file not in self._recordings:
            try:
                with file.open("rb") as opened:
                    data = opened.read(LARGEST_WAV + 1)
                if len(data) > LARGEST_WAV:
                    raise self._wrong(
                        actor, place, f"{file} is larger than {LARGEST_WAV >> 20} MiB", "cut it"
                    )
                self._recordings[file] = parse_wav_untrusted(data)
            except OSError as error:
                text = f"cannot read {file}: {error.strerror or error}"
                raise self._wrong(actor, place, text, "a path is relative to the scenario file") from error
            except BadPacket as bad:
                fix = "convert it, for example: sox in.wav -r 8000 -c 1 -b 16 out.wav"
                raise self._wrong(actor, place, f"{file}: {bad}", fix) from bad
        return self._recordings[file]

    # -- web

    def _web(self, member: Member) -> None:
        apps = member.actor.apps
        if apps.http_server is not None:
            given = apps.http_server
            routes = {
                path: HttpResponse(answer.status, answer.body.encode(), delay=answer.delay)
                for path, answer in given.routes.items()
            }
            handler = None if given.secret is None else signed_posts(given.secret.encode())
            member.web = HttpServer(given.port, routes, handler)
            member.host.add_stream(member.web)
        if apps.ci_pipeline is not None:
            pipeline = apps.ci_pipeline
            member.pipeline = Pipeline(
                [StagePlan(stage.name, self._targets(stage.deploy, stage.path)) for stage in pipeline.stages],
                port=pipeline.port,
                hook=pipeline.hook,
                build_time=pipeline.build_time,
                notify=self._targets(pipeline.notify, pipeline.notify_path),
                secret=None if pipeline.secret is None else pipeline.secret.encode(),
            )
            member.host.add_stream(member.pipeline)

    def _targets(self, words: tuple[str, ...] | str, path: str) -> tuple[Target, ...]:
        """Web servers, each at the port that its file says."""
        actors = [self._script.cast.actors[name] for name in self._script.cast.names(words)]
        return tuple(Target(str(ip_address(actor.ip)), web_port(actor), path) for actor in actors)

    # -- names

    def _zone(self, actor: Actor) -> Zone:
        given = actor.apps.dns_server
        assert given is not None
        zone = Zone()
        for name, records in given.zone.items():
            for record in records:
                try:
                    if address_bytes(record) is not None:
                        zone.add_host(name, record, round(given.ttl))
                    elif " " in record:
                        zone.add(name, Type.SRV, record, round(given.ttl))
                    else:
                        zone.add(name, Type.CNAME, record, round(given.ttl))
                except ValueError as error:
                    fix = "write an address, a list of them, another name, or: 10 5 5060 pbx.hq.test"
                    raise self._wrong(actor, ("dns.server", "zone", name), str(error), fix) from error
        return zone

    # -- traffic

    def _flow(self, actor: Actor) -> Flow:
        given = actor.apps.traffic
        assert given is not None
        bursts = None if given.on is None or given.off is None else Bursts(given.on, given.off)
        try:
            profile = Profile(given.rate, Arrivals(given.arrivals), Uniform(*given.size), bursts)
        except ValueError as error:
            fix = "a rate is at least 1/h; periods take at least 1ms"
            raise self._wrong(actor, ("traffic",), str(error), fix) from error
        source = TrafficSource(self._draw(f"{actor.name}/traffic"))
        return Flow(source, (self._address(given.to), given.port), profile, given.start == "at-once")

    # -- directory

    def _directory(self, member: Member) -> None:
        actor, apps = member.actor, member.actor.apps
        if apps.directory_server is not None:
            given = apps.directory_server
            roles = dict.fromkeys(given.allow, (Kind.SEARCH,))
            member.directory = DirectoryServer(
                users={user.name: self._password(actor, user.name) for user in self._members_of(actor)},
                allow={str(prefix): role for role, prefixes in given.allow.items() for prefix in prefixes},
                roles={**roles, **USUAL_ROLES},
                port=given.port,
            )
            member.host.add(member.directory)
        if apps.directory_member is not None:
            server = self._script.cast.actors[apps.directory_member.server]
            assert server.apps.directory_server is not None
            member.agent = DirectoryAgent(
                (str(ip_address(server.ip)), server.apps.directory_server.port),
                actor.name,
                self._password(server, actor.name),
                self._draw(f"{actor.name}/directory"),
                port=apps.directory_member.port,
            )
            member.host.add(member.agent)

    def _members_of(self, server: Actor) -> list[Actor]:
        actors = self._script.cast.actors.values()
        return [
            a for a in actors if a.apps.directory_member and a.apps.directory_member.server == server.name
        ]


def web_port(actor: Actor) -> int:
    """Where a web server listens; a CI server beside it is not meant."""
    app = actor.apps.http_server or actor.apps.ci_pipeline
    assert app is not None, "the scenario was checked"
    return app.port


__all__ = ["Casting", "Flow", "Member", "stream", "web_port"]
