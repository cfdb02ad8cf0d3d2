"""Everything in plain data that does not fit a type, not only the first mistake."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from enum import EnumType
from typing import Annotated, Any, Literal, NamedTuple, TypeGuard, Union, get_args, get_origin

import msgspec

from edge.document.bounds import out_of_bounds
from edge.document.flow import LONGEST, flow_command, flow_list, flow_text
from edge.document.parse import Path
from edge.document.scalars import decode_scalar

_SEQUENCES = (list, tuple, set, frozenset, Sequence)
_MAPPINGS = (dict, Mapping)
_SLIP = 0.8  # so alike that the letters are to blame, not the place
_DEEPEST = 3  # levels below a struct at which a misplaced key is looked for
_AMBIGUOUS_BOOLS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


class Mismatch(NamedTuple):
    path: Path
    message: str
    fix: str = ""
    at_key: bool = False  # the key is wrong, not the value


def mismatches(data: Any, kind: Any, path: Path) -> Iterable[Mismatch]:
    """Walk `data` along the type `kind`: collections here, single values by msgspec's own conversion."""
    plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    origin, arguments = get_origin(plain) or plain, get_args(plain)
    if origin in (Union, types.UnionType):
        yield from _union(data, kind, arguments, path)
    elif _is_struct(origin) and isinstance(data, dict):
        yield from _struct(data, origin, path)
    elif origin in _MAPPINGS and isinstance(data, dict) and arguments:
        clean = True
        for key, value in data.items():
            for mismatch in _value(key, arguments[0], ()):
                clean = False
                yield Mismatch((*path, key), mismatch.message, mismatch.fix, at_key=True)
            for mismatch in mismatches(value, arguments[1], (*path, key)):
                clean = False
                yield mismatch
        if clean:
            yield from _value(data, kind, path)
    elif origin in _SEQUENCES and isinstance(data, list) and arguments and arguments[1:] in ((), (...,)):
        clean = True
        for index, item in enumerate(data):
            for mismatch in mismatches(item, arguments[0], (*path, index)):
                clean = False
                yield mismatch
        if clean:
            yield from _value(data, kind, path)
    else:
        yield from _value(data, kind, path)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A fix for a word that is not known: the nearest one, the one that begins with it, or all of them."""
    choices = sorted(set(known))
    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    if near or len(near := [choice for choice in choices if choice.startswith(f"{word}_")]) == 1:
        return f"did you mean {near[0]!r}?"
    return f"known: {', '.join(choices)}" if choices else ""


def _unknown_key(key: str, fields: Mapping[str, Any]) -> str:
    """A fix for a key that is not one of `fields`: it is misspelt, or it stands a few levels too high."""
    if not difflib.get_close_matches(key, fields, n=1, cutoff=_SLIP):
        for name, field in fields.items():
            if place := _home(key, field.type, name, _DEEPEST):
                return f"it belongs under {place}"
    return did_you_mean(key, fields)


def _home(key: str, kind: Any, place: str, depth: int) -> str:
    """Where below `place`, a value of type `kind`, the key may stand; empty if nowhere."""
    plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    origin, arguments = get_origin(plain) or plain, get_args(plain)
    inner: Iterable[tuple[Any, str]] = ()
    if origin in (Union, types.UnionType):
        inner = [(member, place) for member in arguments]
    elif origin in _MAPPINGS and arguments:
        inner = [(arguments[1], f"{place}.NAME")]
    elif origin in _SEQUENCES and arguments:
        inner = [(arguments[0], f"an item of {place}")]
    elif _is_struct(origin) and depth:
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(origin)}
        if key in fields:
            return place
        inner = [(kind, f"{place}.{name}") for name, kind in fields.items()]
        depth -= 1
    return next((found for kind, place in inner if (found := _home(key, kind, place, depth))), "")


def _is_struct(kind: Any) -> TypeGuard[type[msgspec.Struct]]:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _struct(data: dict[str, Any], kind: type[msgspec.Struct], path: Path) -> Iterable[Mismatch]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    tag_field = kind.__struct_config__.tag_field
    clean = True
    for key, value in data.items():
        if key in fields:
            for mismatch in mismatches(value, fields[key].type, (*path, key)):
                clean = False
                yield mismatch
        elif key != tag_field and kind.__struct_config__.forbid_unknown_fields:
            clean = False
            yield Mismatch((*path, key), f"unknown key {key!r}", _unknown_key(key, fields), at_key=True)
    for name, field in fields.items():
        if field.required and name not in data:
            clean = False
            yield Mismatch(path, f"missing key {name!r}", f"add `{name}: ...`")
    if clean:  # what only the struct as a whole can tell, such as its __post_init__
        yield from _value(data, kind, path)


def _union(data: Any, kind: Any, members: tuple[Any, ...], path: Path) -> Iterable[Mismatch]:
    """Follow the one member that has the shape of `data`: then the message is about what is inside."""
    structs = [member for member in members if _is_struct(member)]
    if isinstance(data, dict) and len(structs) > 1:
        yield from _tagged(data, structs, path)
        return
    fitting = [member for member in members if _has_shape(member, data)]
    if len(fitting) == 1:
        yield from mismatches(data, fitting[0], path)
    else:
        yield from _value(data, kind, path)


def _tagged(data: dict[str, Any], structs: list[type[msgspec.Struct]], path: Path) -> Iterable[Mismatch]:
    tag_field = structs[0].__struct_config__.tag_field or "type"
    by_tag = {str(struct.__struct_config__.tag): struct for struct in structs}
    if tag_field not in data:
        yield Mismatch(path, f"missing key {tag_field!r}", f"known: {', '.join(sorted(by_tag))}")
    elif (tag := str(data[tag_field])) not in by_tag:
        yield Mismatch((*path, tag_field), f"unknown {tag_field} {tag!r}", did_you_mean(tag, by_tag))
    else:
        yield from _struct(data, by_tag[tag], path)


def _has_shape(member: Any, data: Any) -> bool:
    plain = get_args(member)[0] if get_origin(member) is Annotated else member
    origin = get_origin(plain) or plain
    if isinstance(data, dict):
        return origin in _MAPPINGS or _is_struct(origin)
    if isinstance(data, list):
        return origin in _SEQUENCES
    return (
        data is not None
        and origin is not types.NoneType
        and not (origin in _MAPPINGS or origin in _SEQUENCES or _is_struct(origin))
    )


def _value(data: Any, kind: Any, path: Path) -> Iterable[Mismatch]:
    try:
        msgspec.convert(data, kind, dec_hook=decode_scalar)
    except msgspec.ValidationError as error:
        if data is None and path:
            yield Mismatch(path, "no value", "write one, or leave the key out")
        elif (choices := _choices(kind)) and isinstance(data, (str, int)):
            yield Mismatch(path, f"{data!r} is not one of the choices", did_you_mean(str(data), choices))
        else:
            message = re.sub(r" - at `[^`]*`$", "", str(error))
            if message.startswith("Expected `str` matching regex"):
                yield Mismatch(path, *_pattern_in_words(kind, data))
            else:
                text, fix = out_of_bounds(message, data, kind) or _plain_words(message, data)
                yield Mismatch(path, text, _as_command(data, kind) or _under_its_key(data, kind) or fix)


def _metas(kind: Any) -> Iterable[msgspec.Meta]:
    """Of the type, or of the members of a union."""
    members = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    for member in members:
        if get_origin(member) is Annotated:
            yield from (meta for meta in get_args(member)[1:] if isinstance(meta, msgspec.Meta))


def _as_command(data: Any, kind: Any) -> str:
    """Of a command line where its arguments are expected one by one."""
    if not isinstance(data, str) or not any((meta.extra or {}).get("command") for meta in _metas(kind)):
        return ""
    return f"write {flow_command(data) or '[program, argument]'}"


def _under_its_key(data: Any, kind: Any) -> str:
    """Of a value that stands where a mapping with one key for it is expected, and that is good there."""
    members = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    structs = [member for member in members if _is_struct(member)]
    texts = data if isinstance(data, list) else [data]
    if len(structs) != 1 or not texts or not all(isinstance(text, str) for text in texts):
        return ""
    fields = msgspec.structs.fields(structs[0])
    homes = [field for field in fields if not any(mismatches(data, field.type, ()))]
    written = flow_list(texts) if isinstance(data, list) else flow_text(data)
    if (
        len(homes) != 1
        or len(written) > LONGEST
        or any(each.required and each not in homes for each in fields)
    ):
        return ""
    return f"write `{{{homes[0].encode_name}: {written}}}`"


def _pattern_in_words(kind: Any, data: Any) -> tuple[str, str]:
    """What a type with a pattern says of itself: its description, and `write` of its extra."""
    for meta in get_args(kind)[1:]:
        if isinstance(meta, msgspec.Meta) and meta.pattern is not None:
            return f"{data!r} is not {meta.description or meta.pattern}", (meta.extra or {}).get(
                "write", f"write one that matches {meta.pattern}"
            )
    return f"{data!r} cannot be written here", ""


def _choices(kind: Any) -> list[str]:
    if get_origin(kind) is Literal:
        return [str(choice) for choice in get_args(kind)]
    members: list[Any] = list(kind) if isinstance(kind, EnumType) else []
    return [str(member.value) for member in members]


def _plain_words(message: str, data: Any) -> tuple[str, str]:
    """msgspec's message in the words of a YAML file, and the fix if it is known."""
    if expected := re.fullmatch(r"Expected `(.+)`, got `(.+)`", message):
        wanted, got = expected.groups()
        if wanted == "bool" and isinstance(data, str) and data.lower() in _AMBIGUOUS_BOOLS:
            return f"{data!r} is text, not a boolean", f"write {_AMBIGUOUS_BOOLS[data.lower()]}"
        if wanted == "str" and isinstance(data, (int, float)):
            written = str(data).lower() if isinstance(data, bool) else str(data)
            return f"{written} is a {_name(got)}, not text", f'quote it: "{written}"'
        if wanted.startswith("int") and isinstance(data, str) and re.fullmatch(r"0[0-9]+", data):
            return (
                f"{data!r}: a leading zero is ambiguous",
                f"write {data.lstrip('0') or '0'}, or 0o... for octal",
            )
        if wanted.startswith("int") and isinstance(data, float):
            return f"{data} is not a whole number", f"write {data:.0f}"
        if wanted == "str" and isinstance(data, dict):
            return "expected text, not a mapping", "quote it if it is text that holds `: `"
        return f"expected {_names(wanted)}, not {_GOT.get(got) or _NAMES.get(got, got)}", _example(
            wanted, data
        )
    if bounded := re.fullmatch(r"Expected `(?:int|float)` (>=|<=) (.+)", message):
        relation, bound = bounded.groups()
        if relation == ">=":
            return f"{data} is less than {bound}", f"write {bound} or more"
        return f"{data} is more than {bound}", f"write {bound} or less"
    if sized := re.fullmatch(r"Expected `(array|object|str)` of length (>=|<=) (\d+)", message):
        kind, relation, bound = sized.groups()
        if relation == ">=" and bound == "1":
            return f"{_NAMES[kind].removeprefix('a ')} is empty", "write at least one item"
        least = "at least" if relation == ">=" else "at most"
        return f"{len(data)} items", f"write {least} {bound}"
    if isinstance(data, bool):
        message = message.replace(repr(data), str(data).lower(), 1)
    if advised := _ADVICE.fullmatch(message):  # what a scalar of ours says
        return advised[1], advised[2]
    return message, ""


_ADVICE = re.compile(r"(.+?); ((?:write|leave|known:|did you mean) ?.*)", re.DOTALL)


_NAMES = {
    "str": "text", "int": "a number", "float": "a number", "bool": "true or false", "null": "nothing",
    "array": "a list", "object": "a mapping",
}  # fmt: skip


_GOT = {"bool": "a boolean"}


def _example(wanted: str, data: Any) -> str:
    """What to write where one of `wanted` is expected."""
    plain = not isinstance(data, dict | list) and data is not None
    if wanted == "array" and plain:
        return f"write [{str(data).lower() if isinstance(data, bool) else data}]"
    examples = {"array": "write [one, two]", "object": "write `key: value`", "int": "write one such as 7"}
    return {**examples, "float": "write one such as 0.5", "bool": "write true or false"}.get(wanted, "")


def _name(kind: str) -> str:
    return {"int": "number", "float": "number", "bool": "boolean"}.get(kind) or _NAMES.get(kind, kind)


def _names(kinds: str) -> str:
    return " or ".join(dict.fromkeys(_NAMES.get(kind, kind) for kind in kinds.split(" | ")))
