"""The PoP without IO: reads and time in, datagrams and a snapshot out.

The relay drives it with a socket and the real clock, a simulated network with an event heap and a clock of its own;
both run the same four verbs over the same cores. Call order: ``turn`` when something came or is due, then
``poll_transmit``, then sleep until ``poll_timeout``.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence

import structlog
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from structlog.typing import FilteringBoundLogger

from edge.config import EdgeConfig
from edge.document import HostPort
from edge.errors import PoplabError, Refused
from edge.metrics import FORWARD_BOUNDS, HANDSHAKE_BOUNDS, Histogram, Snapshot, TunnelSnapshot, VnetSnapshot
from edge.proto.forwarding import Attachment, Forwarder, Observer, Policy, Prober, ReplicaChanged, Watch
from edge.proto.forwarding.policy import DEFAULT_RULE
from edge.proto.masque.server import (
    SessionDown,
    SessionEvent,
    SessionMoved,
    SessionRefused,
    SessionSwitched,
    SessionUp,
)
from edge.proto.masque.tunnel import MasqueTunnel
from edge.proto.types import Address, DropReason, StreamEvent, StreamOutput
from edge.proto.wireguard import (
    Aead,
    Device,
    EndpointChanged,
    Event,
    HandshakeCompleted,
    HandshakeGivenUp,
    Identity,
    TimestampAdvanced,
    TimestampClock,
    Tunnel,
)
from edge.server import assembly
from edge.server.masque import MasqueFront
from edge.state import PeerState, StateStore

HOUSEKEEPING = 1.0  # seconds between looks at idle flows and old fragments
WHAT = {
    SessionUp: "session",
    SessionDown: "session-down",
    SessionMoved: "endpoint",
    SessionSwitched: "switched",
}
"""What an observer is told of a MASQUE session."""

NAMED_UPS = (
    20  # tunnels per look whose coming up has a line of its own; a restart brings up thousands at once
)
STRANGERS_PACE = 60.0  # seconds between two lines about handshakes with unknown keys
GREETING_PACE = 0.02  # after a restart: this long between two handfuls of initiations
GREETINGS = 16

SILENT: FilteringBoundLogger = structlog.wrap_logger(
    structlog.ReturnLogger(), wrapper_class=structlog.make_filtering_bound_logger("critical")
)
"""For a PoP inside another program, such as a scenario: what it has to say is in its snapshot."""


class Engine:
    """`config` must be valid; peers that `store` knows are greeted first.

    `now` is monotonic seconds and `epoch` what to add for Unix time. `rng(n)` gives secret random bytes; `timer`
    measures the budget of hooks and the latency of a turn; `aead` as in ``Device``. `public_key` is the PoP's own.
    An `observer` is told what becomes of every packet, and costs more than forwarding it. `on_secret` gets the lines of
    the TLS key log.
    """

    def __init__(
        self,
        config: EdgeConfig,
        store: StateStore,
        *,
        now: float,
        epoch: float,
        rng: Callable[[int], bytes],
        timer: Callable[[], float],
        log: FilteringBoundLogger = SILENT,
        aead: Aead = ChaCha20Poly1305,
        observer: Observer | None = None,
        on_secret: Callable[[str], None] | None = None,
    ) -> None:
        identity = Identity.from_bytes(config.private_key)
        self.public_key = identity.public
        self.config = config
        self.generation = 1
        self._store = store
        self._timer = timer
        self._log = log
        self._started_at = epoch + now
        self._clock = TimestampClock(epoch, greatest=_sent_before(store))
        device = Device(identity, rng=rng, clock=self._clock, now=now, aead=aead)
        self._forwarder = Forwarder()
        masque = (
            None
            if config.masque is None
            else MasqueFront(config.masque, now=now, epoch=epoch, rng=rng, on_secret=on_secret)
        )
        self.pop = assembly.Pop(device, masque, config, self._forwarder, Prober(rng))
        self._watch = None if observer is None else Watch(observer)
        if self._watch is not None:
            device.on_lost = self._lost
            if masque is not None:
                masque.server.on_lost = self._lost
        self._handshake_seconds = Histogram(HANDSHAKE_BOUNDS)
        self._forward_seconds = Histogram(FORWARD_BOUNDS)
        self._save_failed = False
        self._moved: dict[bytes, Tunnel] = {}  # whose endpoint is not saved yet
        self._up_until: dict[bytes, float] = {}  # by key: the end of the session that the last handshake made
        self._ups = 0  # tunnels that came up since the last look
        self._downs = 0  # MASQUE sessions that ended since then
        # Requests for a MASQUE session since the last line about them, by status and HTTP version.
        self._refused: Counter[tuple[int, str]] = Counter()
        self._strangers = 0  # handshakes with unknown keys that have been told
        self._strangers_at = self._refusals_at = now
        self._housekeeping_at = now + HOUSEKEEPING
        self._greeting_at = now
        fresh = assembly.apply(self.pop, config, store.load(), timer)
        self._observe()
        links = [device.tunnels[tunnel.public_key] for tunnel in fresh]
        # Peers of an earlier run notice a restart only after 15 s of silence: speak first.
        self._to_greet = deque(link for link in links if link.endpoint is not None)

    # -- the four verbs --

    def turn(
        self,
        reads: Sequence[tuple[memoryview, int, Address]],
        now: float,
        quic: Sequence[tuple[memoryview, int, Address]] = (),
        streams: Sequence[StreamEvent] = (),
    ) -> list[tuple[Attachment, list[bytearray]]]:
        """One pass over what was read, and all that is due; returns what was forwarded, by egress, before it is sealed.

        `reads` are of the WireGuard port, `quic` and `streams` of the MASQUE port, UDP and TCP. Lists that were
        returned hold sealed packets by then: read lengths and headers, nothing else.
        """
        started = self._timer()
        pop, forwarder, masque = self.pop, self._forwarder, self.pop.masque
        opened: list[tuple[Attachment, list[bytearray]]] = []
        for tunnel, packets in pop.device.open(reads, now):
            attachment: Attachment = tunnel.owner
            attachment.link = tunnel  # it is answered the way that it came
            opened.append((attachment, packets))
        if masque is not None:
            for link, packets in masque.open(quic, streams, now):
                attachment = link.owner
                attachment.link = link
                opened.append((attachment, packets))
        watch = self._watch
        if watch is not None:
            watch.opened(opened, now)
        forwarder.forward(opened, now)
        pop.handle_timeout(now)
        if now >= self._housekeeping_at or self._to_greet:
            self._periodic(now)
        forwarded = 0
        runs = forwarder.take()
        if watch is not None:
            watch.settle(runs)
        for attachment, packets in runs:
            pop.seal(attachment, packets, now)
            forwarded += len(packets)
        self._handle_events(pop.device.poll_events(), now)
        if masque is not None:
            self._handle_sessions(masque.server.poll_events(), now)
        self._tell(pop.poll_changes(), now)
        if watch is not None:
            watch.close(self._datagram_drops())
        if forwarded:
            self._forward_seconds.observe(self._timer() - started, forwarded)
        return runs

    def poll_transmit(self) -> list[tuple[Address, list[bytes]]]:
        """Datagrams to send, grouped by destination; what must survive a crash is kept by then."""
        return self.pop.device.poll_transmit()

    def poll_quic(self) -> list[tuple[Address, list[bytes]]]:
        """Datagrams to send from the MASQUE port, grouped by destination."""
        return [] if self.pop.masque is None else self.pop.masque.poll_transmit()

    def poll_streams(self) -> list[StreamOutput]:
        """Bytes for TCP connections of the MASQUE port."""
        return [] if self.pop.masque is None else self.pop.masque.poll_streams()

    def poll_timeout(self) -> float:
        """When ``turn`` is wanted next though nothing came."""
        at = min(self.pop.poll_timeout(), self._housekeeping_at)
        return min(at, self._greeting_at) if self._to_greet else at

    # -- events --

    def _handle_events(self, events: list[Event], now: float) -> None:
        """Runs before the turn's datagrams leave: what a response reveals must already be on disk."""
        if not events:
            return
        changed: dict[bytes, Tunnel] = {}
        for event in events:
            tunnel = event.tunnel
            if self._watch is not None:
                _show_event(self._watch.observer, event, now)
            if isinstance(event, TimestampAdvanced):
                changed[tunnel.remote.public] = tunnel
            elif isinstance(event, EndpointChanged):
                self._moved[tunnel.remote.public] = tunnel
                self._log.debug(
                    "endpoint",
                    tunnel=tunnel.name,
                    endpoint=_told(tunnel.endpoint),
                    before=_told(event.before),
                )
            elif isinstance(event, HandshakeCompleted):
                self._handshake_seconds.observe(event.seconds)
                self._tell_if_up(tunnel, now)
                self._log.debug(
                    "handshake", tunnel=tunnel.name, initiator=event.initiator, seconds=event.seconds
                )
            elif isinstance(event, HandshakeGivenUp):
                self._log.info(
                    "handshake-given-up",
                    tunnel=tunnel.name,
                    endpoint=_told(tunnel.endpoint),
                    dropped=event.dropped,
                )
        if changed:
            self._save(changed.values())

    def _handle_sessions(self, events: list[SessionEvent], now: float) -> None:
        for event in events:
            if isinstance(event, SessionRefused):
                self._refused[event.status, str(event.version)] += 1
                continue
            session, tunnel = event.session, event.session.tunnel
            version, dialect = str(session.carrier.version), str(session.dialect)
            endpoint = _told(session.carrier.peer)
            what = WHAT[type(event)]
            if self._watch is not None and tunnel.owner is not None:
                detail = event.reason if isinstance(event, SessionDown) else f"{version} {dialect}"
                vnet = tunnel.owner.vnet.name
                self._watch.observer.tunnel_changed(now, vnet, tunnel.name, what, detail)
            if isinstance(event, SessionUp):
                if tunnel.current is session:
                    tunnel.owner.link = tunnel
                self._ups += event.first
                if event.first and self._ups <= NAMED_UPS:
                    vnet = tunnel.owner.vnet.name
                    self._log.info(
                        "tunnel-up",
                        tunnel=tunnel.name,
                        vnet=vnet,
                        endpoint=endpoint,
                        http=version,
                        dialect=dialect,
                    )
            elif isinstance(event, SessionDown):
                self._downs += 1
                if self._downs <= NAMED_UPS:
                    self._log.info("session-down", tunnel=tunnel.name, http=version, reason=event.reason)
            elif isinstance(event, SessionSwitched):
                self._ups += 1
                if self._ups <= NAMED_UPS:
                    before = str(event.before)
                    self._log.info(
                        "tunnel-switched", tunnel=tunnel.name, endpoint=endpoint, http=version, before=before
                    )
            else:
                self._log.debug("endpoint", tunnel=tunnel.name, endpoint=endpoint, before=_told(event.before))

    def _tell_if_up(self, tunnel: Tunnel, now: float) -> None:
        """A line when it was down before, not for each new session."""
        key, session = tunnel.remote.public, tunnel.current
        was_up = self._up_until.get(key, now) > now
        if session is not None:
            self._up_until[key] = session.expires_at
        if was_up:
            return
        self._ups += 1
        if self._ups <= NAMED_UPS:
            vnet = tunnel.owner.vnet.name if tunnel.owner is not None else ""
            self._log.info("tunnel-up", tunnel=tunnel.name, vnet=vnet, endpoint=_told(tunnel.endpoint))

    def _tell_of_many(self, now: float) -> None:
        """What may happen a thousand times a second is told as a number."""
        if self._ups > NAMED_UPS:
            self._log.info("more-tunnels-up", tunnels=self._ups - NAMED_UPS)
        if self._downs > NAMED_UPS:
            self._log.info("more-sessions-down", sessions=self._downs - NAMED_UPS)
        self._ups = self._downs = 0
        if self._refused and now >= self._refusals_at:
            self._log.warning(
                "masque-refused",
                requests=self._refused.total(),
                answers=", ".join(f"{status} over {http}" for status, http in sorted(self._refused)),
                fix="a client that was meant: is its token right, and was the PoP reloaded since?",
            )
            self._refused.clear()
            self._refusals_at = now + STRANGERS_PACE
        strangers = self.pop.device.drops[DropReason.UNKNOWN_PEER]
        if strangers > self._strangers and now >= self._strangers_at:
            self._log.warning(
                "unknown-keys",
                handshakes=strangers - self._strangers,
                fix="a peer that was meant: is its public_key right, and was the PoP reloaded since?",
            )
            self._strangers, self._strangers_at = strangers, now + STRANGERS_PACE

    def _tell(self, changes: list[ReplicaChanged], now: float) -> None:
        for replica, before, after in changes:
            tunnel, site = replica.attachment.name, replica.site.name
            if self._watch is not None:
                vnet = replica.attachment.vnet.name
                text = f"{after}, was {before}"
                self._watch.observer.tunnel_changed(now, vnet, tunnel, "replica", text)
            self._log.info("replica", tunnel=tunnel, site=site, state=str(after), before=str(before))

    def _save(self, tunnels: Iterable[Tunnel]) -> None:
        try:
            self._store.save(
                [
                    # An endpoint that nobody answered from is a line of the configuration, which may be corrected.
                    PeerState(t.remote.public, t.endpoint if t.was_heard else None, t.timestamp or None)
                    for t in tunnels
                ],
                clock=self._clock.greatest or None,
            )
        except PoplabError as error:
            # A full disk must not stop forwarding; said once, not per handshake.
            if not self._save_failed:
                self._log.error(
                    "state-not-saved", error=str(error), fix="make room; the next handshake tries again"
                )
            self._save_failed = True
        else:
            self._save_failed = False

    def _periodic(self, now: float) -> None:
        if self._to_greet and now >= self._greeting_at:
            self._greeting_at = now + GREETING_PACE
            self._greet(now)
        if now < self._housekeeping_at:
            return
        self._housekeeping_at = now + HOUSEKEEPING
        self._tell_of_many(now)
        for vnet in self.pop.vnets.values():
            vnet.expire(now)
        if self._moved or self._clock.greatest > self._store.clock:
            moved, self._moved = self._moved, {}
            self._save(moved.values())

    def _greet(self, now: float) -> None:
        device = self.pop.device
        for _ in range(min(GREETINGS, len(self._to_greet))):
            link = self._to_greet.popleft()
            if device.tunnels.get(link.remote.public) is link:  # else a reload has removed it meanwhile
                device.initiate(link, now)

    def _observe(self) -> None:
        """Let the watch see every network that there is now."""
        for vnet in self.pop.vnets.values():
            vnet.watch = self._watch

    def _datagram_drops(self) -> Counter[DropReason]:
        drops = self.pop.device.drops
        return drops if self.pop.masque is None else drops + self.pop.masque.drops

    def _lost(self, tunnel: Tunnel | MasqueTunnel, packets: list[bytearray]) -> None:
        assert self._watch is not None
        for packet in packets:
            self._watch.dropped(tunnel.owner, packet, DropReason.TUNNEL_DOWN)

    def drain(self, now: float) -> None:
        """Say goodbye where the protocol has words for it: clients of MASQUE then dial anew at once."""
        if self.pop.masque is not None:
            self.pop.masque.drain(now)

    def save(self) -> None:
        """Keep everything worth keeping: before a stop."""
        self._save(self.pop.device.tunnels.values())

    # -- for others --

    def reload(self, config: EdgeConfig, now: float) -> None:
        """Change to `config` between two turns: tunnels that keep their keys keep their sessions.

        ConfigError or Refused if it cannot be; then nothing has changed.
        """
        assembly.refuse_if_wrong(config)
        assembly.refuse_restart_only(self.config, config)
        gone = _wireguard_keys(self.config) - _wireguard_keys(config)
        self._reconfigure_masque(config)
        try:
            fresh = assembly.apply(self.pop, config, self._store.load(), self._timer)
        except Exception:
            self._reconfigure_masque(self.config)
            raise
        self._observe()
        for public in gone:
            self._moved.pop(public, None)
            self._up_until.pop(public, None)
        self.config = config
        self.generation += 1
        device = self.pop.device
        for tunnel in fresh:
            device.initiate(device.tunnels[tunnel.public_key], now)
        for link in device.tunnels.values():
            device.keep_alive(link, now)
        try:
            self._store.forget(gone)
        except PoplabError as error:
            # The configuration is in force already; a record too many does no harm.
            self._log.error("state-not-saved", error=str(error), fix="make room; the next reload tries again")

    def _reconfigure_masque(self, config: EdgeConfig) -> None:
        """Refused, with nothing changed, for a certificate that the libraries do not take."""
        if self.pop.masque is None or config.masque is None:
            return
        try:
            self.pop.masque.reconfigure(config.masque)
        except ValueError as error:
            raise Refused(f"masque: the certificate or its key cannot be used: {error}") from error

    def snapshot(self, now: float) -> Snapshot:
        """Everything counted, at one instant. Cheap enough for every scrape; never called per packet."""
        pop = self.pop
        return Snapshot(
            vnets=tuple(self._vnet_snapshot(name) for name in pop.vnets),
            tunnels=tuple(self._tunnel_snapshot(name, now) for name in pop.attachments),
            sites=assembly.site_snapshots(pop),
            datagrams_in=pop.device.datagrams_in + (pop.masque.datagrams_in if pop.masque else 0),
            datagrams_out=pop.device.datagrams_out + (pop.masque.datagrams_out if pop.masque else 0),
            datagram_drops=dict(self._datagram_drops()),
            masque=None if pop.masque is None else pop.masque.snapshot(),
            handshake_seconds=self._handshake_seconds.snapshot(),
            forward_seconds=self._forward_seconds.snapshot(),
            started_at=self._started_at,
            generation=self.generation,
        )

    def active(self, site: str) -> str | None:
        """The tunnel that the packets for a site go to now; None: there is no such site, or no replica is alive."""
        for vnet in self.pop.vnets.values():
            if (found := vnet.sites.get(site)) is not None:
                return None if found.egress is None else found.egress.name
        return None

    def _vnet_snapshot(self, name: str) -> VnetSnapshot:
        vnet = self.pop.vnets[name]
        waiting, died_waiting = self.pop.staged(name)
        drops, held = assembly.drops_of(self.pop, name)
        return VnetSnapshot(
            name=name,
            packets_in=vnet.packets_in,
            bytes_in=vnet.bytes_in,
            packets_generated=vnet.packets_generated,
            packets_out=vnet.packets_out - waiting - died_waiting.total(),
            bytes_out=vnet.bytes_out,
            packets_held=held,
            drops=drops,
            flows=len(vnet.flows),
            flow_limit=vnet.flows.limit,
            rule_hits=_rule_hits(vnet.policy),
        )

    def _tunnel_snapshot(self, name: str, now: float) -> TunnelSnapshot:
        attachment = self.pop.attachments[name]
        link, links = assembly.carrying(attachment, now), attachment.links
        handshakes = sum(each.handshakes for each in links)
        carrier = link.current.carrier if isinstance(link, MasqueTunnel) and link.current else None
        return TunnelSnapshot(
            name=name,
            vnet=attachment.vnet.name,
            kind=attachment.party.kind,
            tunnel="wireguard" if isinstance(link, Tunnel) else "masque",
            http="" if carrier is None else carrier.version,
            up=link.is_up(now),
            handshakes=handshakes,
            handshakes_initiated=sum(e.handshakes_initiated for e in links if isinstance(e, Tunnel)),
            last_handshake_age=now - max(e.last_handshake for e in links) if handshakes else None,
            packets_rx=attachment.packets_in,
            bytes_rx=attachment.bytes_in,
            packets_tx=attachment.packets_out,
            bytes_tx=attachment.bytes_out,
            endpoint=_told(link.endpoint),
        )


