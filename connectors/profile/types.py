"""A far end's own configuration, whatever file it came from."""

from __future__ import annotations

from dataclasses import dataclass, field

from connectors.proto.interface_plan import HostAddress
from connectors.proto.split_tunnel import Network
from connectors.ways import DEFAULT_PATH, TunnelWord
from edge.config import Kind
from edge.document import HostPort


@dataclass(frozen=True, slots=True)
class WireGuardServer:
    """The PoP as a WireGuard peer; keys are 32 bytes, `keepalive` seconds or None."""

    server: HostPort
    public_key: bytes
    private_key: bytes = field(repr=False)
    preshared_key: bytes | None = field(default=None, repr=False)
    keepalive: float | None = None
    listen_port: int = 0


@dataclass(frozen=True, slots=True)
class MasqueServer:
    """The PoP as a MASQUE server; `authority` is PEM, empty for those of the system."""

    server: HostPort
    server_name: str
    token: bytes = field(repr=False)
    path: str = DEFAULT_PATH
    http2: bool = True
    authority: bytes = b""


@dataclass(frozen=True, slots=True)
class Profile:
    """`kind` is None where the file does not tell. `reaches` is what lies behind the PoP; None: it tells by itself."""

    name: str
    kind: Kind | None
    tunnel: TunnelWord
    addresses: tuple[HostAddress, ...]
    mtu: int
    serves: tuple[Network, ...] = ()
    reaches: tuple[Network, ...] | None = None
    wireguard: WireGuardServer | None = None
    masque: MasqueServer | None = None

    @property
    def servers(self) -> tuple[HostPort, ...]:
        """What is dialled."""
        both = (self.masque, self.wireguard)
        return tuple(dict.fromkeys(each.server for each in both if each is not None))
