"""From files to plain data: what a scenario includes, which templates its parts use, and one copy for each matrix cell.

Every value keeps its place: a mistake is named where it was written, be that in an included file or in a template.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from math import prod
from pathlib import Path as FilePath
from typing import Any

from edge.document import Document, Path, did_you_mean
from edge.errors import ConfigError, Problem

MAX_FILES = 32
MAX_DEPTH = 8  # of includes, and of templates in templates
MAX_CELLS = 1000
MAX_COMBINATIONS = 100_000  # before exclusion
TEMPLATED = ("sites", "clients", "hosts", "connectors", "steps")
"""Under these keys stand the parts that may say `use`."""

_MATRIX = re.compile(r"\$\{\s*matrix\.([A-Za-z0-9_-]+)\s*\}")

Cell = Mapping[str, Any]


@dataclass(slots=True)
class Assembly:
    """Data that may come from several places; a `edge.document.Places`."""

    root: Document
    data: Any
    origins: dict[Path, tuple[Document, Path]] = field(default_factory=dict)
    """The places of parts that do not stand where they are: longest match wins."""
    incomplete: set[Path] = field(default_factory=set)
    """Parts that name a template which is not there: nobody knows what else they lack."""

    @property
    def file(self) -> str:
        return self.root.file

    def problem(self, path: Path, message: str, fix: str = "", *, key: bool = False) -> Problem:
        """A problem with the value at `path` (or its key), placed where that was written."""
        document, place = self.place(path)
        return document.problem(place, message, fix, key=key)

    def place(self, path: Path) -> tuple[Document, Path]:
        for length in range(len(path), -1, -1):
            found = self.origins.get(path[:length])
            if found is not None:
                return found[0], (*found[1], *path[length:])
        return self.root, path


def assemble(document: Document, folder: FilePath | None) -> tuple[Assembly, list[Problem]]:
    """`document` with its includes and templates worked in, and what is wrong with the templates.

    ConfigError if a file that it includes cannot be had: nobody knows what would be in it.
    """
    problems: list[Problem] = []
    whole = _Includes(problems).of(document, folder, [] if folder is None else [_key(document)])
    if problems:
        raise ConfigError(problems)
    if isinstance(whole.data, dict):
        _Templates(whole, problems).fill_in()
    return whole, problems


# -- includes


def _key(document: Document) -> str:
    return str(FilePath(document.file).resolve())


class _Includes:
    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        self._files = 0

    def of(self, document: Document, folder: FilePath | None, around: list[str]) -> Assembly:
        """`document` and what it includes; `around` are the files that include it, outermost first, and itself."""
        own = document.data
        names = own.get("include", []) if isinstance(own, dict) else []
        whole = Assembly(document, own)
        for index, name in enumerate(names if isinstance(names, list) else [names]):
            where: Path = ("include", index) if isinstance(names, list) else ("include",)
            part = self._read(document, folder, name, where, around) if isinstance(name, str) else None
            if part is not None and folder is not None:
                other = self.of(part, (folder / name).parent, [*around, _key(part)])
                whole = _merged(other, whole)
        return whole

    def _read(
        self, document: Document, folder: FilePath | None, name: str, where: Path, around: list[str]
    ) -> Document | None:
        """The file `name`; None, and a problem, if it cannot be included."""

        def wrong(message: str, fix: str) -> None:
            self.problems.append(document.problem(where, message, fix))

        if folder is None:
            wrong("text that is not in a file cannot include files", "write it into a file")
            return None
        file = folder / name
        key = str(file.resolve())
        if key in around:
            circle = [FilePath(each).name for each in [*around[around.index(key) :], key]]
            wrong(f"{' includes '.join(circle)}: a circle", "leave one of them out")
            return None
        self._files += 1
        if len(around) > MAX_DEPTH or self._files > MAX_FILES:
            wrong(f"more than {MAX_DEPTH} files in one another, or {MAX_FILES} in all", "write some as one")
            return None
        try:
            part = Document.read(file)
        except ConfigError as error:
            for problem in error.problems:
                if problem.line:
                    self.problems.append(problem)
                else:  # what could not even be read is a mistake of who includes it
                    wrong(f"{name}: {problem.message}", problem.fix)
            return None
        if not isinstance(part.data, dict):
            wrong(f"{name} holds no mapping", "include a scenario, or parts of one")
            return None
        return part


def _merged(base: Assembly, own: Assembly) -> Assembly:
    """`own` added to `base`: mappings are joined, lists put one behind the other, single values replaced."""
    whole = Assembly(own.root, None)

    def keep(side: Assembly, old: Path, new: Path) -> None:
        document, place = side.place(old)
        if document is not whole.root or place != new:
            whole.origins[new] = (document, place)
        for path, origin in side.origins.items():
            if path[: len(old)] == old and path != old:
                whole.origins[(*new, *path[len(old) :])] = origin

    def join(first: Any, second: Any, path: Path) -> Any:
        if isinstance(first, dict) and isinstance(second, dict):
            joined: dict[str, Any] = {}
            for key in [*first, *(key for key in second if key not in first)]:
                below = (*path, key)
                if key in first and key in second:
                    joined[key] = join(first[key], second[key], below)
                else:
                    side = base if key in first else own
                    keep(side, below, below)
                    joined[key] = first[key] if key in first else second[key]
            return joined
        if isinstance(first, list) and isinstance(second, list) and path[0] != "matrix":
            for index in range(len(first)):
                keep(base, (*path, index), (*path, index))
            for index in range(len(second)):
                keep(own, (*path, index), (*path, len(first) + index))
            return [*first, *second]
        keep(own, path, path)
        return second

    without = {key: value for key, value in base.data.items() if key not in ("include", "name", "about")}
    whole.data = join(without, own.data, ())
    return whole


# -- templates


class _Templates:
    def __init__(self, whole: Assembly, problems: list[Problem]) -> None:
        self.whole = whole
        self.problems = problems
        given = whole.data.get("templates")
        self.known: dict[str, Any] = given if isinstance(given, dict) else {}
        self._told: set[Path] = set()

    def fill_in(self) -> None:
        self._walk(self.whole.data, (), usable=False, depth=0)

    def _walk(self, data: Any, path: Path, *, usable: bool, depth: int) -> None:
        """Look for `use` in the parts that may have it, in place."""
        if isinstance(data, dict):
            if usable and "use" in data:
                self._use(data, path)
            for key, value in list(data.items()):
                if path or key != "templates":
                    inside = key in TEMPLATED
                    self._walk_part(value, (*path, key), inside)
        elif isinstance(data, list):
            for index, value in enumerate(data):
                self._walk(value, (*path, index), usable=usable, depth=depth)

    def _walk_part(self, data: Any, path: Path, inside: bool) -> None:
        if inside and isinstance(data, dict):
            for key in list(data):
                data[key] = _own(data[key])
                self._walk(data[key], (*path, key), usable=True, depth=0)
        elif inside and isinstance(data, list):
            for index in range(len(data)):
                data[index] = _own(data[index])
                self._walk(data[index], (*path, index), usable=True, depth=0)
        else:
            self._walk(data, path, usable=False, depth=0)

    def _use(self, part: dict[str, Any], path: Path) -> None:
        names = part.pop("use")
        listed = isinstance(names, list)
        for index, name in enumerate(names if listed else [names]):
            where = (*path, "use", index) if listed else (*path, "use")
            self._apply(part, name, path, where, [])

    def _apply(self, part: dict[str, Any], name: Any, path: Path, where: Path, around: list[str]) -> None:
        template = self.known.get(name) if isinstance(name, str) else None
        if template is None or not isinstance(template, dict):
            self.whole.incomplete.add(path)
            if not isinstance(name, str):
                self._wrong(where, "a template is named by its name", "write `use: NAME`")
            elif name not in self.known:  # else its type is wrong, and that is said there
                fix = did_you_mean(name, self.known) or f"add it: `templates: {{{name}: ...}}`"
                self._wrong(where, f"there is no template {name!r}", fix)
            return
        if name in around:
            circle = " uses ".join([*around[around.index(name) :], name])
            self._wrong(where, f"{circle}: a circle", "leave one `use` out")
            return
        if len(around) >= MAX_DEPTH:
            self._wrong(where, f"more than {MAX_DEPTH} templates in one another", "write some as one")
            return
        self._add(part, template, path, ("templates", name), skip="use")
        inner = template.get("use", [])
        for each in inner if isinstance(inner, list) else [inner]:
            self._apply(part, each, path, ("templates", name, "use"), [*around, name])

    def _wrong(self, where: Path, message: str, fix: str) -> None:
        """Once for each place: many parts may use one template."""
        if where not in self._told:
            self._told.add(where)
            self.problems.append(self.whole.problem(where, message, fix))

    def _add(
        self, part: dict[str, Any], template: dict[str, Any], path: Path, source: Path, skip: str = ""
    ) -> None:
        """What `template` says and `part` does not."""
        for key, value in template.items():
            if key == skip:
                continue
            if key not in part:
                part[key] = _own(value, deep=True)
                self.whole.origins[(*path, key)] = self.whole.place((*source, key))
            elif isinstance(part[key], dict) and isinstance(value, dict):
                part[key] = _own(part[key])
                self._add(part[key], value, (*path, key), (*source, key))


def _own(value: Any, *, deep: bool = False) -> Any:
    """A copy that may be changed: aliases and templates give one value to several parts."""
    if isinstance(value, dict):
        return {key: _own(item, deep=deep) if deep else item for key, item in value.items()}
    if isinstance(value, list):
        return [_own(item, deep=deep) if deep else item for item in value]
    return value


# -- matrix


def cells(whole: Assembly) -> list[Cell]:
    """Every combination that the matrix gives; one empty cell without a matrix. ConfigError if it is none."""
    matrix = whole.data.get("matrix") if isinstance(whole.data, dict) else None
    if not matrix:
        return [{}]
    problems: list[Problem] = []
    axes: dict[str, list[Any]] = {}
    wrong: set[str] = set()
    where: Path
    for name, values in matrix.items() if isinstance(matrix, dict) else ():
        if name == "exclude":
            continue
        fix = f"write for example {name}: [1, 2]"
        if not isinstance(values, list) or any(isinstance(value, dict | list) for value in values):
            text = f"{name} is not a list of plain values"
            problems.append(whole.problem(("matrix", name), text, fix))
        elif not values:
            problems.append(whole.problem(("matrix", name), f"{name} has no values", fix))
        elif twice := [index for index, value in enumerate(values) if _in(value, values[:index])]:
            text = f"{name} has {written(values[twice[0]])} twice"
            problems.append(whole.problem(("matrix", name, twice[0]), text, "leave one out"))
        else:
            axes[name] = values
            continue
        wrong.add(name)
    if not isinstance(matrix, dict):
        text = "the matrix maps names to lists of values"
        problems.append(whole.problem(("matrix",), text, "write for example matrix: {codec: [PCMU, PCMA]}"))
    excluded = matrix.get("exclude", []) if isinstance(matrix, dict) else []
    for index, pattern in enumerate(excluded if isinstance(excluded, list) else [excluded]):
        where = ("matrix", "exclude", index)
        if not isinstance(pattern, dict) or not pattern:
            fix = f"write for example {{{next(iter(axes), 'codec')}: ...}}"
            problems.append(whole.problem(where, "an exclusion maps names to values", fix))
            continue
        for name, value in pattern.items():
            if name in wrong:
                continue
            if name not in axes:
                text, near = f"the matrix has no {name!r}", did_you_mean(name, {*axes, *wrong})
                problems.append(whole.problem((*where, name), text, near, key=True))
            elif not _in(value, axes[name]):
                fix = f"known: {', '.join(map(str, axes[name]))}"
                problems.append(whole.problem((*where, name), f"{name} is never {value!r}", fix))
    if problems:
        raise ConfigError(problems)
    combinations = prod(map(len, axes.values()))
    kept: list[Cell] = []
    if combinations <= MAX_COMBINATIONS:
        found = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
        kept = [cell for cell in found if not any(_fits(pattern, cell) for pattern in excluded)]
    if not kept or len(kept) > MAX_CELLS:
        text = f"the matrix has {len(kept) or combinations} cells; {MAX_CELLS} are allowed"
        fix = "shorten an axis"
        if combinations <= MAX_COMBINATIONS and not kept:
            text, fix = "every cell of the matrix is excluded", "exclude less"
        raise ConfigError([whole.problem(("matrix",), text, fix)])
    return kept


def substituted(whole: Assembly, cell: Cell) -> tuple[Assembly, list[Problem]]:
    """The data of one cell: ``${matrix.NAME}`` replaced; and a problem for each name that the matrix does not have.

    What could not be replaced stays, and is among what is incomplete.
    """
    problems: list[Problem] = []
    unknown: set[Path] = set()

    def put(value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            return {key: put(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [put(item, (*path, index)) for index, item in enumerate(value)]
        if not isinstance(value, str) or "${" not in value:
            return value
        for name in _MATRIX.findall(value):
            if name not in cell:
                fix = did_you_mean(name, cell) or f"add it: `matrix: {{{name}: [...]}}`"
                problems.append(whole.problem(path, f"the matrix has no {name!r}", fix))
                unknown.add(path)
                return value
        only = _MATRIX.fullmatch(value)
        return cell[only[1]] if only else _MATRIX.sub(lambda match: written(cell[match[1]]), value)

    data = dict(_top(whole.data, put)) if isinstance(whole.data, dict) else whole.data
    return Assembly(whole.root, data, whole.origins, whole.incomplete | unknown), problems


def _top(data: dict[str, Any], put: Any) -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        yield key, value if key in ("matrix", "templates") else put(value, (key,))


def _in(value: Any, values: list[Any]) -> bool:
    """As in YAML, where 1 is not true."""
    return any(type(other) is type(value) and other == value for other in values)


def _fits(pattern: Cell, cell: Cell) -> bool:
    return all(_in(value, [cell[name]]) for name, value in pattern.items())


def written(value: object) -> str:
    """A value of the matrix as it is written in YAML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)
