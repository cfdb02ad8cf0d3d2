"""The path of CONNECT-IP requests as a URI template (RFC 6570 up to level 3, as RFC 9484 section 3 restricts it).

Read here: a variable as a whole path segment, as the whole value of a query parameter, or in ``{?...}`` and ``{&...}``.
That is what the RFC shows, and what it leaves out could not be told apart again in a request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import quote, unquote_to_bytes

from edge.proto.masque.refusal import BadRequest

WILDCARD: Final = "*"
DEFAULT_TEMPLATE: Final = "/.well-known/masque/ip/{target}/{ipproto}/"


class Variable(StrEnum):
    TARGET = "target"
    IPPROTO = "ipproto"


class Variables(NamedTuple):
    """Values of a request, decoded but not judged. What the path leaves out is the wildcard (RFC 9484 4.6)."""

    target: str = WILDCARD
    ipproto: str = WILDCARD


_Part: TypeAlias = "str | Variable"
"""A literal, decoded, or a variable."""

_FORM = re.compile(r"\{([?&])([^{}]*)\}")
_EXPRESSION = re.compile(r"\{([^{}]*)\}")
_LITERAL = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})*")
_PATH = re.compile(r"(?:[\x21-\x22\x24\x26-\x7e]|%[0-9A-Fa-f]{2})*")  # printable, no fragment, right escapes


@dataclass(frozen=True, slots=True)
class Template:
    """A template that was found valid. A client expands it, a server matches paths with it."""

    text: str
    _plain: str  # with nothing left but {target} and {ipproto}
    _segments: tuple[_Part, ...]
    _query: tuple[tuple[str, _Part], ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """ValueError says what is wrong and what would be right."""
        if "://" in text:
            raise ValueError(f"{text!r} is a whole URI; write only its path, such as {DEFAULT_TEMPLATE}")
        if not text.startswith("/"):
            raise ValueError(f"{text!r} does not begin with a slash; write /{text}")
        # {?a,b} is ?a={a}&b={b} as long as every variable has a value, which ours always have.
        plain = _FORM.sub(lambda form: form[1] + "&".join(f"{n}={{{n}}}" for n in form[2].split(",")), text)
        names = _EXPRESSION.findall(plain)
        for name in names:
            _check_variable(name)
        if len(set(names)) < len(names):
            raise ValueError(f"{text!r} has a variable twice; a request could give it two values")
        if not _LITERAL.fullmatch(_EXPRESSION.sub("", plain)):
            raise ValueError(f"{text!r} has a character that a path cannot have; write it as %XX")
        path, _, query = plain.partition("?")
        if "?" in query:
            raise ValueError(f"{text!r} has two question marks; write {{&...}} behind a literal one")
        segments = tuple(_part(segment, text) for segment in path.split("/"))
        pairs = [parameter.partition("=") for parameter in query.split("&") if parameter]
        if any("{" in name for name, _, _ in pairs):
            raise ValueError(f"{text!r} has a variable as the name of a parameter; write name={{variable}}")
        parameters = tuple((_literal(name, text), _part(value, text)) for name, _, value in pairs)
        if len({name for name, _ in parameters}) < len(parameters):
            raise ValueError(f"{text!r} has a parameter twice")
        return cls(text, plain, segments, parameters)

    @property
    def variables(self) -> frozenset[Variable]:
        """Those that it has: without them a request cannot limit its scope."""
        parts = (*self._segments, *(value for _, value in self._query))
        return frozenset(part for part in parts if isinstance(part, Variable))

    def expand(self, target: str = WILDCARD, ipproto: str = WILDCARD) -> str:
        """The path of a request; ValueError for an empty value (RFC 9484 section 3), or one without a place.

        The wildcard stays as it is, as in the examples of the RFC, though RFC 6570 would write it as %2A.
        """
        values = {Variable.TARGET: target, Variable.IPPROTO: ipproto}
        for variable, value in values.items():
            if not value:
                raise ValueError(f"{variable} is empty; write {WILDCARD} for any")
            if value != WILDCARD and variable not in self.variables:
                raise ValueError(
                    f"{self.text!r} has no {{{variable}}}, so a request cannot ask for {value!r}"
                )
        return _EXPRESSION.sub(lambda part: quote(values[Variable(part[1])], safe=WILDCARD), self._plain)

    def match(self, path: str) -> Variables | None:
        """The values in a request's path, or None if it is none of this template; BadRequest if it is malformed.

        Compared is what the escapes mean: clients differ in what they escape.
        """
        if not _PATH.fullmatch(path):
            raise BadRequest(400, "the path has a wrong escape or character")
        raw_path, _, raw_query = path.partition("?")
        values: dict[Variable, str] = {}
        segments = raw_path.split("/")
        if len(segments) != len(self._segments):
            return None
        for part, raw in zip(self._segments, segments, strict=True):
            if not _fits(part, _decode(raw), values):
                return None
        given: dict[str, str] = {}
        for parameter in raw_query.split("&") if raw_query else ():
            name, _, raw = parameter.partition("=")
            name = _decode(name)
            if name in given:
                raise BadRequest(400, "the path has a parameter twice")
            given[name] = raw
        for name, part in self._query:
            value = given.pop(name, None)
            if value is None and isinstance(part, Variable):
                continue
            if value is None or not _fits(part, _decode(value), values):
                return None
        if given:
            return None
        if not all(values.values()):
            raise BadRequest(400, "a variable in the path is empty")  # RFC 9484 section 3
        return Variables(values.get(Variable.TARGET, WILDCARD), values.get(Variable.IPPROTO, WILDCARD))


def match_any(templates: Iterable[Template], path: str) -> Variables:
    """The values by the first template that matches; BadRequest if none does."""
    for template in templates:
        variables = template.match(path)
        if variables is not None:
            return variables
    raise BadRequest(404, "no template matches the path")


def _check_variable(name: str) -> None:
    if name[:1] in tuple("+#./;|!@=,"):
        raise ValueError(f"{{{name}}}: RFC 9484 allows no operator but ? and &; write {{{name[1:]}}}")
    if name.endswith("*") or ":" in name:
        raise ValueError(f"{{{name}}}: RFC 9484 allows no modifiers; leave it out")
    if name not in set(Variable):
        raise ValueError(f"{{{name}}} is no variable of CONNECT-IP; there are {{target}} and {{ipproto}}")


def _part(raw: str, text: str) -> _Part:
    expression = _EXPRESSION.fullmatch(raw)
    if expression is not None:
        return Variable(expression[1])
    if "{" in raw:
        raise ValueError(f"{text!r} has a variable next to something else; give it a segment of its own")
    return _literal(raw, text)


def _literal(raw: str, text: str) -> str:
    try:
        return _decode(raw)
    except BadRequest:
        raise ValueError(f"{text!r} has escapes that are not UTF-8") from None


def _decode(raw: str) -> str:
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise BadRequest(400, "the path is not UTF-8") from None


def _fits(part: _Part, value: str, values: dict[Variable, str]) -> bool:
    """Whether `value` can stand for `part`; a variable takes any."""
    if isinstance(part, Variable):
        values[part] = value
        return True
    return part == value
