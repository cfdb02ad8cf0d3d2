"""From configuration to cores (networks, attachments, peers), and from one configuration to the next.

Everything that can fail is checked first; ``apply`` runs between two turns of the relay without an await, so that no
packet ever sees half a configuration.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from edge.config import MASQUE_MTU, EdgeConfig, Kind, TunnelConfig, VnetConfig, check
from edge.document import Prefix
from edge.errors import ConfigError, Problem, Refused
from edge.metrics import SiteSnapshot
from edge.proto.forwarding import (
    Attachment,
    Forwarder,
    Policy,
    Prober,
    ReplicaChanged,
    ReplicaState,
    VirtualNetwork,
)
from edge.proto.masque.tunnel import MasqueTunnel
from edge.proto.types import Address, DropReason
from edge.proto.wireguard import Device, Tunnel
from edge.server.masque import MasqueFront
from edge.state import PeerState

ADVERTISED = 1024
"""Routes in an advertisement to a MASQUE client; a network that has more is advertised as everything."""


@dataclass(slots=True)
class Pop:
    """All cores of a running PoP."""

    device: Device
    masque: MasqueFront | None
    config: EdgeConfig
    forwarder: Forwarder
    prober: Prober
    vnets: dict[str, VirtualNetwork] = field(default_factory=dict)
    attachments: dict[str, Attachment] = field(default_factory=dict)
    # vnet -> packets that died in tunnels that are gone
    departed: dict[str, Counter[DropReason]] = field(default_factory=dict)

    def staged(self, vnet: str) -> tuple[int, Counter[DropReason]]:
        """(packets that wait in tunnels now, packets that died there) of all tunnels of `vnet`."""
        held = 0
        dead = self.departed.get(vnet, Counter[DropReason]()).copy()
        for attachment in self.vnets[vnet].attachments.values():
            for link in attachment.links:
                held += link.waiting
                dead.update(link.lost)
        return held, dead

    def seal(self, attachment: Attachment, packets: list[bytearray], now: float) -> None:
        """Hand packets to the attachment's tunnel."""
        link = attachment.link if len(attachment.links) == 1 else carrying(attachment, now)
        if isinstance(link, Tunnel):
            self.device.seal(link, packets, now)
        else:
            assert self.masque is not None
            self.masque.server.seal(link, packets)

    def poll_timeout(self) -> float:
        """When ``handle_timeout`` is wanted next."""
        at = min(self.device.next_timeout(), self.prober.next_timeout())
        return at if self.masque is None else min(at, self.masque.next_timeout())

    def handle_timeout(self, now: float) -> None:
        """Do all that is due: the tunnels' timers, and probes of replicas."""
        if self.device.next_timeout() <= now:
            self.device.handle_timeout(now)
        if self.prober.next_timeout() > now:
            return
        for attachment, probe in self.prober.handle_timeout(now):
            if carrying(attachment, now).is_up(now):
                self.forwarder.originate(attachment, probe)
                continue
            for link in attachment.links:
                if isinstance(link, Tunnel) and link.pending is None:
                    self.device.initiate(link, now)  # nothing may wait for a session that may never come

    def poll_changes(self) -> list[ReplicaChanged]:
        """Which replicas took over, came back or went down since the last call."""
        changes = self.prober.poll_changes()
        for replica, before, after in changes:
            if before is ReplicaState.ACTIVE and after is ReplicaState.DOWN:
                for link in replica.attachment.links:
                    if isinstance(link, Tunnel):
                        self.device.drop_staged(link)
        return changes


def carrying(attachment: Attachment, now: float) -> Tunnel | MasqueTunnel:
    """The tunnel that its packets go to: the one that the peer spoke through last, or if that is down another."""
    link: Tunnel | MasqueTunnel = attachment.link
    if link.is_up(now):
        return link
    return next((other for other in attachment.links if other.is_up(now)), link)


def refuse_if_wrong(config: EdgeConfig) -> None:
    """ConfigError with everything that is wrong with a configuration built in code; files are checked on loading."""
    findings = check(config)
    if findings:
        raise ConfigError([Problem(".".join(map(str, f.path)), 0, 0, f.message, f.fix) for f in findings])


def build_policy(config: VnetConfig, timer: Callable[[], float]) -> Policy:
    return Policy(
        config.policy, default=config.default, hooks=config.hooks, hook_budget=config.hook_budget, timer=timer
    )


