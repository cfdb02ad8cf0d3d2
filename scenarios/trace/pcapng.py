"""Packets for Wireshark (draft-ietf-opsawg-pcapng): decrypted, one interface per vantage point and network.

Wireshark shows the comment of each packet, and ``frame.comment`` filters by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from struct import Struct

from scenarios.trace.place import OutputFile

LINKTYPE_RAW = 101
"""Packets begin with an IPv4 or IPv6 header."""
MODE = 0o600
MOST_BYTES = 1 << 30
COMMENT_BYTES = 500
BUFFER = 1 << 16

_BLOCK = Struct("<II")
_SECTION = Struct("<IHHq")
_INTERFACE = Struct("<HHI")
_PACKET = Struct("<IIIII")
_OPTION = Struct("<HH")
_SHB, _IDB, _EPB = 0x0A0D0D0A, 1, 6
_MAGIC = 0x1A2B3C4D
_COMMENT, _NAME, _FLAGS, _DESCRIPTION, _APPLICATION, _RESOLUTION = 1, 2, 2, 3, 4, 9
_INBOUND, _OUTBOUND = 1, 2
_NANOSECONDS = 9
_SNAPLEN = 1 << 18


class Capture:
    """`edges`: virtual networks seen at the PoP; `connectors` and `hosts`: name -> network.

    It ends by itself at a cap or an error.
    """

    def __init__(
        self,
        file: OutputFile,
        *,
        edges: Iterable[str],
        hosts: Mapping[str, str],
        connectors: Mapping[str, str],
        program: str,
        most_packets: int,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self.epoch = 0.0
        """Unix time of the time 0."""
        self.packets = 0
        self.left_out = 0
        """Packets that came after the end."""
        self.unseen = 0
        """Packets of which the kernel had no copy for us."""
        self.why = ""
        """It ended early because of that."""
        self._file = file
        self._most_packets = most_packets
        self._most_bytes = most_bytes
        self._edges: dict[str, int] = {}
        self._connectors: dict[str, int] = {}
        self._hosts: dict[str, int] = {}
        body = _SECTION.pack(_MAGIC, 1, 0, -1) + _option(_APPLICATION, program.encode()) + _option(0, b"")
        self._blocks = [_block(_SHB, body)]
        self._buffered = 0
        for vnet in edges:
            self._edges[vnet] = self._add_interface(f"edge:{vnet}", f"the PoP, virtual network {vnet}")
        for name, vnet in connectors.items():
            about = f"the tunnel of the connector {name}, virtual network {vnet}"
            self._connectors[name] = self._add_interface(f"{name}:{vnet}", about)
        for name, vnet in hosts.items():
            self._hosts[name] = self._add_interface(f"{name}:{vnet}", f"{name}, virtual network {vnet}")
        self._flush()

    def edge(self, vnet: str) -> int | None:
        """The interface of the PoP in `vnet`; None if it is not captured there."""
        return self._edges.get(vnet)

    def connector(self, name: str) -> int | None:
        return self._connectors.get(name)

    def host(self, name: str) -> int | None:
        return self._hosts.get(name)

    def packet(self, interface: int, at: float, packet: bytes, comment: str, *, inbound: bool) -> None:
        """`at` is seconds since the run began."""
        if self.why:
            self.left_out += 1
            return
        stamp = int(self.epoch) * 1_000_000_000 + round((at + self.epoch % 1.0) * 1e9)
        body = _PACKET.pack(interface, stamp >> 32, stamp & 0xFFFFFFFF, len(packet), len(packet))
        flags = _INBOUND if inbound else _OUTBOUND
        options = (
            _option(_COMMENT, _cut(comment)) + _option(_FLAGS, flags.to_bytes(4, "little")) + _option(0, b"")
        )
        block = _block(_EPB, body + _padded(packet) + options)
        if self.packets >= self._most_packets:
            self.why = f"it has {self._most_packets:,} packets"
        elif self._file.size + self._buffered + len(block) > self._most_bytes:
            self.why = f"it has {self._most_bytes >> 20} MiB"
        else:
            self.packets += 1
            self._blocks.append(block)
            self._buffered += len(block)
            if self._buffered >= BUFFER:
                self._flush()
            return
        self.left_out += 1

    def close(self) -> None:
        self._flush()
        self._file.close()

    def _add_interface(self, name: str, description: str) -> int:
        body = (
            _INTERFACE.pack(LINKTYPE_RAW, 0, _SNAPLEN)
            + _option(_NAME, name.encode())
            + _option(_DESCRIPTION, description.encode())
            + _option(_RESOLUTION, bytes([_NANOSECONDS]))
            + _option(0, b"")
        )
        self._blocks.append(_block(_IDB, body))
        return len(self._edges) + len(self._connectors) + len(self._hosts)

    def _flush(self) -> None:
        packets = sum(1 for block in self._blocks if block[0] == _EPB)
        if self._blocks and not self._file.write(b"".join(self._blocks)):
            self.why = self.why or f"{self._file.path}: {self._file.error}"
            self.packets -= packets
            self.left_out += packets
        self._blocks = []
        self._buffered = 0


def _block(kind: int, body: bytes) -> bytes:
    length = len(body) + 12
    return _BLOCK.pack(kind, length) + body + length.to_bytes(4, "little")


def _option(code: int, value: bytes) -> bytes:
    return _OPTION.pack(code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _cut(text: str) -> bytes:
    """UTF-8 in bounds, never in the middle of a character."""
    data = text.encode("utf-8", "replace")
    return data if len(data) <= COMMENT_BYTES else data[:COMMENT_BYTES].decode("utf-8", "ignore").encode()
