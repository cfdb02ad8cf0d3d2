"""A site's connector: the virtual router between the PoP and a LAN."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network

from connectors.dialer import Dialer
from connectors.endpoint import Endpoint, OpenStreams
from connectors.proto import PacketSide, SiteRouter
from connectors.proto.site_router import NO_LIMIT
from connectors.ways import MasqueTarget, TunnelWord
from edge.io.driver import Port
from edge.io.udp import UdpPort
from edge.proto.types import Address


class Connector(Endpoint):
    """Routes `routes`, the prefixes of the site, to the hosts of `lan` and back; true addresses both ways.

    `on_lan` are its own addresses on the LAN, `addresses` those in the virtual network: see ``SiteRouter``.
    """

    def __init__(
        self,
        name: str,
        private_key: bytes,
        pop_public: bytes,
        pop: Address,
        lan: PacketSide,
        routes: list[IPv4Network | IPv6Network],
        *,
        on_lan: Sequence[bytes] = (),
        addresses: Sequence[bytes] = (),
        mtu: int = NO_LIMIT,
        psk: bytes | None = None,
        keepalive: float | None = 25.0,
        tunnel: TunnelWord = "wireguard",
        masque: MasqueTarget | None = None,
        bind: Address | None = None,
        open_port: Callable[[Address], Port] = UdpPort.bind,
        open_streams: OpenStreams = Dialer,
        rng: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.router = SiteRouter(lan, routes, on_lan=on_lan, addresses=addresses, mtu=mtu)
        super().__init__(
            name,
            private_key,
            pop_public,
            pop,
            self.router,
            psk=psk,
            keepalive=keepalive,
            tunnel=tunnel,
            masque=masque,
            bind=bind,
            open_port=open_port,
            open_streams=open_streams,
            rng=rng,
        )
