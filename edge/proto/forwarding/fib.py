"""Longest-prefix match for one virtual network: a dict per prefix length, the longest tried first.

Only the lengths that occur under an address's bucket (its top 16 bits in IPv4, 32 in IPv6) are tried, so that a hundred
thousand routes of all lengths cost a few probes, not one for each length. No dependency, and trivially one table per
network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")

_Level: TypeAlias = "tuple[int, dict[int, T]]"
"""Host bits, and {prefix as an integer without its host bits: value}."""

BUCKET_BITS = {4: 16, 16: 32}


class _Family(Generic[T]):
    """The routes of one address family."""

    __slots__ = ("bits", "plans", "shared", "shift", "short", "tables", "used")

    def __init__(self, size: int) -> None:
        self.bits = size * 8
        self.shift = self.bits - BUCKET_BITS[size]
        self.tables: dict[int, dict[int, T]] = {}  # by host bits
        self.used: Counter[tuple[int, int]] = Counter()  # routes by (bucket, host bits)
        self.plans: dict[int, tuple[_Level[T], ...]] = {}  # by bucket: what to try, short prefixes included
        self.shared: dict[tuple[int, ...], tuple[_Level[T], ...]] = {}  # equal plans are one object
        self.short: tuple[
            _Level[T], ...
        ] = ()  # prefixes shorter than a bucket: the plan of all other buckets

    def bucket_of(self, number: int, host_bits: int) -> int | None:
        return number >> self.shift if host_bits <= self.shift else None

    def plan(self, bucket: int | None) -> None:
        """The lengths under `bucket` changed; None: the short ones did, which are in every plan."""
        if bucket is None:
            self.shared.clear()
            self.short = self._levels(())
            for each in list(self.plans):
                self.plan(each)
            return
        lengths = tuple(bits for bits in self.tables if bits <= self.shift and self.used[bucket, bits])
        if lengths:
            self.plans[bucket] = self._levels(lengths)
        else:
            self.plans.pop(bucket, None)

    def _levels(self, lengths: tuple[int, ...]) -> tuple[_Level[T], ...]:
        levels = self.shared.get(lengths)
        if levels is None:
            wanted = sorted({*lengths, *(bits for bits in self.tables if bits > self.shift)})
            levels = self.shared[lengths] = tuple((bits, self.tables[bits]) for bits in wanted)
        return levels


class Fib(Generic[T]):
    """IPv4 and IPv6 routes in one table; an address is 4 or 16 bytes, a prefix is an address and a length in bits."""

    __slots__ = ("_count", "_families")

    def __init__(self) -> None:
        self._families: dict[int, _Family[T]] = {size: _Family(size) for size in BUCKET_BITS}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def insert(self, prefix: bytes, length: int, value: T) -> None:
        """Add or replace a route. Host bits of `prefix` are ignored."""
        family, host_bits = self._locate(prefix, length)
        number = int.from_bytes(prefix, "big")
        table = family.tables.get(host_bits)
        fresh = table is None
        if table is None:
            table = family.tables[host_bits] = {}
        key = number >> host_bits
        if key not in table:
            self._count += 1
            bucket = family.bucket_of(number, host_bits)
            if bucket is not None:
                family.used[bucket, host_bits] += 1
                fresh = family.used[bucket, host_bits] == 1
            if fresh:
                table[key] = value
                family.plan(bucket)
        table[key] = value

    def remove(self, prefix: bytes, length: int) -> None:
        """KeyError if there is no such route."""
        family, host_bits = self._locate(prefix, length)
        number = int.from_bytes(prefix, "big")
        table = family.tables.get(host_bits, {})
        del table[number >> host_bits]
        self._count -= 1
        bucket = family.bucket_of(number, host_bits)
        if not table:
            del family.tables[host_bits]
            family.shared.clear()
        if bucket is None:
            if not table:
                family.plan(None)
            return
        family.used[bucket, host_bits] -= 1
        if not family.used[bucket, host_bits]:
            del family.used[bucket, host_bits]
            family.plan(bucket)

    def lookup(self, address: bytes) -> T | None:
        """The value of the longest prefix that holds `address`."""
        family = self._families[len(address)]
        number = int.from_bytes(address, "big")
        for bits, table in family.plans.get(number >> family.shift, family.short):
            found = table.get(number >> bits)
            if found is not None:
                return found
        return None

    def exact(self, prefix: bytes, length: int) -> T | None:
        """The value of that very route."""
        family, host_bits = self._locate(prefix, length)
        return family.tables.get(host_bits, {}).get(int.from_bytes(prefix, "big") >> host_bits)

    def matches(self, address: bytes) -> list[tuple[bytes, int, T]]:
        """Every route that holds `address`, the longest first: why the first one won."""
        family = self._families[len(address)]
        number = int.from_bytes(address, "big")
        return [
            (
                (number >> bits << bits).to_bytes(len(address), "big"),
                family.bits - bits,
                table[number >> bits],
            )
            for bits, table in family.plans.get(number >> family.shift, family.short)
            if (number >> bits) in table
        ]

    def items(self) -> Iterator[tuple[bytes, int, T]]:
        """All routes: IPv4 first, then in order of address and length."""
        for size, family in self._families.items():
            found = [
                (key << bits, family.bits - bits, value)
                for bits, table in family.tables.items()
                for key, value in table.items()
            ]
            found.sort(key=lambda route: route[:2])
            for number, length, value in found:
                yield number.to_bytes(size, "big"), length, value

    def _locate(self, prefix: bytes, length: int) -> tuple[_Family[T], int]:
        family = self._families.get(len(prefix))
        if family is None or not 0 <= length <= family.bits:
            raise ValueError(f"a prefix is 4 or 16 bytes and a length within, not {len(prefix)} and {length}")
        return family, family.bits - length
