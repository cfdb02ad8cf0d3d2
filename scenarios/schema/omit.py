"""A file with a few mistakes of form, without them: so that all that is wrong with the rest is said at once as well."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from edge.document import Mismatch, Path

NAMING = frozenset({"id", "count", "nat", "user", "registrar", "vnet", "use"})
"""What other parts refer to, or depend on: without it they would seem wrong."""

WHOLE = ("matrix", "templates", "include", "policy")
"""Where nothing can be left out."""

WORLD = ("vnets", "topology")
"""Where a part that is missing would be missed everywhere."""


def without(data: Any, mismatches: Iterable[Mismatch]) -> Any:
    """A copy of `data` without what is wrong; None if the rest would make no sense."""
    copy = _copy(data)
    paths: set[Path] = set()
    for mismatch in mismatches:
        path = _dispensable(mismatch, data)
        if path is None:
            return None
        paths.add(path)
    for path in paths:
        part = copy
        for key in path[:-1]:
            part = part[key]
        part.pop(path[-1], None)
    return copy


def _dispensable(mismatch: Mismatch, data: Any) -> Path | None:
    """What has to go because of it; None if it cannot."""
    path, unknown = mismatch.path, mismatch.message.startswith("unknown key")
    if not path or mismatch.message.startswith("missing key") or mismatch.at_key is not unknown:
        return None
    value = _value(data, path)
    if len(path) == 1:
        return path if unknown and not isinstance(value, dict | list) else None
    if path[0] in WORLD and path[1] != "links" and (unknown or isinstance(value, dict | list)):
        return None
    while path and isinstance(path[-1], int):  # of a list, all of it
        path = path[:-1]
    return None if len(path) < 2 or path[0] in WHOLE or path[-1] in NAMING else path


def _value(data: Any, path: Path) -> Any:
    for key in path:
        data = data[key]
    return data


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value