def apply(
    pop: Pop, config: EdgeConfig, known: dict[bytes, PeerState], timer: Callable[[], float]
) -> list[TunnelConfig]:
    """Bring the cores from ``pop.config`` to `config` in one step; returns the tunnels that are to be greeted.

    `config` is valid (loaded from files or passed by ``refuse_if_wrong``). A tunnel that keeps its keys keeps its
    session, whatever else changes about it.
    """
    old = pop.config.tunnels if pop.attachments else {}
    before = {tunnel.identity: tunnel for tunnel in old.values()}
    after = {tunnel.identity: tunnel for tunnel in config.tunnels.values()}
    policies = {name: build_policy(vnet, timer) for name, vnet in config.vnets.items()}
    for tunnel in config.tunnels.values():
        if tunnel.by_wireguard and tunnel.public_key not in pop.device.tunnels:
            pop.device.check_peer(tunnel.public_key, tunnel.preshared_key)
    # From here on nothing can fail.
    for link in pop.device.tunnels.values():
        pop.device.drop_staged(link)  # what waits for a handshake was decided under the old configuration
    in_use = {tunnel.identity: pop.attachments[name].link for name, tunnel in old.items()}
    for tunnel in old.values():
        new = after.get(tunnel.identity)
        if new != tunnel or config.vnets[tunnel.vnet].mtu != pop.config.vnets[tunnel.vnet].mtu:
            _detach(pop, tunnel, keep_peer=new is not None and _credentials(new) == _credentials(tunnel))
    for name in [name for name in pop.vnets if name not in config.vnets]:
        del pop.vnets[name]
        pop.departed.pop(name, None)  # a network of that name that comes later counts from 0
    for name, vnet in config.vnets.items():
        _set_vnet(pop, vnet, policies[name])
    fresh = []
    for name, tunnel in config.tunnels.items():
        if name not in pop.attachments:
            was = before.get(tunnel.identity)
            if _attach(
                pop, config.vnets[tunnel.vnet], tunnel, known, was.endpoint if was is not None else None
            ):
                fresh.append(tunnel)
            attachment = pop.attachments[name]
            if (used := in_use.get(tunnel.identity)) in attachment.links:
                attachment.link = used  # where the peer has spoken last
    for name in config.vnets:
        _advertise(pop, config, name)
    pop.prober.watch([site for vnet in pop.vnets.values() for site in vnet.sites.values()], config.probe)
    pop.config = config
    return fresh


def refuse_restart_only(old: EdgeConfig, new: EdgeConfig) -> None:
    """Some things cannot change under a running PoP."""
    for word, before, after in (
        ("listen.wireguard", old.listen, new.listen),
        ("listen.masque", old.masque and old.masque.listen, new.masque and new.masque.listen),
        ("masque.http2", old.masque and old.masque.http2, new.masque and new.masque.http2),
        ("masque.keylog_file", old.masque and old.masque.keylog, new.masque and new.masque.keylog),
        ("listen.metrics", old.metrics, new.metrics),
        ("private_key_file", old.private_key, new.private_key),
        ("state", old.state, new.state),
    ):
        if before != after:
            raise Refused(f"{word} changed: that needs a restart; the running configuration stays as it is")


def _set_vnet(pop: Pop, config: VnetConfig, policy: Policy) -> None:
    vnet = pop.vnets.get(config.name)
    if vnet is None:
        vnet = pop.vnets[config.name] = VirtualNetwork(
            config.name, policy, gateway4=config.gateway4, gateway6=config.gateway6
        )
        vnet.set_pools(config.pools)
        return
    vnet.set_pools(config.pools)
    vnet.gateway4, vnet.gateway6 = config.gateway4, config.gateway6
    policy.hits.update(vnet.policy.hits)  # counters go on
    vnet.set_policy(policy)


def _attach(
    pop: Pop,
    vnet: VnetConfig,
    tunnel: TunnelConfig,
    known: dict[bytes, PeerState],
    endpoint_before: Address | None,
) -> bool:
    """True if the peer is to be greeted: it is new, or its endpoint was written into the configuration just now."""
    of_site = tunnel.kind is Kind.CONNECTOR and bool(tunnel.site and tunnel.routes)
    own = [Prefix.of(address) for address in tunnel.addresses] if of_site else tunnel.prefixes
    mtu = min(vnet.mtu, MASQUE_MTU) if tunnel.by_masque else vnet.mtu
    attachment = Attachment(tunnel.party, pop.vnets[vnet.name], _plain(own), mtu)
    fresh = False
    if tunnel.by_masque:
        attachment.links.append(_masque_link(pop, tunnel))
    if tunnel.by_wireguard:
        wireguard, fresh = _wireguard_link(pop, mtu, tunnel, known, endpoint_before)
        attachment.links.append(wireguard)
    for link in attachment.links:
        link.name = tunnel.name
        link.owner = attachment
    attachment.link = attachment.links[0]
    attachment.vnet.attach(attachment)
    if of_site:
        attachment.vnet.join(
            attachment,
            tunnel.site,
            _plain(tunnel.routes),
            address=next(iter(tunnel.addresses), None),
            preference=tunnel.preference,
        )
    pop.attachments[tunnel.name] = attachment
    return fresh