def _wireguard_keys(config: EdgeConfig) -> set[bytes]:
    return {t.public_key for t in config.tunnels.values() if t.by_wireguard}


def _show_event(observer: Observer, event: Event, now: float) -> None:
    tunnel = event.tunnel
    vnet: str = tunnel.owner.vnet.name
    if isinstance(event, HandshakeCompleted):
        who = "initiator" if event.initiator else "responder"
        observer.tunnel_changed(now, vnet, tunnel.name, "handshake", f"as {who}, {event.seconds:.6f} s")
    elif isinstance(event, EndpointChanged):
        observer.tunnel_changed(now, vnet, tunnel.name, "endpoint", str(HostPort(tunnel.endpoint or ("", 0))))
    elif isinstance(event, HandshakeGivenUp):
        observer.tunnel_changed(now, vnet, tunnel.name, "handshake-given-up", f"{event.dropped} dropped")


def _told(endpoint: Address | None) -> str:
    """As people write it; empty while it is not known."""
    return str(HostPort(endpoint)) if endpoint else ""


def _rule_hits(policy: Policy) -> dict[tuple[str, str], int]:
    """What has decided, and every rule that may: a rule without hits is an answer, too."""
    hits: dict[tuple[str, str], int] = {(rule.id, rule.action): 0 for rule in policy.rules}
    hits[DEFAULT_RULE, policy.default] = 0
    hits.update(policy.hits)
    return hits


def _sent_before(store: StateStore) -> bytes:
    """The greatest timestamp of an earlier run, empty if there was none."""
    return store.clock if any(store.clock) else b""
