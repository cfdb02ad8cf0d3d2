"""Text of a document -> plain data, and the place of each value when somebody asks.

The subset of YAML 1.2 that people mean: mappings with text keys, sequences, scalars. No tags, merge keys,
second documents or implicit types with surprises: ``no``, ``1:30`` and ``010`` are text. It builds from
libyaml's events, since only those are cheap: composing 10,000 peers into nodes takes four times as long.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import yaml

from edge.errors import Problem

MAX_BYTES = 4 * 2**20
MAX_NODES = 500_000
MAX_ALIASED = 10_000  # nodes that aliases may repeat: a bomb is all repetition
MAX_DEPTH = 40
MAX_PROBLEMS = 100
MAX_NUMBER = 40  # characters

Path: TypeAlias = tuple[str | int, ...]
Position: TypeAlias = tuple[int, int]  # line and column from 1

_NUMBER = re.compile(r"[-+]?[0-9.]")  # cheap first look: most scalars are names
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z")
_BASED = re.compile(r"0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]")
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff]")


@dataclass(slots=True)
class Parsed:
    """`keys` and `values` are filled by `parse(..., positions=True)` only."""

    data: Any = None
    problems: list[Problem] = field(default_factory=list)
    keys: dict[Path, Position] = field(default_factory=dict)
    values: dict[Path, Position] = field(default_factory=dict)


def parse(text: str, file: str, *, positions: bool = False) -> Parsed:
    """All problems of form are in the result, none is raised; `data` is whole only if there are none."""
    builder = _Builder(file, positions)
    text = text.removeprefix("\ufeff")
    if len(text) > MAX_BYTES:
        builder.problem(
            None, f"larger than {MAX_BYTES // 2**20} MiB", "split it; tunnels may live in tunnels.d/"
        )
    elif match := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, match.start()) + 1
        column = match.start() - text.rfind("\n", 0, match.start())
        where = Problem(
            file, line, column, f"the character U+{ord(match[0]):04X} is not allowed", "delete it"
        )
        builder.result.problems.append(where)
    else:
        loader = yaml.CSafeLoader(text)
        try:
            builder.run(loader)
        except _TooMuch:
            pass  # the builder has said what
        except yaml.MarkedYAMLError as error:
            builder.syntax(error, text)
        except (yaml.YAMLError, RecursionError) as error:
            builder.problem(None, f"not YAML: {error}", "")
        finally:
            loader.dispose()
    return builder.result


def scalar(text: str) -> str | int | float | bool | None:
    """The value of a plain scalar by the YAML 1.2 core schema; what it leaves doubtful is text."""
    if text in _WORDS:
        return _WORDS[text]
    if not _NUMBER.match(text) or len(text) > MAX_NUMBER:
        return text
    if _INTEGER.match(text):
        return int(text)
    if _BASED.match(text):
        return int(text, 0)
    if _FLOAT.match(text) and not _LEADING_ZERO.match(text) and math.isfinite(number := float(text)):
        return number
    return text


class _TooMuch(Exception):
    """A limit was hit: what follows is not read."""


class _Builder:
    """One pass over the events; `stack` holds the collections that are still open around the current one."""

    def __init__(self, file: str, positions: bool) -> None:
        self.file = file
        self.result = Parsed()
        self.positions = positions
        self.nodes = 0  # what aliases repeat counts again
        self.aliased = 0
        self.anchors: dict[str, tuple[Any, int] | None] = {}  # None while the anchored collection is open
        self.stack: list[tuple[Any, str | None, str | None, int]] = []

    def problem(self, mark: Any, message: str, fix: str) -> None:
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
        self.result.problems.append(Problem(self.file, line, column, message, fix))
        if len(self.result.problems) >= MAX_PROBLEMS:
            raise _TooMuch

    def run(self, loader: Any) -> None:
        next_event = loader.get_event
        container: Any = _Root()
        key: str | None = None
        while True:
            event = next_event()
            kind = type(event)
            if kind is yaml.ScalarEvent:
                value = event.value
                if key is None and type(container) is dict:
                    key = self._key(event, container)
                    continue
                if event.style == "":  # plain
                    value = scalar(value)
                self.nodes += 1
                if event.anchor is not None:
                    self.anchors[event.anchor] = (value, 1)
                if event.tag is not None:
                    self._tagged(event)
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                self._open(event, container, key)
                self.stack.append((container, key, event.anchor, self.nodes))
                container = {} if kind is yaml.MappingStartEvent else []
                key = None
                continue
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                value = container
                container, key, anchor, before = self.stack.pop()
                if anchor is not None:
                    self.anchors[anchor] = (value, self.nodes - before)
            elif kind is yaml.AliasEvent:
                if key is None and type(container) is dict:
                    self._bad_key(event)
                value = self._alias(event)
            elif kind is yaml.StreamEndEvent:
                break
            elif kind is yaml.DocumentStartEvent and container:
                self.problem(event.start_mark, "a second document", "keep one document per file")
                raise _TooMuch
            else:
                continue
            if self.positions and kind is not yaml.MappingEndEvent and kind is not yaml.SequenceEndEvent:
                self._place(event, container, key)
            if key is None:
                container.append(value)
            else:
                container[key] = value
                key = None
            if self.nodes > MAX_NODES:
                self.problem(event.start_mark, f"more than {MAX_NODES} values", "split it")
                raise _TooMuch
        self.result.data = container[0] if container else None

    def _key(self, event: yaml.ScalarEvent, container: dict[str, Any]) -> str:
        key: str = event.value
        if key in container:
            self.problem(event.start_mark, f"duplicate key {key!r}", "keep one of the two")
        elif key == "<<" and event.style == "":
            self.problem(
                event.start_mark, "merge keys are not supported", "write the keys out, or use an alias"
            )
        if event.tag is not None:
            self._tagged(event)
        if self.positions:
            mark: Any = event.start_mark
            self.result.keys.setdefault((*self._path(container), key), (mark.line + 1, mark.column + 1))
        return key

    def _open(self, event: yaml.CollectionStartEvent, container: Any, key: str | None) -> None:
        if key is None and type(container) is dict:
            self._bad_key(event)
        if len(self.stack) >= MAX_DEPTH:
            self.problem(event.start_mark, f"nested deeper than {MAX_DEPTH}", "flatten it")
            raise _TooMuch
        self.nodes += 1
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        if event.tag is not None:
            self._tagged(event)
        if self.positions:
            self._place(event, container, key)

    def _alias(self, event: yaml.AliasEvent) -> Any:
        if event.anchor not in self.anchors:
            self.problem(
                event.start_mark, f"*{event.anchor} names no anchor above it", f"add &{event.anchor}"
            )
            return None
        anchored = self.anchors[event.anchor]
        if anchored is None:
            self.problem(
                event.start_mark, f"*{event.anchor} lies inside what it names", "write the value out"
            )
            return None
        value, size = anchored
        self.nodes += size
        self.aliased += size
        if self.aliased > MAX_ALIASED:
            self.problem(event.start_mark, f"aliases repeat more than {MAX_ALIASED} values", "write them out")
            raise _TooMuch
        return value

    def _tagged(self, event: Any) -> None:
        self.problem(
            event.start_mark, f"the tag {event.tag!r} is not supported", "delete the tag; quote text"
        )

    def _bad_key(self, event: Any) -> None:
        self.problem(
            event.start_mark, "a key must be text", "quote it; flow mappings need a space after the colon"
        )
        raise _TooMuch

    def _path(self, container: Any) -> Path:
        """Where `container` is: each open collection's key, or the index that comes next in it."""
        around = [(outer, key) for outer, key, _, _ in self.stack[1:]]
        return tuple(len(outer) if key is None else key for outer, key in around)

    def _place(self, event: Any, container: Any, key: str | None) -> None:
        if isinstance(container, _Root):
            path: Path = ()
        else:
            path = (*self._path(container), len(container) if key is None else key)
        self.result.values.setdefault(path, (event.start_mark.line + 1, event.start_mark.column + 1))

    def syntax(self, error: yaml.MarkedYAMLError, text: str) -> None:
        """libyaml stops at the first mistake of form; say it in the words of who wrote the file."""
        mark = error.problem_mark or error.context_mark
        message = " ".join(filter(None, (error.problem, error.context)))
        fix = "compare the indentation with the lines above; quote text that holds `: ` or ` #`"
        if mark is not None:
            line = text.split("\n")[mark.line] if mark.line <= text.count("\n") else ""
            if "\t" in line[: len(line) - len(line.lstrip())]:
                message, fix = "a tab in the indentation", "indent with spaces"
        self.result.problems.append(
            Problem(self.file, mark.line + 1 if mark else 0, mark.column + 1 if mark else 0, message, fix)
        )


class _Root(list[Any]):
    """Holds the one value of the document."""
