"""A mapping for conditions that costs what somebody asks of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from scenarios.checks import Plain


class Lazy(Mapping[str, Plain]):
    """A mapping whose values are made when somebody wants them."""

    def __init__(self, keys: Iterable[str], make: Callable[[str], Plain]) -> None:
        self._keys = dict.fromkeys(keys)
        self._make = make

    def __getitem__(self, key: str) -> Plain:
        if key not in self._keys:
            raise KeyError(key)
        return self._make(key)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)
