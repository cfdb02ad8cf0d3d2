"""Plain data -> typed structs, with every problem at its place.

msgspec converts in one fast pass and stops at the first mistake. Only then does `diagnose` walk data and
types side by side, and only then is the text parsed again for positions: a good file pays for neither.
"""

from __future__ import annotations

from functools import cached_property
from itertools import islice
from pathlib import Path as FilePath
from typing import Any, Protocol, TypeVar

import msgspec

from edge.document.diagnose import Mismatch, mismatches
from edge.document.parse import MAX_BYTES, MAX_PROBLEMS, Parsed, Path, parse
from edge.document.scalars import decode_scalar, scalar_schema
from edge.errors import ConfigError, Problem

T = TypeVar("T")


class Document:
    """One file as data, and the way back from data to places in it."""

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self._text = text
        parsed = parse(text, file)
        if parsed.problems:
            raise ConfigError(parsed.problems)
        self.data = parsed.data

    @classmethod
    def read(cls, path: FilePath) -> Document:
        """The document in `path`; ConfigError if it cannot be read as one."""
        file = str(path)
        try:
            with path.open("rb") as stream:
                raw = stream.read(MAX_BYTES + 1)
        except OSError as error:
            fix = "check its permissions"
            if isinstance(error, FileNotFoundError | IsADirectoryError):
                fix = "name an existing file" if isinstance(error, FileNotFoundError) else "name a file in it"
            raise ConfigError([Problem(file, 0, 0, error.strerror or str(error), fix)]) from error
        return cls.of(raw, file)

    @classmethod
    def of(cls, raw: bytes, file: str) -> Document:
        """The document that these bytes of `file` are; ConfigError if they are none."""
        if len(raw) > MAX_BYTES:
            raise ConfigError([Problem(file, 0, 0, f"larger than {MAX_BYTES // 2**20} MiB", "split it")])
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            column = error.start - raw.rfind(b"\n", 0, error.start)
            raise ConfigError([Problem(file, line, column, "not UTF-8", "save the file as UTF-8")]) from error
        return cls(text, file)

    def decode(self, kind: type[T]) -> T:
        """The document as a `kind`, a msgspec.Struct; ConfigError with all that does not fit."""
        return convert(self.data, kind, self)

    def diagnose(self, kind: type) -> list[Problem]:
        """Everything in the document that does not fit `kind`."""
        return diagnose(self.data, kind, self)

    def problem(self, path: Path, message: str, fix: str = "", *, key: bool = False) -> Problem:
        """A problem with the value at `path` (or its key), placed at it or at what encloses it."""
        line, column = self.position(path, key=key)
        return Problem(self.file, line, column, message, fix)

    def position(self, path: Path, *, key: bool = False) -> tuple[int, int]:
        """Line and column, from 1, of the value at `path` or of the nearest value around it."""
        if key and path in self._positions.keys:
            return self._positions.keys[path]
        while path and path not in self._positions.values:
            path = path[:-1]
        return self._positions.values.get(path, (1, 1))

    @cached_property
    def _positions(self) -> Parsed:
        return parse(self._text, self.file, positions=True)


class Places(Protocol):
    """Where in which file the values of some data were written."""

    def problem(self, path: Path, message: str, fix: str = "", *, key: bool = False) -> Problem: ...


def convert(data: Any, kind: type[T], places: Places) -> T:
    """`data` as a `kind`, a msgspec.Struct; ConfigError with all that does not fit, where `places` has it."""
    try:
        return msgspec.convert(data, kind, dec_hook=decode_scalar)
    except msgspec.ValidationError as error:
        raise ConfigError(diagnose(data, kind, places) or [places.problem((), str(error))]) from error


def diagnose(data: Any, kind: type, places: Places) -> list[Problem]:
    """Everything in `data` that does not fit `kind`."""
    problems = [
        places.problem(path, message, fix, key=at_key)
        for path, message, fix, at_key in differences(data, kind)
    ]
    return sorted(problems, key=lambda problem: (problem.file, problem.line, problem.column))


def differences(data: Any, kind: type) -> list[Mismatch]:
    """The same, as paths."""
    return list(islice(mismatches(data, kind, ()), MAX_PROBLEMS))


def load(source: FilePath | str, kind: type[T], file: str | None = None) -> T:
    """`source`, a path or the text itself, as a `kind`; `file` is what messages call it."""
    document = Document.read(source) if isinstance(source, FilePath) else Document(source, file or "<text>")
    return document.decode(kind)


def written(value: object) -> Any:
    """A field's default of a type that JSON has no word for: msgspec would try to write it into the schema."""
    return msgspec.field(default_factory=lambda: value)


def schema(kind: type) -> dict[str, Any]:
    """JSON Schema of `kind`, for editors."""
    return msgspec.json.schema(kind, schema_hook=scalar_schema)
