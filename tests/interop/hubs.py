"""The machine in the middle, seen from outside: our PoP, or wireguard-go as the yardstick.

Both take clients before they start, listen where they are told, and can be killed and started again with the
same key. Nothing here knows what is inside: a test that passes on one and fails on the other found a
difference.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.interop.namespaces import wait_for

if TYPE_CHECKING:
    from tests.interop.namespaces import Namespace, Process

REPOSITORY = Path(__file__).resolve().parents[2]
POOL = ipaddress.IPv4Network("100.96.0.0/16")
POOL6 = ipaddress.IPv6Network("fd00:96::/64")


@dataclass(frozen=True)
class Attachment:
    """One peer as a hub must know it. Keys are base64, as in every WireGuard file."""

    name: str
    public_key: str
    addresses: tuple[str, ...]
    preshared_key: str = ""


class Hub(Protocol):
    process: Process
    public_key: str
    restores_sessions: bool
    flood_memory_kb: int

    def add_client(self, name: str, *, psk: bool = False) -> str:
        """Configure one more peer; answers the wg-quick file for its owner."""

    def add_peers(self, peers: list[Attachment]) -> None: ...

    def start(self) -> None: ...

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None: ...


class WireguardGoHub:
    """wireguard-go as a hub: its TUN device has the pool's prefix; the kernel sends A's packets back to B."""

    flood_memory_kb = 40_000  # it queues up to 4096 handshakes
    restores_sessions = False  # it keeps no state: peers must notice by themselves, after 15 s at best

    def __init__(self, space: Namespace, directory: Path, listen: tuple[str, int], **placement: int) -> None:
        self._space, self._directory, self._listen, self._placement = space, directory, listen, placement
        self._interface = f"wg-{os.urandom(4).hex()}"
        private = X25519PrivateKey.generate()
        self._private_key = encode(private.private_bytes_raw())
        self.public_key = encode(private.public_key().public_bytes_raw())
        self._peers: list[Attachment] = []
        self._prefixes = ("100.96.0.1/12", "fd00:96::1/64")

    def add_client(self, name: str, *, psk: bool = False) -> str:
        number = len(self._peers) + 2
        private = X25519PrivateKey.generate()
        addresses = (f"{POOL[number]}/32", f"{POOL6[number]}/128")
        shared = encode(os.urandom(32)) if psk else ""
        self._peers.append(
            Attachment(name, encode(private.public_key().public_bytes_raw()), addresses, shared)
        )
        lines = [
            "[Interface]",
            f"PrivateKey = {encode(private.private_bytes_raw())}",
            f"Address = {', '.join(addresses)}",
            "MTU = 1420",
            "[Peer]",
            f"PublicKey = {self.public_key}",
            *([f"PresharedKey = {shared}"] if shared else []),
            f"Endpoint = {self._listen[0]}:{self._listen[1]}",
            f"AllowedIPs = {POOL}, {POOL6}",
            "PersistentKeepalive = 25",
        ]
        return "\n".join(lines) + "\n"

    def add_peers(self, peers: list[Attachment]) -> None:
        self._peers += peers

    def start(self) -> None:
        space, interface = self._space, self._interface
        # -f keeps it in the foreground, so that its process id is the one we measure and kill
        self.process = space.start(
            "wireguard-go", "-f", interface, log=self._directory / "wireguard-go.log", **self._placement
        )
        device_up(space, interface, self.process)
        space.run("wg", "setconf", interface, "/dev/stdin", text=self._setconf())
        for prefix in self._prefixes:
            space.ip("address", "add", prefix, "dev", interface)
        space.ip("link", "set", interface, "mtu", "1420", "up")
        space.sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)
        # in and out by the same device is what a hub does: no redirects, which would cost it time
        space.sysctl(ipv4__conf__all__send_redirects=0, **{f"ipv4__conf__{interface}__send_redirects": 0})
        space.sysctl(ipv4__conf__all__rp_filter=0)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.process.stop(how)

    def _setconf(self) -> str:
        lines = ["[Interface]", f"PrivateKey = {self._private_key}", f"ListenPort = {self._listen[1]}"]
        for peer in self._peers:
            lines += ["[Peer]", f"PublicKey = {peer.public_key}", f"AllowedIPs = {', '.join(peer.addresses)}"]
            if peer.preshared_key:
                lines.append(f"PresharedKey = {peer.preshared_key}")
        return "\n".join(lines) + "\n"


def device_up(space: Namespace, interface: str, process: Process) -> None:
    """Wait until wireguard-go answers on its control socket."""

    def answers() -> bool:
        assert process.alive, f"wireguard-go ended: {process.output()}"
        return interface in space.run("wg", "show", "interfaces").split()

    wait_for(answers, f"wireguard-go {interface}")


def encode(key: bytes) -> str:
    return base64.b64encode(key).decode()
