"""Plain data as YAML that a person reads: short things on one line, long ones below each other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

WIDTH = 108
_PLAIN = re.compile(
    r"[A-Za-z][A-Za-z0-9_./-]*(?: [A-Za-z0-9_./-]+)*|[0-9][0-9a-z./]*[a-z/][0-9a-z./]*|[0-9]+(?:\.[0-9]+){3}"
)
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?(?:e[0-9]+)?|0x[0-9a-f]+|0o?[0-7]+")


def emit(data: Mapping[str, Any], comments: Sequence[str] = ()) -> str:
    """A document that reads back as `data`, with `comments` above it."""
    head = [f"# {line}".rstrip() for line in comments]
    return "\n".join([*head, *_block(data, 0)]) + "\n"


def _block(value: Any, indent: int) -> Iterator[str]:
    room = WIDTH - indent
    pad = " " * indent
    if isinstance(value, Mapping):
        for key, item in value.items():
            line = f"{_scalar(key)}: {_flow(item)}"
            if (len(line) <= room and not (indent == 0 and _deep(item))) or not _nested(item):
                yield pad + line
            else:
                yield f"{pad}{_scalar(key)}:"
                yield from _block(item, indent + 2)
    else:
        for item in value:
            line = f"- {_flow(item)}"
            if len(line) <= room or not _nested(item):
                yield pad + line
            else:
                first, *rest = _block(item, indent + 2)
                yield f"{pad}- {first.lstrip()}"
                yield from rest


def _nested(value: Any) -> bool:
    return isinstance(value, Mapping | list | tuple) and bool(value)


def _deep(value: Any) -> bool:
    """Whether something at the top is easier to read below each other: parts of parts."""
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return any(_nested(item) for item in items)


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and not _NUMBER.fullmatch(value):
        return json.dumps(value) if value.lower() in _WORDS else value
    return json.dumps(value, ensure_ascii=False)
