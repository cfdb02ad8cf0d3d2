"""The language of ``expect``: a condition over plain data, such as ``setup_time < 2s and status == 200``.

Python's parser reads it, but nothing of Python runs: a walk over the syntax tree accepts names, attributes
and subscripts of mappings, comparisons, ``and``/``or``/``not``, ``in``, arithmetic, four functions, and
numbers with a unit (``20ms``, ``2s``, ``1m``, ``0.5%``). Everything else is an `ExpressionError`, the only
exception that leaves this module.
"""

from __future__ import annotations

import ast
import operator
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise

from scenarios.checks.values import Plain

MAX_LENGTH = 500
"""Characters; a longer condition is two conditions."""

MAX_DEPTH = 40

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "%": 0.01}
"""What a number with that unit is multiplied by: times become seconds, per cents become parts of one."""

_TOKENS = re.compile(
    r"""(?P<string>"[^"]*"|'[^']*')|(?<![\w.])(?P<number>\d+(?:\.\d+)?)(?P<unit>(?:us|ms|s|m|h)(?!\w)|%)"""
)
_NUMBER_AND_WORD = re.compile(
    r"""(?:"[^"]*"|'[^']*')|(?<![\w.])(?P<number>\d+(?:\.\d+)?)(?P<space>\s*)(?P<word>[A-Za-z]\w*)"""
)
_LONE_EQUALS = re.compile(r"""(?P<string>"[^"]*"|'[^']*')|\s*(?<![=<>!:+*/-])=(?![=<>])\s*""")
_CONSTANTS: dict[str, Plain] = {"true": True, "false": False, "none": None}

_ORDER: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_ARITHMETIC: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_IN_WORDS: dict[type[ast.AST], str] = {
    ast.Lambda: "a function",
    ast.ListComp: "a loop",
    ast.SetComp: "a loop",
    ast.DictComp: "a loop",
    ast.GeneratorExp: "a loop",
    ast.NamedExpr: "an assignment",
    ast.IfExp: "`if`",
    ast.JoinedStr: "a formatted text",
    ast.Await: "`await`",
    ast.Yield: "`yield`",
    ast.YieldFrom: "`yield`",
    ast.Starred: "`*`",
    ast.Dict: "a mapping",
    ast.Set: "a set",
    ast.Slice: "a slice",
    ast.BinOp: "this operator",
    ast.UnaryOp: "this operator",
    ast.Constant: "this value",
}
_EXAMPLE = "write for example: setup_time < 2s and status == 200"
_FUNCTIONS = ("abs", "len", "max", "min")


class ExpressionError(Exception):
    """The condition cannot be read, or cannot be answered from the data; `fix` says what to write instead."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.fix = fix


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether the condition holds, and each value that decided it, in the order of the text."""

    holds: bool
    saw: tuple[tuple[str, Plain], ...]


