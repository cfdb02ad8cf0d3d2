"""What several fabrics do not agree in."""

from __future__ import annotations

from collections.abc import Sequence

from scenarios.report.findings import outcome
from scenarios.report.html import tables
from scenarios.report.html.markup import Child, Markup, element, join
from scenarios.report.record import ComparisonRecord, DifferenceRecord, State

MOST_OF_ONE = 100


def one(comparison: ComparisonRecord) -> Markup:
    """The outcome, what counts, and, folded, what does not."""
    known = comparison.state in (State.PASSED, State.FAILED)
    verdict = tables.mark(comparison.state) if known else None
    counting = [each for each in comparison.differences if each.counts]
    lenient = [each for each in comparison.differences if not each.counts]
    again = element(
        "div", element("span", "Again:", class_="soft"), element("code", comparison.repeat), class_="again"
    )
    return join(
        element("p", verdict, " ", outcome(comparison)),
        _table(comparison, counting) if counting else None,
        tables.more(min(len(counting), MOST_OF_ONE), comparison.differing, "differences"),
        _folded(comparison, lenient) if lenient else None,
        again if comparison.repeat else None,
    )


def several(comparisons: Sequence[ComparisonRecord]) -> Markup:
    """A row for each, and below it what counts."""
    rows: list[list[Child]] = [
        [tables.mark(each.state), each.title, ", ".join(each.fabrics), str(each.facts), str(each.differing),
         str(each.tolerated + each.ignored), each.reason]
        for each in comparisons
    ]  # fmt: skip
    heads = ["", "scenario", "fabrics", "facts", "differences", "not counted", "why not compared"]
    found = [
        join(element("h3", each.title), _table(each, [one for one in each.differences if one.counts]))
        for each in comparisons
        if each.differing
    ]
    return join(tables.table(heads, rows, numbers=(3, 4, 5)), *found)


def _folded(comparison: ComparisonRecord, lenient: list[DifferenceRecord]) -> Markup:
    summary = f"{comparison.tolerated} within tolerance, {comparison.ignored} ignored by the file"
    return element("details", element("summary", summary), _table(comparison, lenient))


def _table(comparison: ComparisonRecord, differences: list[DifferenceRecord]) -> Markup:
    others = len(comparison.fabrics) > 2
    rows: list[list[Child]] = []
    for each in differences[:MOST_OF_ONE]:
        right = f"{each.fabric}: {each.right}" if others else each.right
        where = ", ".join(filter(None, [each.about, each.place]))
        rows.append([tables.code(each.name), where, each.left, right, each.why])
    head = ["fact", "where", comparison.fabrics[0], "elsewhere" if others else comparison.fabrics[1], "rule"]
    return tables.table(head, rows)
