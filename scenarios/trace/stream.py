"""A trace as a file: a msgpack stream of a header, events as arrays, and an end that tells whether it is whole.

Whoever reads one did not necessarily write it: sizes, types and ranges are checked, and what is wrong is said in words.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self, get_type_hints

import msgpack

from edge.errors import PoplabError
from scenarios.trace.digest import Digest
from scenarios.trace.event import Event, Kind
from scenarios.trace.place import OutputFile

FORMAT = 1
MAGIC = "poplab-trace"
LIMIT = 2_000_000
"""Events in a file; further ones are only counted, and are in the digest."""
BUFFER = 1 << 16
LONGEST_TEXT = 4096
_FIELDS = len(Event._fields)
_TYPES = tuple(get_type_hints(Event).values())
_KINDS = frozenset(kind.value for kind in Kind)
_MOST = {"protocol": 255, "sport": 0xFFFF, "dport": 0xFFFF, "length": 1 << 20, "check": 0xFFFFFFFF}


class TraceError(PoplabError):
    """A file that is no trace, or none that this version can read."""

    exit_code = 2


class StreamWriter:
    """A sink that writes `file`. `about` tells which run it is: file, cell, fabric, seed, version."""

    def __init__(self, file: OutputFile, about: Mapping[str, Any], *, limit: int = LIMIT) -> None:
        self.digest = Digest()
        self.written = 0
        self._file = file
        self._limit = limit
        self._pack = msgpack.Packer().pack
        self._buffer = bytearray(self._pack({"magic": MAGIC, "format": FORMAT, **about}))

    def __call__(self, event: Event) -> None:
        self.digest(event)
        if self.written < self._limit:
            self.written += 1
            self._buffer += self._pack(event)
            if len(self._buffer) >= BUFFER:
                self._flush()

    @property
    def why(self) -> str:
        """Why something is missing; empty if nothing is."""
        if self._file.error:
            return f"{self._file.path}: {self._file.error}"
        left_out = self.digest.events - self.written
        return f"it has {self._limit:,} events, {left_out:,} more were only counted" if left_out else ""

    def close(self) -> None:
        end = {"events": self.digest.events, "written": self.written, "digest": self.digest.hex()}
        self._buffer += self._pack(end)
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        self._file.write(bytes(self._buffer))
        self._buffer.clear()


class Trace:
    """A trace that is read: `about` at once, the events once; afterwards its `end`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.end: Mapping[str, Any] | None = None
        self.cut_off = False
        """It was read until the file ended, and that was not its end."""
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise TraceError(f"{path}: {error.strerror}") from error
        self._unpacker = msgpack.Unpacker(
            max_buffer_size=1 << 20,
            max_str_len=LONGEST_TEXT,
            max_bin_len=0,
            max_array_len=_FIELDS,
            max_map_len=64,
            max_ext_len=0,
        )
        try:
            self.about = self._header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Event]:
        number = 0
        for item in self._objects():
            if self.end is not None:
                raise self._wrong(f"something follows its end, after {number:,} events")
            if isinstance(item, dict):
                self.end = item
                continue
            number += 1
            yield self._event(item, number)
        self.cut_off = self.end is None

    def _header(self) -> Mapping[str, Any]:
        first = next(self._objects(), None)
        if not isinstance(first, dict) or first.get("magic") != MAGIC:
            raise self._wrong("it does not begin as one")
        if first.get("format") != FORMAT:
            version = str(first.get("poplab", "another version"))[:40]
            raise TraceError(
                f"{self.path}: its format is {str(first.get('format'))[:20]!r}, written by poplab {version!r}; "
                f"this poplab reads format {FORMAT}"
            )
        return first

    def _objects(self) -> Iterator[Any]:
        """Whole objects; what is cut off at the end of the file is not told."""
        try:
            while True:
                yield from self._unpacker
                data = self._file.read(BUFFER)
                if not data:
                    return
                self._unpacker.feed(data)
        except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
            raise self._wrong(str(error)[:200] or type(error).__name__) from error
        except OSError as error:
            raise TraceError(f"{self.path}: {error.strerror}") from error

    def _event(self, item: object, number: int) -> Event:
        if not isinstance(item, list) or len(item) != _FIELDS:
            raise self._wrong(f"event {number:,} does not have {_FIELDS} fields")
        for name, kind, value in zip(Event._fields, _TYPES, item, strict=True):
            good = type(value) is kind
            if good and kind is int:
                good = 0 <= value <= _MOST[name]
            elif good and kind is float:
                good = math.isfinite(value)
            if not good:
                raise self._wrong(f"event {number:,} has a {name} that cannot be")
        event = Event(*item)
        if event.kind not in _KINDS:
            raise self._wrong(f"event {number:,} is of an unknown kind")
        return event

    def _wrong(self, what: str) -> TraceError:
        return TraceError(f"{self.path}: this is no trace that can be read: {what}")
