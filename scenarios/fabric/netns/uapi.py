"""The configuration protocol of WireGuard in user space (wireguard.com/xplatform), on the socket of one interface."""

from __future__ import annotations

import os
from pathlib import Path

import trio

from edge.document import HostPort
from edge.errors import FabricUnavailable
from edge.proto.types import Address

LONGEST_ANSWER = 65536


async def configure(
    folder: Path,
    interface: str,
    *,
    private_key: bytes,
    peer: bytes,
    preshared_key: bytes,
    endpoint: Address,
    keepalive: int,
) -> None:
    """One peer, through which everything goes. `folder` is what the program has as /run. OSError if nobody listens
    there, FabricUnavailable if it refuses."""
    lines = [
        f"private_key={private_key.hex()}",
        "replace_peers=true",
        f"public_key={peer.hex()}",
        f"preshared_key={preshared_key.hex()}",
        f"endpoint={HostPort(endpoint)}",
        f"persistent_keepalive_interval={keepalive}",
        "replace_allowed_ips=true",
        "allowed_ip=0.0.0.0/0",
        "allowed_ip=::/0",
    ]
    await _set(folder, interface, lines)


async def keep_alive(folder: Path, interface: str, *, peer: bytes, seconds: int) -> None:
    """So often from now on; 0: never. OSError."""
    lines = [f"public_key={peer.hex()}", "update_only=true", f"persistent_keepalive_interval={seconds}"]
    await _set(folder, interface, lines)


async def _set(folder: Path, interface: str, lines: list[str]) -> None:
    stream = await _open(folder / "wireguard", f"{interface}.sock")
    async with stream:
        try:
            await stream.send_all("\n".join(["set=1", *lines, "", ""]).encode())
            answer = b""
            while not answer.endswith(b"\n\n") and len(answer) < LONGEST_ANSWER:
                more = await stream.receive_some(4096)
                if not more:
                    break
                answer += more
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionResetError(f"{interface}: it has hung up") from error
    if answer.strip() != b"errno=0":
        raise FabricUnavailable(
            f"{interface} refuses its configuration: {answer.decode(errors='replace').strip()}"
        )


async def _open(folder: Path, name: str) -> trio.SocketStream:
    """By the folder's descriptor: the path of a socket has room for 108 bytes (unix(7)), and who knows where it is."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return await trio.open_unix_socket(f"/proc/self/fd/{descriptor}/{name}")
    finally:
        os.close(descriptor)
