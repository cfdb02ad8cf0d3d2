"""Which ports somebody listens on: /proc/net/tcp, udp and their IPv6 twins, as the kernel writes them (proc(5))."""

from __future__ import annotations

from collections.abc import Iterator

LISTEN, UNCONNECTED = "0A", "07"
"""The states of a TCP socket that waits for connections, and of a UDP socket that takes datagrams from anybody."""


def bound(table: str, state: str) -> Iterator[int]:
    """The local ports of all sockets in that state; what is not as it should be is passed over."""
    for line in table.splitlines()[1:]:
        columns = line.split()
        if len(columns) > 3 and columns[3] == state:
            try:
                yield int(columns[1].rpartition(":")[2], 16)
            except ValueError:
                continue