@dataclass(frozen=True, slots=True)
class Expression:
    """A condition that was read and found harmless."""

    text: str
    tree: ast.expr
    paths: tuple[tuple[str, ...], ...]
    """Every name that it asks for, as far as it is written out: ``("clients", "alice", "ip")``."""

    @property
    def is_number(self) -> bool:
        """Whether it can have a number as its value, as far as its form tells."""
        match self.tree:
            case ast.Compare() | ast.BoolOp() | ast.List() | ast.Tuple() | ast.UnaryOp(op=ast.Not()):
                return False
            case ast.Constant(value=value):
                return isinstance(value, int | float) and not isinstance(value, bool)
            case ast.Name(id=name):
                return name not in _CONSTANTS
        return True

    def equated(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Each name that is written out and a text that it, or an item of it, is said to be, or not to be."""
        for node in ast.walk(self.tree):
            if not isinstance(node, ast.Compare):
                continue
            for operation, (left, right) in zip(
                node.ops, pairwise([node.left, *node.comparators]), strict=True
            ):
                sides = [(left, right)]
                if isinstance(operation, ast.Eq | ast.NotEq):
                    sides.append((right, left))
                elif not (
                    isinstance(operation, ast.In | ast.NotIn) and isinstance(right, ast.List | ast.Tuple)
                ):
                    continue  # a part of a text can be anything
                for name, value in sides:
                    if isinstance(name, ast.Name | ast.Attribute | ast.Subscript):
                        yield from ((_path(name), text) for text in _texts(value))

    def evaluate(self, names: Mapping[str, Plain]) -> Outcome:
        """Answer from `names`; raises ExpressionError if a name is missing or two values do not compare."""
        evaluation = _Evaluation(names)
        try:
            holds = _truth(evaluation.value(self.tree), self.text)
        except (ArithmeticError, RecursionError) as error:
            raise ExpressionError(f"cannot compute {self.text!r}: {error}") from None
        return Outcome(holds, tuple(evaluation.saw.items()))

    def compute(self, names: Mapping[str, Plain]) -> Plain:
        """The value of the expression; none while a name that it needs has none yet. Raises ExpressionError."""
        evaluation = _Evaluation(names)
        try:
            return evaluation.value(self.tree)
        except ExpressionError:
            if None in evaluation.saw.values():
                return None
            raise
        except (ArithmeticError, RecursionError) as error:
            raise ExpressionError(f"cannot compute {self.text!r}: {error}") from None


def parse(text: str) -> Expression:
    """Read `text`; raises ExpressionError for whatever is not in the language."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(
            f"the condition has {len(text)} characters, {MAX_LENGTH} are allowed", "split it into two"
        )
    if "\\" in text or not text.isprintable():
        raise ExpressionError("the condition holds a backslash or a control character", "delete it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tree = ast.parse(_TOKENS.sub(_plain_number, text.strip()), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError, Warning) as error:
        _explain_unit(text)
        _explain_sign(text)
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ExpressionError(f"cannot read {text!r}: {reason}", _EXAMPLE) from None
    paths: list[tuple[str, ...]] = []
    _check(tree, paths, 0)
    return Expression(text, tree, tuple(paths))


def _explain_unit(text: str) -> None:
    """If that is why nobody can read `text`."""
    for match in _NUMBER_AND_WORD.finditer(text):
        if (word := match["word"]) is None or word in ("and", "or", "not", "in", "if", "else", "is"):
            continue
        near = get_close_matches(word, UNITS, n=1, cutoff=0.4)
        fix = f"write {match['number']}{near[0] if near else 's'}"
        if word not in UNITS:
            raise ExpressionError(f"cannot read {text!r}: there is no unit {word!r}", fix) from None
        if match["space"]:
            raise ExpressionError(
                f"cannot read {text!r}: a unit stands right behind its number", fix
            ) from None


def _explain_sign(text: str) -> None:
    """If nobody can read `text` because ``=`` stands where a comparison should."""
    fixed = _LONE_EQUALS.sub(lambda match: match["string"] or " == ", text)
    if fixed != text:
        raise ExpressionError(
            f"cannot read {text!r}: `=` does not compare, `==` does", f"write {fixed}"
        ) from None


def _plain_number(match: re.Match[str]) -> str:
    if match["string"] is not None:
        return match["string"]
    return f"{float(match['number']) * UNITS[match['unit']]!r} "  # "1%and" is two words


def _check(node: ast.AST, paths: list[tuple[str, ...]], depth: int) -> None:
    """Refuse every construct outside the language; collect the names asked for."""
    if depth > MAX_DEPTH:
        raise ExpressionError("the condition is nested too deeply", "split it into two")
    match node:
        case ast.Name() | ast.Attribute() | ast.Subscript():
            path = _path(node)
            if path[0] not in _CONSTANTS:
                paths.append(path)
            while not isinstance(node, ast.Name):
                if isinstance(node, ast.Subscript) and not isinstance(node.slice, ast.Constant):
                    _check(node.slice, paths, depth + 1)
                node = node.value  # type: ignore[attr-defined]
            return
        case ast.Constant(value=None | bool() | int() | float() | str()):
            return
        case ast.BoolOp(op=ast.And() | ast.Or(), values=parts) | ast.List(elts=parts) | ast.Tuple(elts=parts):
            pass
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.UAdd(), operand=operand):
            parts = [operand]
        case ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div(), left=left, right=right):
            parts = [left, right]
        case ast.Compare(left=left, ops=operations, comparators=others):
            for operation in operations:
                if isinstance(operation, ast.Is | ast.IsNot):
                    raise ExpressionError("'is' is not part of the language", "write == or !=")
            parts = [left, *others]
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if (
            name in _FUNCTIONS and arguments
        ):
            parts = arguments
        case ast.Call():
            raise ExpressionError("only abs, len, max and min can be called", "compare the plain value")
        case _:
            what = _IN_WORDS.get(type(node), type(node).__name__)
            raise ExpressionError(f"{what} is not part of the language", _EXAMPLE)
    for part in parts:
        _check(part, paths, depth + 1)


