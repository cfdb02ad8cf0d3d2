"""What a tunnel shows to be let in: a WireGuard key, or for MASQUE a token or a certificate's key."""

from __future__ import annotations

from collections.abc import Iterator

from edge.config.certificates import is_ecdsa_key
from edge.config.finding import Finding
from edge.config.keys import public_key
from edge.config.types import EdgeConfig, TunnelConfig
from edge.document import Path

KEY_SIZE = 32
DIGEST_SIZE = 32

# RFC 7748 section 6.1: with these the shared secret is zero whatever the private key.
# Seven encodings, the top bit ignored.
_P = 2**255 - 19
_ORDER_8 = (
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)
LOW_ORDER = frozenset(n.to_bytes(32, "little") for n in (0, 1, *_ORDER_8, _P - 1, _P, _P + 1))


def check_credentials(config: EdgeConfig, command: str) -> Iterator[Finding]:
    """What is missing, malformed, of the other kind, or another tunnel's, too."""
    own = public_key(config.private_key)
    seen: dict[tuple[str, bytes], TunnelConfig] = {}
    for tunnel in config.tunnels.values():
        wrong = [
            *(_wireguard(tunnel, own) if tunnel.by_wireguard else ()),
            *(_masque(tunnel, command) if tunnel.by_masque else ()),
        ]
        yield from wrong
        if not wrong:
            yield from _shared(tunnel, seen)


def _wireguard(tunnel: TunnelConfig, own: bytes) -> Iterator[Finding]:
    path: Path = ("tunnels", tunnel.name, "public_key")
    key = tunnel.public_key
    for word, value in (("token_sha256", tunnel.token_sha256), ("client_key", tunnel.client_key)):
        if value and not tunnel.by_masque:
            yield Finding(
                (*path[:-1], word), f"`{word}` is of MASQUE tunnels", "`tunnel: masque`, or delete it"
            )
    if tunnel.preshared_key is not None and len(tunnel.preshared_key) != KEY_SIZE:
        yield Finding((*path[:-1], "preshared_key_file"), "a preshared key has 32 bytes", "`wg genpsk`")
    if not key:
        yield Finding(
            path,
            f"a {'tunnel that may come by WireGuard' if tunnel.by_masque else 'WireGuard tunnel'} "
            "without `public_key`",
            "write what `wg pubkey` prints, or `tunnel: masque`",
        )
    elif len(key) != KEY_SIZE:
        yield Finding(path, "a public key has 32 bytes", "write what `wg pubkey` prints")
    elif key == own:
        yield Finding(
            path, "this is the PoP's own public key", "write the peer's: `wg pubkey < its private key`"
        )
    elif key[:31] + bytes([key[31] & 0x7F]) in LOW_ORDER:
        yield Finding(
            path, "a low-order point, with which no secret can be agreed", "generate a new key pair"
        )
    elif int.from_bytes(key, "little") >= _P:
        # RFC 7748 section 5 would accept it, but keys are hashed as bytes: no handshake could succeed.
        yield Finding(
            path,
            "not the canonical encoding of a public key: no peer can have it",
            "write the key as `wg pubkey < its private key` prints it",
        )


def _masque(tunnel: TunnelConfig, command: str) -> Iterator[Finding]:
    path: Path = ("tunnels", tunnel.name)
    for word, value, instead in (
        ("public_key", tunnel.public_key or None, "`token_sha256` or `client_key` lets a client in"),
        ("preshared_key_file", tunnel.preshared_key, "TLS is all the cryptography there is"),
        ("endpoint", tunnel.endpoint, "the client dials, the PoP never does"),
        ("keepalive", tunnel.keepalive, "the client keeps its connection alive; see `masque.idle_timeout`"),
    ):
        if value is not None and not tunnel.by_wireguard:
            yield Finding((*path, word), f"`{word}` is of WireGuard tunnels", f"delete it: {instead}")
    if not tunnel.token_sha256 and not tunnel.client_key and tunnel.by_wireguard:
        yield Finding(
            path,
            "`tunnel: auto`, but what it shows opens no session of MASQUE",
            "`token_sha256` or `client_key`, or `tunnel: wireguard`",
        )
    elif not tunnel.token_sha256 and not tunnel.client_key:
        verb = f"`{command} add-{tunnel.kind} NAME --tunnel masque`" if command else "enrolment"
        yield Finding(
            path,
            "a MASQUE tunnel that nothing opens",
            f"`token_sha256`, or `client_key` for the WARP dialect; {verb} makes either",
        )
    if tunnel.token_sha256 and len(tunnel.token_sha256) != DIGEST_SIZE:
        yield Finding((*path, "token_sha256"), "a SHA-256 has 32 bytes", "`printf %s TOKEN | sha256sum`")
    if tunnel.client_key and not is_ecdsa_key(tunnel.client_key):
        yield Finding(
            (*path, "client_key"),
            "not the ECDSA key of a client's certificate",
            "write what `openssl pkey -in KEY -pubout -outform DER | base64 -w0` prints for an EC key",
        )


def _shared(tunnel: TunnelConfig, seen: dict[tuple[str, bytes], TunnelConfig]) -> Iterator[Finding]:
    """Whoever shows it would be two."""
    for word, what, value in (
        ("public_key", "public key", tunnel.public_key),
        ("token_sha256", "token", tunnel.token_sha256),
        ("client_key", "client key", tunnel.client_key),
    ):
        if value and (other := seen.setdefault((word, value), tunnel)) is not tunnel:
            yield Finding(
                ("tunnels", tunnel.name, word),
                f"tunnels {other.name!r} (vnet {other.vnet}) and {tunnel.name!r} (vnet {tunnel.vnet}) "
                f"have the same {what}",
                f"a {what.rpartition(' ')[2]} is one tunnel: generate another",
                ("tunnels", other.name, word),
            )
