"""Longest-prefix match for one virtual network: a dict per prefix length, the longest tried first.

As fast as a compiled trie for the handful of lengths that a real table has, without a dependency, and trivially one
per network. A lookup costs one dict probe per length in use and family.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Fib(Generic[T]):
    """IPv4 and IPv6 routes in one table; an address is 4 or 16 bytes, a prefix is an address and a length in bits."""

    __slots__ = ("_count", "_levels")

    def __init__(self) -> None:
        # Family size in bytes -> [(host bits, length, {prefix as an integer without its host bits: value})].
        self._levels: dict[int, list[tuple[int, int, dict[int, T]]]] = {4: [], 16: []}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def insert(self, prefix: bytes, length: int, value: T) -> None:
        """Add or replace a route. Host bits of `prefix` are ignored."""
        host_bits = self._host_bits(prefix, length)
        levels = self._levels[len(prefix)]
        for bits, _, table in levels:
            if bits == host_bits:
                break
        else:
            table = {}
            levels.append((host_bits, length, table))
            levels.sort(key=lambda level: level[0])
        key = int.from_bytes(prefix, "big") >> host_bits
        self._count += key not in table
        table[key] = value

    def remove(self, prefix: bytes, length: int) -> None:
        """KeyError if there is no such route."""
        host_bits = self._host_bits(prefix, length)
        levels = self._levels[len(prefix)]
        for index, (bits, _, table) in enumerate(levels):
            if bits == host_bits:
                del table[int.from_bytes(prefix, "big") >> host_bits]
                self._count -= 1
                if not table:
                    del levels[index]  # an empty length costs every lookup a probe
                return
        raise KeyError((prefix, length))

    def lookup(self, address: bytes) -> T | None:
        """The value of the longest prefix that holds `address`."""
        value = int.from_bytes(address, "big")
        for bits, _, table in self._levels[len(address)]:
            found = table.get(value >> bits)
            if found is not None:
                return found
        return None

    def exact(self, prefix: bytes, length: int) -> T | None:
        """The value of that very route."""
        host_bits = self._host_bits(prefix, length)
        key = int.from_bytes(prefix, "big") >> host_bits
        for bits, _, table in self._levels[len(prefix)]:
            if bits == host_bits:
                return table.get(key)
        return None

    def matches(self, address: bytes) -> list[tuple[bytes, int, T]]:
        """Every route that holds `address`, the longest first: why the first one won."""
        value = int.from_bytes(address, "big")
        found = []
        for bits, length, table in self._levels[len(address)]:
            if (value >> bits) in table:
                prefix = (value >> bits << bits).to_bytes(len(address), "big")
                found.append((prefix, length, table[value >> bits]))
        return found

    def items(self) -> Iterator[tuple[bytes, int, T]]:
        """All routes; IPv4 first, longer prefixes first, in order of address."""
        for size, levels in self._levels.items():
            for bits, length, table in levels:
                for key in sorted(table):
                    yield (key << bits).to_bytes(size, "big"), length, table[key]

    @staticmethod
    def _host_bits(prefix: bytes, length: int) -> int:
        bits = len(prefix) * 8 - length
        if len(prefix) not in (4, 16) or bits < 0 or length < 0:
            raise ValueError(
                f"a prefix is 4 or 16 bytes and a length within them, not {len(prefix)} and {length}"
            )
        return bits
