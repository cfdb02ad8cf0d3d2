"""What a fix proposes is read as it was meant."""

from __future__ import annotations

import shlex

import pytest

from edge.document import Document, flow_command


@pytest.mark.parametrize(
    "line",
    [
        "ping -c 2 fd00:50::80",
        "curl -o /dev/null 'http://x/?a=1&b={c}' --resolve a.b:80:10.0.50.80",
        "a yes no null on 1e3 .5 0x10 - -- ~ '' 08 1_000 = 0o7 12:30 2020-01-01 +1 -1 .inf -.inf true <<",
        "./x ../y é 😀 #x 'a, b' [c] *d &e !f @g %h '\t' '\x85'",
        "${dir}/a 'b c'",
    ],
)
def test_a_command_is_read_as_the_shell_reads_it(line: str) -> None:
    assert Document(f"run: {flow_command(line)}\n", "a.yaml").data["run"] == shlex.split(line)


def test_only_what_has_to_be_is_in_quotes() -> None:
    assert flow_command("ping -c 2 10.0.50.80") == '[ping, -c, "2", 10.0.50.80]'
    assert flow_command("dig x | grep y") == '[sh, -c, "dig x | grep y"]'


@pytest.mark.parametrize("line", ["echo 'no end", "x" * 201])
def test_what_cannot_be_taken_apart_is_not_proposed(line: str) -> None:
    assert flow_command(line) == ""
