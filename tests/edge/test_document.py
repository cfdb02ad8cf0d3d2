from __future__ import annotations

from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.document import (
    MAX_BYTES,
    Document,
    Duration,
    HostPort,
    IPAddress,
    Prefix,
    PublicKey,
    Words,
    load,
    schema,
    written,
)
from edge.errors import ConfigError, Problem


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


class Leaf(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    name: str
    size: Annotated[int, msgspec.Meta(ge=1)] = 1
    on: bool = False
    wait: Duration | None = None
    routes: tuple[Prefix, ...] = ()
    colour: Colour = Colour.RED
    mode: Literal["fast", "slow"] = "fast"
    one_or_many: str | list[str] = ()  # type: ignore[assignment]


class Circle(msgspec.Struct, tag="circle", frozen=True, forbid_unknown_fields=True):
    radius: float


class Square(msgspec.Struct, tag="square", frozen=True, forbid_unknown_fields=True):
    side: float


class Tree(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    version: Literal[1]
    leaves: dict[str, Leaf] = {}
    numbers: list[int] = []
    listen: HostPort | None = None
    address: IPAddress | None = None
    key: PublicKey | None = None
    shapes: list[Circle | Square] = []


class Bounded(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 1
    many: Annotated[int, msgspec.Meta(ge=3)] = 3
    few: Annotated[int, msgspec.Meta(le=2)] = 1
    part: Annotated[float, msgspec.Meta(gt=0)] = 0.5
    items: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ("x",)
    pair: Annotated[dict[str, int], msgspec.Meta(max_length=1)] = {}
    word: Annotated[str, msgspec.Meta(pattern="^[a-z]+$", description="a small word")] = "x"
    code: Annotated[str, msgspec.Meta(min_length=2)] = "xx"


class Loose(msgspec.Struct):
    a: Any = None


class Timed(msgspec.Struct):
    a: Duration


def problems(text: str, kind: type = Tree) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        load(text, kind, "f.yaml")
    return caught.value.problems


def the_problem(text: str, kind: type = Tree) -> Problem:
    (problem,) = problems(text, kind)
    return problem


def value(text: str) -> object:
    return load(f"a: {text}\n", Loose).a


def test_a_good_document_becomes_typed_values() -> None:
    tree = load(
        'version: 1\nlisten: "[::1]:51820"\naddress: 10.0.0.7\nshapes: [{type: square, side: 2}]\n'
        "leaves:\n"
        "  oak: {name: Oak, wait: 20ms, routes: [10.0.50.0/24, 'fd00::/64', 10.9.9.9], colour: green}\n",
        Tree,
    )
    oak = tree.leaves["oak"]
    assert tree.listen == ("::1", 51820)
    assert tree.address == bytes([10, 0, 0, 7])
    assert tree.shapes == [Square(2.0)]
    assert oak.wait == 0.02
    assert [str(route) for route in oak.routes] == ["10.0.50.0/24", "fd00::/64", "10.9.9.9/32"]
    assert oak.colour is Colour.GREEN


def test_every_mistake_is_reported_at_its_place_with_a_fix() -> None:
    found = problems(
        "version: 2\n"
        "leafs: {}\n"
        "leaves:\n"
        "  oak: {nam: x, size: 0, on: yes, wait: 20, mode: fats}\n"
        "  elm:\n"
        "    name: 600\n"
        "    routes: [10.0.0.1/8, 10.0.0.0/33]\n"
        "numbers: [1, two, 010]\n"
    )
    assert [(p.line, p.column) for p in found] == [
        (1, 10), (2, 1), (4, 8), (4, 9), (4, 23), (4, 30), (4, 41), (4, 51), (6, 11), (7, 14), (7, 26),
        (8, 14), (8, 19),
    ]  # fmt: skip
    assert all(p.file == "f.yaml" for p in found)
    fixes = {(p.line, p.column): p.fix for p in found}
    assert fixes[2, 1] == "did you mean 'leaves'?"
    assert fixes[4, 9] == "did you mean 'name'?"
    assert fixes[4, 30] == "write true"
    assert fixes[4, 51] == "did you mean 'fast'?"
    assert fixes[6, 11] == 'quote it: "600"'
    assert fixes[8, 19].startswith("write 10")


@pytest.mark.parametrize(
    ("text", "line", "column", "word"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, 1, "duplicate key 'a'"),
        ("a: {x: 1, x: 2}\n", 1, 11, "duplicate key 'x'"),
        ("a:\n\t- 1\n", 2, 1, "tab"),
        ("a: x\0y\n", 1, 5, "U+0000"),
        ("a: \x1b[31m\n", 1, 4, "U+001B"),
        ("a: &a [*a]\n", 1, 8, "inside what it names"),
        ("a: &a {b: *a}\n", 1, 11, "inside what it names"),
        ("a: *nowhere\n", 1, 4, "no anchor"),
        ("a: !!python/object/apply:os.system [id]\n", 1, 4, "tag"),
        ("a: !!str 5\n", 1, 4, "tag"),
        ("a: !local 5\n", 1, 4, "tag"),
        ("<<: {a: 1}\n", 1, 1, "merge"),
        ("? [1]\n: 2\n", 1, 3, "key must be text"),
        ("{a: 1}: 2\n", 1, 1, "key must be text"),
        ("a: 1\n---\na: 2\n", 2, 1, "second document"),
        ("a: b: c\n", 1, 5, "mapping values"),
        ("a: 'open\n", 2, 1, "end of stream"),
        ("- 1\n", 1, 1, "expected a mapping, not a list"),
        ("", 1, 1, "expected a mapping, not nothing"),
    ],
)
def test_what_is_not_a_plain_document_is_refused_by_line(
    text: str, line: int, column: int, word: str
) -> None:
    problem = the_problem(text, Loose)
    assert word in problem.message
    assert (problem.line, problem.column) == (line, column)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no", "no"), ("yes", "yes"), ("off", "off"), ("NO", "NO"), ("1:30", "1:30"), ("010", "010"),
        ("0o10", 8), ("0x1F", 31), ("1_000", "1_000"), ("2024-01-01", "2024-01-01"), ("true", True),
        ("null", None), ("~", None), ("", None), ("12", 12), ("-3", -3), ("1.5", 1.5), ("1e3", 1000.0),
        (".inf", ".inf"), ("'12'", "12"), ('"true"', "true"), ("1.2.3", "1.2.3"), ("+", "+"), ("=", "="),
        ("9" * 5000, "9" * 5000), ("1e999", "1e999"), ("007.5", "007.5"),
    ],
)  # fmt: skip
def test_scalars_are_what_they_look_like(text: str, expected: object) -> None:
    assert value(text) == expected
    assert type(value(text)) is type(expected)