def _path(node: ast.AST) -> tuple[str, ...]:
    """The written-out names of a chain, from the left; ends where a subscript is computed."""
    steps: list[str | None] = []
    while True:
        match node:
            case ast.Name(id=name):
                _refuse_private(name)
                steps.append(name)
                break
            case ast.Attribute(value=inner, attr=name):
                _refuse_private(name)
                steps.append(name)
                node = inner
            case ast.Subscript(value=inner, slice=ast.Constant(value=str() | int() as key)):
                steps.append(str(key))
                node = inner
            case ast.Subscript(value=inner, slice=ast.Slice()):
                raise ExpressionError("a slice is not part of the language", "name one item")
            case ast.Subscript(value=inner):
                steps.append(None)
                node = inner
            case _:
                raise ExpressionError(
                    "only names have attributes and items", "name a step, a client or a host"
                )
    steps.reverse()
    known = [step for step in steps[: steps.index(None)] if step] if None in steps else steps
    return tuple(step for step in known if step is not None)


def _texts(node: ast.expr) -> list[str]:
    """The text that stands there, or those of a list."""
    items = node.elts if isinstance(node, ast.List | ast.Tuple) else [node]
    return [item.value for item in items if isinstance(item, ast.Constant) and isinstance(item.value, str)]


def _refuse_private(name: str) -> None:
    if name.startswith("_"):
        raise ExpressionError(f"{name!r} is private", "names of the language begin with a letter")


class _Evaluation:
    """One walk over the tree with the data at hand."""

    def __init__(self, names: Mapping[str, Plain]) -> None:
        self.names = names
        self.saw: dict[str, Plain] = {}

    def value(self, node: ast.expr) -> Plain:
        match node:
            case ast.Constant(value=None | bool() | int() | float() | str() as constant):
                return constant
            case ast.Name(id=name) if name in _CONSTANTS:
                return _CONSTANTS[name]
            case ast.Name() | ast.Attribute() | ast.Subscript():
                value = self.look_up(node)
                self.saw[_written(node)] = value
                return value
            case ast.List(elts=parts) | ast.Tuple(elts=parts):
                return [self.value(part) for part in parts]
            case ast.BoolOp(op=ast.And(), values=parts):
                return all(_truth(self.value(part), "and") for part in parts)
            case ast.BoolOp(values=parts):
                return any(_truth(self.value(part), "or") for part in parts)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not _truth(self.value(operand), "not")
            case ast.UnaryOp(op=sign, operand=operand):
                number = _number(self.value(operand), "a sign")
                return -number if isinstance(sign, ast.USub) else number
            case ast.BinOp(left=left, op=operation, right=right):
                word = "arithmetic"
                return _ARITHMETIC[type(operation)](
                    _number(self.value(left), word), _number(self.value(right), word)
                )
            case ast.Compare(left=left, ops=operations, comparators=others):
                value = self.value(left)
                for comparison, other in zip(operations, others, strict=True):
                    against = self.value(other)
                    if not _compare(comparison, value, against):
                        return False
                    value = against
                return True
            case ast.Call(func=ast.Name(id=name), args=arguments):
                return _call(name, [self.value(argument) for argument in arguments])
        raise ExpressionError(f"{type(node).__name__} is not part of the language")

    def look_up(self, node: ast.expr) -> Plain:
        match node:
            case ast.Name(id=name):
                return _item(self.names, name, "")
            case ast.Attribute(value=inner, attr=name):
                return _item(self.look_up(inner), name, ast.unparse(inner))
            case ast.Subscript(value=inner, slice=key):
                return _item(self.look_up(inner), self.value(key), ast.unparse(inner))
        raise ExpressionError(f"{ast.unparse(node)} is not a name")


