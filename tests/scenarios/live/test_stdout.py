"""What is written goes out as far as its end can take it."""

from __future__ import annotations

import io

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
