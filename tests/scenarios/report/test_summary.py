"""The Markdown for a CI page."""

from __future__ import annotations

from scenarios.report import CallRecord, DirectionRecord, RunRecord, State, step_summary


def record(name: str, state: State, error: str = "") -> RunRecord:
    return RunRecord(
        file="a", name=name, about="", fabric="sim", seed=7, deadline=1, repeat=f"poplab run {name}", state=state,
        error=error, elapsed=2.0,
        calls=[CallRecord(caller="a", callee="b", directions=[DirectionRecord(listener="b", mos=4.123)])],
    )  # fmt: skip


def test_a_line_for_each_run_and_how_to_do_again_what_did_not_pass() -> None:
    text = step_summary(
        [record("one", State.PASSED), record("two", State.FAILED), record("three", State.SKIPPED, "why")]
    )
    assert text.startswith("### poplab: 1 of 2 passed\n")
    assert "| one | ✅ passed | 2.0 s | 4.12 |  |" in text
    assert "| three | ⏭ skipped | 2.0 s | 4.12 | run: why |" in text
    assert "poplab run two\n```" in text
    assert "poplab run three" not in text


def test_no_name_leaves_its_cell() -> None:
    text = step_summary([record("a|b\n# <b>x</b> [c](http://d) ```", State.ERROR)])
    (row,) = [line for line in text.splitlines() if line.startswith("| a")]
    assert row.count("|") - row.count("\\|") == 6
    assert "\\<b\\>" in row
    assert "http://" not in row
    assert text.count("```") == 2


def test_too_many_runs_are_cut_before_the_limit_of_the_page() -> None:
    text = step_summary([record("x" * 200, State.PASSED)] * 5000)
    assert len(text.encode()) < 1 << 20
    assert "and more" in text