def _written(node: ast.expr) -> str:
    """A name as people write it in a file: with double quotes."""
    text = ast.unparse(node)
    return text if '"' in text else text.replace("'", '"')


def _item(of: Plain, key: Plain, where: str) -> Plain:
    if isinstance(of, Mapping) and isinstance(key, str):
        if key in of:
            return of[key]
        near = get_close_matches(key, list(of), n=1)
        known = ", ".join(list(of)[:12]) or "nothing"
        place = f"{where} has no {key!r}" if where else f"there is no {key!r}"
        raise ExpressionError(place, f"did you mean {near[0]!r}?" if near else f"known here: {known}")
    if (
        isinstance(of, Sequence)
        and not isinstance(of, str)
        and isinstance(key, int)
        and not isinstance(key, bool)
    ):
        if -len(of) <= key < len(of):
            return of[key]
        raise ExpressionError(f"{where} has {len(of)} items, not {key}")
    raise ExpressionError(f"{where or 'this'} has no items or attributes")


def _truth(value: Plain, where: str) -> bool:
    if isinstance(value, bool):
        return value
    raise ExpressionError(
        f"{where!r} needs true or false, not {type(value).__name__}", "compare the value with something"
    )


def _number(value: Plain, where: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise ExpressionError(f"{where} needs a number, not {'none' if value is None else type(value).__name__}")


def _compare(operation: ast.cmpop, left: Plain, right: Plain) -> bool:
    match operation:
        case ast.Eq():
            return bool(left == right)
        case ast.NotEq():
            return bool(left != right)
        case ast.In():
            return _contains(right, left)
        case ast.NotIn():
            return not _contains(right, left)
    if left is None or right is None:
        return False  # what did not happen is neither early nor late
    return _ORDER[type(operation)](_number(left, "an order"), _number(right, "an order"))


def _contains(whole: Plain, part: Plain) -> bool:
    if isinstance(whole, str):
        return isinstance(part, str) and part in whole
    if isinstance(whole, Mapping):
        return isinstance(part, str) and part in whole
    if isinstance(whole, Sequence):
        return any(part == item for item in whole)
    raise ExpressionError("'in' needs a list, a mapping or a text on its right side")


def _call(name: str, arguments: list[Plain]) -> Plain:
    if name == "len" and len(arguments) == 1 and isinstance(arguments[0], str | Mapping | Sequence):
        return len(arguments[0])
    if name == "abs" and len(arguments) == 1:
        return abs(_number(arguments[0], "abs"))
    if name in ("max", "min"):
        only = arguments[0]
        if len(arguments) == 1 and isinstance(only, Sequence) and not isinstance(only, str):
            arguments = list(only)
        numbers = [_number(argument, name) for argument in arguments]
        if numbers:
            return max(numbers) if name == "max" else min(numbers)
    raise ExpressionError(f"{name} cannot be called like that")