def test_aliases_work_within_reason() -> None:
    assert load("a: {x: &r [1, 2], y: *r}\n", Loose).a == {"x": [1, 2], "y": [1, 2]}


def test_an_alias_bomb_is_refused_at_once() -> None:
    bomb = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
    )
    assert "aliases repeat" in the_problem(bomb, Loose).message


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_depth_is_limited(opening: str) -> None:
    assert (
        "deeper than"
        in the_problem(f"a: {opening * 100_000}" if opening != "- " else opening * 1000, Loose).message
    )


def test_width_is_limited() -> None:
    assert "values" in the_problem("a: [" + "1," * 600_000 + "]", Loose).message


def test_many_problems_are_cut_off() -> None:
    text = "version: 1\nnumbers: [" + "x, " * 5000 + "]\n"
    assert 10 <= len(problems(text)) <= 200
    assert 10 <= len(problems("".join("a: 1\n" for _ in range(5000)), Loose)) <= 200


def test_a_file_of_10_mb_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    path.write_bytes(b"a: 1\n" * 2_000_000)
    with pytest.raises(ConfigError) as caught:
        load(path, Loose)
    assert "MiB" in str(caught.value)
    assert "MiB" in the_problem("#" * (MAX_BYTES + 1), Loose).message
    path.write_text("a: 1\n#" + "é" * (MAX_BYTES // 2) + "\na: 2\n")  # fewer characters than bytes
    with pytest.raises(ConfigError, match="MiB"):
        load(path, Loose)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "none.yaml", Loose)
    with pytest.raises(ConfigError, match="directory"):
        load(tmp_path, Loose)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: 1\nb: \xe9\n")
    with pytest.raises(ConfigError) as caught:
        load(latin, Loose)
    assert (caught.value.problems[0].line, caught.value.problems[0].column) == (2, 4)


def test_a_byte_order_mark_is_no_mistake() -> None:
    assert load("\ufeffa: 1\n", Loose).a == 1


def test_union_members_are_followed_into() -> None:
    found = problems(
        "version: 1\nshapes:\n- {type: circel, radius: 1}\n- {type: circle, radios: 1}\n- {side: 3}\n"
        "leaves: {a: {name: x, one_or_many: [1]}}\n"
    )
    assert [(p.line, p.message) for p in found] == [
        (3, "unknown type 'circel'"),
        (4, "missing key 'radius'"),
        (4, "unknown key 'radios'"),
        (5, "missing key 'type'"),
        (6, "1 is a number, not text"),
    ]
    assert found[0].fix == "did you mean 'circle'?"


def test_a_document_places_later_findings() -> None:
    document = Document("a:\n  b: [1, {c: 2}]\n  d: &x {e: 1}\n  f: *x\n", "f.yaml")
    assert document.position(("a", "b", 1, "c")) == (2, 14)
    assert document.position(("a", "b", 1, "c"), key=True) == (2, 11)
    assert document.position(("a", "f", "e")) == (4, 6)  # inside an alias: where it is written
    assert document.position(("a", "nowhere", 7)) == (2, 3)
    assert (
        str(document.problem(("a", "d"), "is wrong", "mend it")) == "f.yaml:3:6: is wrong\n    fix: mend it"
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("20ms", 0.02), ("2s", 2.0), ("1.5m", 90.0), ("1h", 3600.0), ("0", 0.0), ("5us", 5e-6)],
)
def test_durations(text: str, seconds: float) -> None:
    assert load(f"a: {text}\n", Timed).a == pytest.approx(seconds)


