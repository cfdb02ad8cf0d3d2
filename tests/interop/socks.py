"""UDP through a SOCKS proxy (RFC 1928 section 7), as much of it as a test needs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address

import trio

ANSWER = 8.0  # seconds for one answer: the first has the making of a tunnel before it
FAMILIES = {4: 1, 6: 4}  # ATYP


class Association:
    """Datagrams of one UDP socket, by way of the proxy."""

    def __init__(self, sock: trio.socket.SocketType, target: tuple[str, int]) -> None:
        address = ip_address(target[0])
        self._header = bytes((0, 0, 0, FAMILIES[address.version])) + address.packed + target[1].to_bytes(2)
        self._sock = sock

    async def ask(self, payload: bytes, patience: float = ANSWER) -> bytes | None:
        """What came back for it; None if nothing did."""
        await self._sock.send(self._header + payload)
        with trio.move_on_after(patience):
            answer = await self._sock.recv(65535)
            assert answer.startswith(self._header), answer[:32]
            return answer[len(self._header) :]
        return None

    async def echoed(self, *payloads: bytes) -> None:
        """Each comes back before the next one goes."""
        for number, payload in enumerate(payloads):
            answer = await self.ask(payload)
            assert answer is not None, f"no answer to datagram {number} of {len(payloads)} bytes"
            assert answer == payload


@asynccontextmanager
async def associate(proxy: tuple[str, int], target: tuple[str, int]) -> AsyncIterator[Association]:
    """UDP from a socket of its own to `target`."""
    with trio.fail_after(ANSWER):
        control = await trio.open_tcp_stream(*proxy)
    async with control:
        with trio.fail_after(ANSWER):
            await control.send_all(b"\5\1\0")
            assert await control.receive_some(2) == b"\5\0"
            await control.send_all(b"\5\3\0\1" + bytes(6))
            answer = await control.receive_some(64)
        assert answer[:4] == b"\5\0\0\1", answer
        relay = (str(ip_address(answer[4:8])), int.from_bytes(answer[8:10]))
        with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as sock:
            await sock.connect(relay)
            yield Association(sock, target)
