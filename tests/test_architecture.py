"""What no single module can promise: pages that tell the truth, reasons that exist, cores that stay pure.

``python tests/test_architecture.py`` writes docs/drop-reasons.md anew.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from edge.proto import types
from edge.proto.types import DropReason
from scenarios.cli import poplab

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("edge", "connectors", "scenarios")
MODULES = sorted(path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py"))
CORES = [path for path in MODULES if "proto" in path.parts]
DROP_REASONS = REPOSITORY / "docs" / "drop-reasons.md"
PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
]

LONGEST = 600  # lines; beyond that the docstring has to say why
WHY_SO_LONG = "one module because"


def name(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


# -- pages --


def commands(text: str, program: str) -> Iterator[list[str]]:
    """The words after `program` wherever a page types it: in a code block or between backticks."""
    typed = re.findall(r"```.*?\n(.*?)```", text, re.DOTALL)
    for line in [line for block in typed for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", text):
        for part in re.split(r"&&|\|\||[|;]|\s#", line):
            words = part.strip().removeprefix("$ ").split()
            if words and words[0] == program:
                yield words[1:]


def unknown_words(words: list[str]) -> list[str]:
    """Verbs and options of a ``poplab`` line that the command does not have."""
    command: click.Command = poplab
    options = set[str]()
    unknown = []
    for word in words:
        options |= {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
        if word.startswith("-"):
            if word.split("=")[0] not in options:
                unknown.append(word)
        elif isinstance(command, click.Group) and re.fullmatch(r"[a-z][a-z-]*", word):
            if word not in command.commands:
                return [*unknown, word]
            command = command.commands[word]
    return unknown


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_poplab_command_on_a_page_exists(page: Path) -> None:
    wrong = {
        " ".join(words): bad
        for words in commands(page.read_text(), "poplab")
        if (bad := unknown_words(words))
    }
    assert not wrong


def test_a_command_that_does_not_exist_would_be_found() -> None:
    text = "```\n$ poplab rum x.yaml\npoplab edge --config a/edge.yaml add-client x --qr\n```\nor `poplab run --bad x`"
    assert [unknown_words(words) for words in commands(text, "poplab")] == [["rum"], [], ["--bad"]]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_make_target_on_a_page_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    named = {words[0] for words in commands(page.read_text(), "make") if words and words[0].isalpha()}
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_the_readme_leads_with_the_demo() -> None:
    first = next(commands((REPOSITORY / "README.md").read_text(), "make"))
    assert first == shlex.split("demo")


# -- drop reasons --


def reasons() -> Iterator[tuple[str, str, str]]:
    """(section, value, meaning) of each member, as its source says."""
    section = ""
    inside = False
    for line in Path(types.__file__).read_text().splitlines():
        if line.startswith("class "):
            inside = line.startswith("class DropReason")
        elif inside and (heading := re.fullmatch(r"    # (.+)\.", line)):
            section = heading[1]
        elif inside and (member := re.fullmatch(r'    [A-Z0-9_]+ = "(\w+)"(?:  # (.+))?', line)):
            yield section, member[1], member[2] or ""


def drop_reasons_page() -> str:
    lines = [
        "# Drop reasons",
        "",
        "Why a packet or datagram died. The same word is the `reason` label of `poplab_dropped_packets_total` and",
        "`poplab_dropped_datagrams_total`, and what a scenario expects. The set is closed.",
        "",
        "Made from `edge/proto/types.py` by `python tests/test_architecture.py`.",
    ]
    before = None
    for section, value, meaning in reasons():
        if section != before:
            lines += ["", f"## {section}", "", "| reason | meaning |", "| --- | --- |"]
            before = section
        lines.append(f"| `{value}` | {meaning} |")
    return "\n".join(lines) + "\n"


def test_the_page_of_drop_reasons_is_up_to_date() -> None:
    assert [value for _, value, _ in reasons()] == [reason.value for reason in DropReason]
    assert DROP_REASONS.read_text() == drop_reasons_page(), "python tests/test_architecture.py"


def test_every_drop_reason_says_what_it_means() -> None:
    assert [value for section, value, meaning in reasons() if not meaning or not section] == []


def test_every_drop_reason_happens_somewhere() -> None:
    used = {
        node.attr
        for path in MODULES
        if path != Path(types.__file__)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "DropReason"
    }
    assert used - {"of"} == set(DropReason.__members__)


# -- modules --


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_says_what_it_is_and_keeps_short(path: Path) -> None:
    source = path.read_text()
    docstring = ast.get_docstring(ast.parse(source)) or ""
    assert docstring or (path.name == "__init__.py" and not source.strip())
    assert source.count("\n") <= LONGEST or WHY_SO_LONG in docstring.lower(), (
        f"{name(path)}: find the hidden noun"
    )


BANNED = {
    "time": "now is an argument",
    "random": "rng is an argument",
    "secrets": "rng is an argument",
    "os": "a core has no system",
    "socket": "a core moves no bytes",
    "threading": "a core has no thread",
    "asyncio": "a core has no task",
    "trio": "a core has no task",
    "logging": "a core returns events",
    "structlog": "a core returns events",
    "prometheus_client": "a core counts in plain ints",
}
BANNED_CALLS = {("datetime", "now"), ("datetime", "utcnow"), ("date", "today")}


def impurities(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.partition(".")[0] in BANNED)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            if (node.module or "").partition(".")[0] in BANNED:
                yield str(node.module)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
            if (owner, node.attr) in BANNED_CALLS:
                yield f"{owner}.{node.attr}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in ("open", "print", "input", "__import__"):
                yield node.func.id
        elif isinstance(node, ast.Global):
            yield f"global {node.names[0]}"


@pytest.mark.parametrize("path", CORES, ids=name)
def test_a_core_sees_no_clock_no_socket_no_chance(path: Path) -> None:
    assert list(impurities(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize(
    "line",
    [
        "import time",
        "from random import random",
        "import os.path",
        "x = datetime.now()",
        "open('f')",
        "global x",
    ],
)
def test_an_impure_core_would_be_found(line: str) -> None:
    source = f"def f():\n    {line}\n"
    assert len(list(impurities(ast.parse(source)))) == 1


def mutable_state(tree: ast.Module) -> Iterator[str]:
    """Names of module-level lists, dicts and sets that are not written as constants."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp):
            for target in targets:
                if (
                    isinstance(target, ast.Name)
                    and not target.id.strip("_").isupper()
                    and target.id != "__all__"
                ):
                    yield target.id


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_no_module_has_state(path: Path) -> None:
    assert list(mutable_state(ast.parse(path.read_text()))) == []


if __name__ == "__main__":
    DROP_REASONS.write_text(drop_reasons_page())