@pytest.mark.parametrize(
    "bad", ["", "s", "5", 5, "-5s", "5 s", "5d", "1:30", "1e3s", None, True, False, "٣s"]
)
def test_bad_durations(bad: object) -> None:
    with pytest.raises(ValueError):
        Duration.parse(bad)


@pytest.mark.parametrize(
    "bad", ["10.0.0.1/24", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/ 8", "10/8", "::/129",
            "fd00::1/64", "", "010.0.0.0/8", "10.0.0.0/8/8", 10, None, "fe80::1%eth0/128", "10.0.0.0/٣"]
)  # fmt: skip
def test_bad_prefixes(bad: object) -> None:
    with pytest.raises(ValueError):
        Prefix.parse(bad)


def test_prefixes_know_what_lies_inside() -> None:
    ten = Prefix.parse("10.0.0.0/8")
    assert ten.covers(bytes([10, 255, 0, 1]))
    assert not ten.covers(bytes([11, 0, 0, 0]))
    assert not ten.covers(bytes(16))
    assert ten.contains(Prefix.parse("10.1.0.0/16"))
    assert not Prefix.parse("10.1.0.0/16").contains(ten)
    assert Prefix.parse("10.1.0.0/16").overlaps(ten)
    assert not Prefix.parse("0.0.0.0/0").overlaps(Prefix.parse("::/0"))
    assert ten.last == bytes([10, 255, 255, 255])
    assert tuple(ten) == (bytes([10, 0, 0, 0]), 8)


@pytest.mark.parametrize(
    "bad", ["host", "host:", ":5", "1.2.3.4:65536", "::1:5", "[::1]", "a b:5", 5, "h:-1", "h:٣"]
)
def test_bad_host_ports(bad: object) -> None:
    with pytest.raises(ValueError):
        HostPort.parse(bad)


def test_a_bad_key_is_not_repeated_in_the_message() -> None:
    secret = "c2VjcmV0" * 5
    assert secret not in str(the_problem(f"version: 1\nkey: {secret}\n"))


def test_schema_is_for_editors() -> None:
    leaf = schema(Tree)["$defs"]["Leaf"]
    assert leaf["additionalProperties"] is False
    assert leaf["properties"]["routes"]["items"]["type"] == "string"


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="ab:[]{}-#&*!|>'\"%@,? \n\t\0é\u2028", max_size=60))
def test_any_text_is_data_or_problems(text: str) -> None:
    with suppress(ConfigError):
        Document(text, "f.yaml")


@pytest.mark.parametrize(
    ("text", "message", "fix"),
    [
        ("port: 0", "0 is too little: at least 1", "write a number from 1 to 65535"),
        ("port: 65536", "65536 is too much: at most 65535", "write a number from 1 to 65535"),
        ("many: 2", "2 is too little: at least 3", "write 3 or more"),
        ("few: 3", "3 is too much: at most 2", "write 2 or less"),
        ("part: 0", "0 is too little: more than 0.0", "write more than 0.0"),
        ("items: []", "nothing in it", "write 1 item or more"),
        ("pair: {a: 1, b: 2}", "too many: 2", "write 1 entry or less"),
        ("word: A1", "'A1' is not a small word", "write one that matches ^[a-z]+$"),
        ("code: x", "too few: 1", "write 2 characters or more"),
    ],
)
def test_a_value_out_of_bounds_is_said_in_words_with_a_fix(text: str, message: str, fix: str) -> None:
    problem = the_problem(text + "\n", Bounded)
    assert (problem.message, problem.fix) == (message, fix)


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("version: 1\nroutes: [10.0.0.0/8]\n", "it belongs under leaves.NAME"),
        ("version: 1\nradius: 3\n", "it belongs under an item of shapes"),
        ("version: 1\nnumber: [1]\n", "did you mean 'numbers'?"),
        ("version: 1\nnowhere: 3\n", "known: address, "),
    ],
)
def test_a_key_in_the_wrong_place_is_told_its_own(text: str, fix: str) -> None:
    assert the_problem(text).fix.startswith(fix)


def test_no_value_is_named_as_such() -> None:
    for kind in (Words, Prefix, Duration, HostPort, IPAddress, PublicKey):
        (problem,) = problems("a:\n", msgspec.defstruct("Holder", [("a", kind)]))
        assert (problem.message, problem.fix) == ("no value", "write one, or leave the key out")
    for value in (None, [None], ["x", None]):
        with pytest.raises(ValueError, match="no value"):
            Words.parse(value)
    (problem,) = problems("version: 1\nnumbers:\n")
    assert (problem.line, problem.column, problem.message) == (2, 9, "no value")


def test_a_written_default_stays_out_of_the_schema() -> None:
    holder = msgspec.defstruct("Holder", [("a", Duration, written(Duration(2.0)))])
    assert load("{}", holder).a == 2.0  # type: ignore[attr-defined]
    assert "default" not in schema(holder)["$defs"]["Holder"]["properties"]["a"]
