"""From configuration to cores (networks, attachments, peers), and from one configuration to the next.

Everything that can fail is checked first; ``apply`` runs between two turns of the relay without an await, so that no
packet ever sees half a configuration.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from edge.config import EdgeConfig, Kind, TunnelConfig, VnetConfig, check
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
from edge.proto.types import Address, DropReason
from edge.proto.wireguard import Device
from edge.state import PeerState


@dataclass(slots=True)
class Pop:
    """All cores of a running PoP."""

    device: Device
    config: EdgeConfig
    forwarder: Forwarder
    prober: Prober
    vnets: dict[str, VirtualNetwork] = field(default_factory=dict)
    attachments: dict[str, Attachment] = field(default_factory=dict)
    # vnet -> packets that died waiting in tunnels that are gone
    departed: Counter[str] = field(default_factory=Counter)

    def staged(self, vnet: str) -> tuple[int, int]:
        """(waiting for a handshake now, died waiting) of all tunnels of `vnet`."""
        held = 0
        dead = self.departed[vnet]
        for attachment in self.vnets[vnet].attachments.values():
            held += len(attachment.link.staged)
            dead += attachment.link.staged_dropped
        return held, dead

    def poll_timeout(self) -> float:
        """When ``handle_timeout`` is wanted next."""
        return min(self.device.next_timeout(), self.prober.next_timeout())

    def handle_timeout(self, now: float) -> None:
        """Do all that is due: the tunnels' timers, and probes of replicas."""
        if self.device.next_timeout() <= now:
            self.device.handle_timeout(now)
        if self.prober.next_timeout() > now:
            return
        for attachment, probe in self.prober.handle_timeout(now):
            link = attachment.link
            if link.is_up(now):
                self.forwarder.originate(attachment, probe)
            elif link.pending is None:
                self.device.initiate(link, now)  # nothing may wait for a session that may never come

    def poll_changes(self) -> list[ReplicaChanged]:
        """Which replicas took over, came back or went down since the last call."""
        changes = self.prober.poll_changes()
        for replica, before, after in changes:
            if before is ReplicaState.ACTIVE and after is ReplicaState.DOWN:
                self.device.drop_staged(replica.attachment.link)
        return changes


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
    before = {tunnel.public_key: tunnel for tunnel in old.values()}
    after = {tunnel.public_key: tunnel for tunnel in config.tunnels.values()}
    policies = {name: build_policy(vnet, timer) for name, vnet in config.vnets.items()}
    for tunnel in config.tunnels.values():
        if tunnel.public_key not in pop.device.tunnels:
            pop.device.check_peer(tunnel.public_key, tunnel.preshared_key)
    # From here on nothing can fail.
    for link in pop.device.tunnels.values():
        pop.device.drop_staged(link)  # what waits for a handshake was decided under the old configuration
    for tunnel in old.values():
        new = after.get(tunnel.public_key)
        if new != tunnel or config.vnets[tunnel.vnet].mtu != pop.config.vnets[tunnel.vnet].mtu:
            _detach(pop, tunnel, keep_peer=new is not None and new.preshared_key == tunnel.preshared_key)
    for name in [name for name in pop.vnets if name not in config.vnets]:
        del pop.vnets[name]
        pop.departed.pop(name, None)  # a network of that name that comes later counts from 0
    for name, vnet in config.vnets.items():
        _set_vnet(pop, vnet, policies[name])
    fresh = []
    for name, tunnel in config.tunnels.items():
        if name not in pop.attachments:
            was = before.get(tunnel.public_key)
            if _attach(
                pop, config.vnets[tunnel.vnet], tunnel, known, was.endpoint if was is not None else None
            ):
                fresh.append(tunnel)
    pop.prober.watch([site for vnet in pop.vnets.values() for site in vnet.sites.values()], config.probe)
    pop.config = config
    return fresh


def refuse_restart_only(old: EdgeConfig, new: EdgeConfig) -> None:
    """Some things cannot change under a running PoP."""
    for word, before, after in (
        ("listen.wireguard", old.listen, new.listen),
        ("listen.masque", old.masque and old.masque.listen, new.masque and new.masque.listen),
        ("masque.http2", old.masque and old.masque.http2, new.masque and new.masque.http2),
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
    attachment = Attachment(tunnel.party, pop.vnets[vnet.name], _plain(own), vnet.mtu)
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
            mtu=vnet.mtu,
        )
    elif tunnel.endpoint is not None and tunnel.endpoint != endpoint_before:
        # As with `wg set`: what was written just now counts; a peer that is elsewhere moves us with its next packet.
        link.endpoint = tunnel.endpoint
        fresh = True
    link.name = tunnel.name
    link.mtu = vnet.mtu
    link.set_persistent_keepalive(tunnel.keepalive)
    link.owner = attachment
    attachment.link = link
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


def _plain(prefixes: Iterable[Prefix]) -> tuple[tuple[bytes, int], ...]:
    return tuple((prefix.network, prefix.length) for prefix in prefixes)


def _detach(pop: Pop, tunnel: TunnelConfig, *, keep_peer: bool) -> None:
    attachment = pop.attachments.pop(tunnel.name)
    vnet = attachment.vnet
    vnet.detach(attachment)
    link = attachment.link
    if not keep_peer:
        pop.device.remove_peer(tunnel.public_key)
    pop.departed[vnet.name] += link.staged_dropped
    link.staged_dropped = 0


def drops_of(pop: Pop, name: str) -> tuple[dict[DropReason, int], int]:
    """(drops by reason, packets held) of a virtual network, the tunnels' own included."""
    vnet = pop.vnets[name]
    held, dead = pop.staged(name)
    drops = dict(vnet.drops)
    if dead:
        drops[DropReason.TUNNEL_DOWN] = drops.get(DropReason.TUNNEL_DOWN, 0) + dead
    return drops, held + vnet.packets_held


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
