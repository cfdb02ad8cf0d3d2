"""Values as YAML and keys as base64: what the files of a PoP and of its peers are written with."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable


def flow(values: Iterable[object]) -> str:
    """A YAML list in one line."""
    return "[" + ", ".join(quoted(str(value)) for value in values) + "]"


def scalar(value: object) -> str:
    """A number, a list in one line, or text."""
    if isinstance(value, int):
        return str(value)
    return flow(value) if isinstance(value, list) else quoted(str(value))


def quoted(text: str) -> str:
    """A YAML double-quoted scalar."""
    escaped = "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08X}" for c in text)
    return f'"{escaped}"'


def base64_text(data: bytes) -> str:
    return b64encode(data).decode()
