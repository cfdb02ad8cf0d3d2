"""What is written goes out as far as its end can take it."""

from __future__ import annotations

import io
import os
import pty

import pytest

from scenarios.live.stdout import Stdout


@pytest.mark.parametrize(
    ("encoding", "said"), [("ascii", rb"MOS 4.3 \xb5 \u2026"), ("latin-1", b"MOS 4.3 \xb5 \\u2026")]
)
def test_what_an_old_locale_has_no_letter_for_is_spelt(encoding: str, said: bytes) -> None:
    raw = io.BytesIO()
    stdout = Stdout(io.TextIOWrapper(raw, encoding=encoding))
    stdout.write("MOS 4.3 µ …")
    stdout.flush()
    assert (raw.getvalue(), stdout.problem) == (said, "")


def test_a_terminal_that_is_gone_is_nobody_who_reads() -> None:
    ours, theirs = pty.openpty()
    with open(theirs, "w", buffering=1) as terminal:
        stdout = Stdout(terminal)
        stdout.write("there\n")
        os.close(ours)
        stdout.write("and gone\n")
    assert stdout.problem == ""


def test_a_full_disk_is_a_problem() -> None:
    with open("/dev/full", "w") as full:
        stdout = Stdout(full)
        stdout.write("lost\n")
        stdout.flush()
    assert "No space left" in stdout.problem