def _wireguard_link(
    pop: Pop,
    mtu: int,
    tunnel: TunnelConfig,
    known: dict[bytes, PeerState],
    endpoint_before: Address | None,
) -> tuple[Tunnel, bool]:
    """The peer, and whether it is to be greeted."""
    link = pop.device.tunnels.get(tunnel.public_key)
    fresh = link is None
    if link is None:
        state = known.get(tunnel.public_key)
        link = pop.device.add_peer(
            tunnel.name,
            tunnel.public_key,
            psk=tunnel.preshared_key,
            endpoint=(state.endpoint if state is not None and state.endpoint else tunnel.endpoint),
            persistent_keepalive=tunnel.keepalive,
            timestamp=(state.timestamp if state is not None and state.timestamp else b""),
            mtu=mtu,
        )
    elif tunnel.endpoint is not None and tunnel.endpoint != endpoint_before:
        # As with `wg set`: what was written just now counts; a peer that is elsewhere moves us with its next packet.
        link.endpoint = tunnel.endpoint
        fresh = True
    link.mtu = mtu
    link.set_persistent_keepalive(tunnel.keepalive)
    return link, fresh


def _masque_link(pop: Pop, tunnel: TunnelConfig) -> MasqueTunnel:
    assert pop.masque is not None, "the configuration was checked"
    server = pop.masque.server
    link = server.tunnels.get(tunnel.token_sha256 or tunnel.client_key)
    if link is None:
        link = MasqueTunnel(tunnel.name, token_sha256=tunnel.token_sha256, client_key=tunnel.client_key)
        server.add_tunnel(link)
    return link


def _credentials(tunnel: TunnelConfig) -> tuple[bytes | None, ...]:
    """With other ones, a peer has to prove anew who it is."""
    return tunnel.public_key, tunnel.preshared_key, tunnel.token_sha256, tunnel.client_key


def _advertise(pop: Pop, config: EdgeConfig, vnet: str) -> None:
    """Tell MASQUE tunnels of a network which addresses they are assigned, and what can be reached in it."""
    tunnels = [t for t in config.tunnels.values() if t.vnet == vnet]
    if not any(t.by_masque for t in tunnels):
        return
    assert pop.masque is not None, "the configuration was checked"
    shared = sorted({*config.vnets[vnet].pools, *(route for t in tunnels for route in t.routes)})
    everything = _plain((Prefix.parse("0.0.0.0/0"), Prefix.parse("::/0")))
    for_clients = _plain(shared) if len(shared) <= ADVERTISED else everything
    for tunnel in tunnels:
        if not tunnel.by_masque:
            continue
        routes, own = for_clients, frozenset(tunnel.routes)
        if own:
            many = len(shared) - len(own) > ADVERTISED
            routes = everything if many else _plain(route for route in shared if route not in own)
        pop.masque.server.configure(_masque_link(pop, tunnel), tunnel.addresses, routes)


def _plain(prefixes: Iterable[Prefix]) -> tuple[tuple[bytes, int], ...]:
    return tuple((prefix.network, prefix.length) for prefix in prefixes)


def _detach(pop: Pop, tunnel: TunnelConfig, *, keep_peer: bool) -> None:
    attachment = pop.attachments.pop(tunnel.name)
    vnet = attachment.vnet
    vnet.detach(attachment)
    lost = pop.departed.setdefault(vnet.name, Counter())
    for link in attachment.links:
        if isinstance(link, MasqueTunnel):
            # Also if it stays: what waits was decided under the old configuration, perhaps in another network.
            lost.update(link.settle())
            if not keep_peer:
                assert pop.masque is not None
                pop.masque.server.remove_tunnel(link)
        else:
            if not keep_peer:
                pop.device.remove_peer(tunnel.public_key)
            lost.update(link.lost)
            link.staged_dropped = 0


def drops_of(pop: Pop, name: str) -> tuple[dict[DropReason, int], int]:
    """(drops by reason, packets held) of a virtual network, the tunnels' own included."""
    vnet = pop.vnets[name]
    held, dead = pop.staged(name)
    return dict(vnet.drops + dead), held + vnet.packets_held


def site_snapshots(pop: Pop) -> tuple[SiteSnapshot, ...]:
    """The sites that have replicas."""
    return tuple(
        SiteSnapshot(
            site.name,
            vnet.name,
            active="" if site.active is None else site.active.attachment.name,
            failovers=vnet.failovers[site.name],
            replicas={replica.attachment.name: replica.state for replica in site.replicas},
            rtt={r.attachment.name: r.rtt for r in site.replicas if r.rtt is not None},
        )
        for vnet in pop.vnets.values()
        for site in vnet.sites.values()
        if len(site.replicas) > 1
    )
