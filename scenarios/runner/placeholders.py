"""``${...}`` in texts of a file: conditions that are worked out when the text is needed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from edge.document import Path
from scenarios.checks import ExpressionError, Plain, parse, show
from scenarios.schema.programs import ExecRun, Program

_PLACEHOLDER = re.compile(r"\$\$\{|\$\{([^{}]+)\}")

LONGEST = 1 << 20
"""Characters of a text in which all is filled in."""


def inside(text: str) -> Iterator[str]:
    """The expressions in `text`."""
    return (match[1] for match in _PLACEHOLDER.finditer(text) if match[1] is not None)


def filled(text: str, names: Mapping[str, Plain]) -> str:
    """`text` with the values of its expressions, and a plain ``${`` for ``$${``. ExpressionError if one has none."""
    if "${" not in text:
        return text
    whole = _PLACEHOLDER.sub(lambda match: "${" if match[1] is None else _value(match[1], names), text)
    if len(whole) > max(LONGEST, len(text)):
        raise ExpressionError("a text with all its values is larger than 1 MiB", "leave one out")
    return whole


def readable(words: Iterable[str], names: Mapping[str, Plain]) -> list[str]:
    """`words` for people: filled, but where that is impossible, or not for everybody's eyes, as they stand."""
    return [_readable(word, names) for word in words]


def _readable(word: str, names: Mapping[str, Plain]) -> str:
    try:
        return filled(word, names)
    except ExpressionError:
        return word


def _value(text: str, names: Mapping[str, Plain]) -> str:
    value = parse(text).compute(names)
    match value:
        case bool():
            return show(value)
        case str() | int():
            return str(value)
        case float():
            return f"{float(value):.12g}"
    raise ExpressionError(f"{text!r} is no text now but {show(value)}")


OF_PROGRAMS = ("dir", "seed", "passwords")
"""What the texts of a program can ask for besides: its working folder, the seed of the run, and for phones that are
programs the passwords that a PBX knows, as in ``passwords["hq/pbx"].alice``. No condition can."""


def of_program(given: Program | ExecRun) -> Iterator[tuple[Path, str]]:
    """Every expression in the texts of `given`, and where it stands."""
    ready = given.ready.run if isinstance(given, Program) and given.ready is not None else None
    texts: list[tuple[Path, str]] = [(("run", index), word) for index, word in enumerate(given.run)]
    texts += [(("ready", "run", index), word) for index, word in enumerate(ready or ())]
    texts += [(("env", name), text) for name, text in given.env.items()]
    if isinstance(given, ExecRun):
        texts.append((("stdin",), given.stdin))
    for name, file in given.files.items():
        if isinstance(file, str):
            texts.append((("files", name), file))
        elif file.text is not None:
            texts.append((("files", name, "text"), file.text))
    for path, text in texts:
        for expression in inside(text):
            yield path, expression
