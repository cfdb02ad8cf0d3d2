"""report.html: one page for each run, and one that leads to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scenarios.report.findings import findings
from scenarios.report.html import charts, compared, tables
from scenarios.report.html.markup import Child, Markup, document, element
from scenarios.report.html.picture import wide
from scenarios.report.html.picture_narrow import narrow
from scenarios.report.html.style import CSS
from scenarios.report.html.timeline import timeline
from scenarios.report.html.words import VERDICTS, counted
from scenarios.report.record import ComparisonRecord, RunRecord, State
from scenarios.report.summary import took

MOST_FINDINGS = 30
MOST_DETAILS = 60

__all__ = ["index_html", "report_html"]


def report_html(run: RunRecord, comparison: ComparisonRecord | None = None) -> bytes:
    """Everything that is known of `run`, the verdict and its reasons first; a page without scripts."""
    parts = [_top(run), *filter(None, [_why(run)])]
    if comparison is not None:
        parts.append(_section("Compared with other fabrics", compared.one(comparison)))
    parts += [_section(title, *content) for title, content in _sections(run)]
    foot = element(
        "footer", f"poplab, {run.started_at[:19].replace('T', ' ')} UTC" if run.started_at else "poplab"
    )
    return document(f"{VERDICTS[run.state][0]} {run.title}", CSS, element("main", *parts, foot))


def index_html(
    runs: Sequence[RunRecord], folders: Sequence[str], comparisons: Sequence[ComparisonRecord] = ()
) -> bytes:
    """A line for each run; `folders` are beside this page and have each run's own, "" if it has none."""
    passed = sum(run.state is State.PASSED for run in runs)
    counted_runs = sum(run.state is not State.SKIPPED for run in runs)
    good = passed == counted_runs and passed > 0
    good = good and not any(each.state is State.FAILED for each in comparisons)
    head = element(
        "section",
        element("div", _badge("ALL PASSED" if good else "NOT PASSED", "good" if good else "bad"),
                element("h1", f"{passed} of {counted(counted_runs, 'run')} passed"), class_="top"),
    )  # fmt: skip
    differing = [_section("Compared with each other", compared.several(comparisons))] if comparisons else []
    rows: list[list[Child]] = []
    for run, folder in zip(runs, folders, strict=True):
        word, colour = VERDICTS[run.state]
        name: Child = element("a", run.title, href=f"{folder}/report.html") if folder else run.title
        reasons = "; ".join(f"{found.where}: {found.text}" for found in findings(run)[:3])
        rows.append(
            [
                element("b", word, class_=f"{colour} nowrap"),
                name,
                element("span", took(run), class_="nowrap"),
                reasons,
            ]
        )
    body = element("section", tables.table(["", "scenario", "time", "why"], rows, numbers=(2,)))
    return document(f"{passed} of {counted_runs} passed", CSS, element("main", head, *differing, body))


def _sections(run: RunRecord) -> Iterator[tuple[str, list[Child]]]:
    if run.vnets:
        yield "Topology", [wide(run), narrow(run), tables.members(run)]
    if run.steps or run.calls:
        yield "Timeline", [timeline(run), _colours(run)]
    if run.faults:
        yield "Faults", [tables.faults(run)]
    if any(change.before for change in run.ways):
        yield "Tunnels that went another way", [tables.ways(run)]
    if run.steps or run.checks:
        yield "Steps", [tables.steps(run)]
    if run.programs:
        yield "Programs", [tables.programs(run)]
    if run.thresholds:
        yield "Thresholds", [tables.thresholds(run)]
    if run.loads:
        yield "Loads", [tables.loads(run)]
    if run.calls:
        heard = charts.call_charts(run) if any(d.windows for c in run.calls for d in c.directions) else None
        yield "Calls", [tables.calls(run), heard]
    if run.sightings:
        yield "Addresses that a PBX saw", [tables.sightings(run)]
    if run.samples:
        yield "Traffic through the PoP", [charts.traffic_charts(run)]
    if run.accounts:
        yield "Dropped packets by reason", [tables.drops(run)]
        yield "Where every packet went", [tables.accounts(run)]
    if run.invariants:
        yield "What must always hold", [tables.invariants(run)]


def _section(title: str, *content: Child) -> Markup:
    return element("section", element("h2", title), *content)


def _badge(word: str, colour: str) -> Markup:
    return element("span", word, class_=f"badge {colour}")


def _top(run: RunRecord) -> Markup:
    word, colour = VERDICTS[run.state]
    facts: list[tuple[str, str]] = [("took", took(run)), ("fabric", run.fabric), ("seed", str(run.seed))]
    facts += [(name, str(value)) for name, value in run.cell.items()]
    if run.events:
        facts.append(("events", f"{run.events:,}"))
    if run.virtual and run.wall > 0:
        facts.append(("speed", f"{run.elapsed / run.wall:,.1f} × real time"))
    facts.append(("file", run.file))
    listed = [element("li", f"{name} ", element("b", value)) for name, value in facts]
    again = element(
        "div", element("span", "Again, exactly:", class_="soft"), element("code", run.repeat), class_="again"
    )
    return element(
        "section", element("div", _badge(word, colour), element("h1", run.title), class_="top"),
        element("p", run.about, class_="soft") if run.about else None,
        element("ul", *listed, class_="facts"), again if run.repeat else None,
    )  # fmt: skip


def _why(run: RunRecord) -> Markup | None:
    """What did not hold, before anything else."""
    found = findings(run)
    if not found:
        return None
    items = []
    for each in found[:MOST_FINDINGS]:
        details = "\n".join(each.details[:MOST_DETAILS])
        folded = element("pre", details) if details else None
        items.append(
            element(
                "li",
                element("span", each.where, class_="where"),
                ": ",
                element("span", each.text, class_="mono"),
                folded,
            )
        )
    kind = "why" if run.state in (State.FAILED, State.ERROR) else "why stopped"
    title = f"Why it did not pass: {counted(len(found), 'reason')}"
    return element(
        "section", element("h2", title), element("ol", *items),
        tables.more(len(items), len(found), "reasons"), class_=kind,
    )  # fmt: skip


def _colours(run: RunRecord) -> Markup:
    keys = [("b-passed", "passed, or a call that sounded good"), ("b-failed", "failed, or sounded bad")]
    keys += [
        ("b-fault", "interrupted, a fault, or sounded fair"),
        ("b-call", "a call of which nothing was heard yet"),
    ]
    return element(
        "ul", *(element("li", element("i", class_=kind), name) for kind, name in keys), class_="legend"
    )
