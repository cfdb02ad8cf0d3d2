"""The figures of a run, in tables that become cards on a phone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scenarios.report.findings import explain
from scenarios.report.groups import made_of, ways_of_several
from scenarios.report.html.markup import Child, Markup, element, join
from scenarios.report.html.words import MARKS, moment, mos_class, per_cent, seconds
from scenarios.report.record import CallRecord, CheckRecord, ProgramRecord, RunRecord, State, StepRecord
from scenarios.report.summary import figures

MOST_CALLS = 200
MOST_MEMBERS = 1000
MOST_FAULTS = 300
MOST_PROGRAMS = 300

_OUTCOMES = {"timeout": "no answer"}


def table(head: Sequence[str], rows: Sequence[Sequence[Child]], *, numbers: Sequence[int] = ()) -> Markup:
    """`numbers` are the columns that stand flush right."""
    kinds = ["num" if index in numbers else None for index in range(len(head))]
    top = element("tr", *(element("th", name, class_=kind) for name, kind in zip(head, kinds, strict=True)))
    body = [
        element("tr", *(
            element("td", cell, class_=kind, data_label=name)
            for cell, kind, name in zip(row, kinds, head, strict=True)
        ))
        for row in rows
    ]  # fmt: skip
    whole = element("table", element("thead", top), element("tbody", *body), class_="cards")
    return element("div", whole, class_="scroll")


def mark(state: State) -> Markup:
    sign, colour = MARKS[state]
    return element("span", sign, class_=f"mark {colour}", title=state)


def verdict_mark(*, holds: bool) -> Markup:
    return mark(State.PASSED if holds else State.FAILED)


def code(text: str) -> Markup:
    return element("code", text)


def more(shown: int, whole: int, what: str) -> Markup | None:
    if shown >= whole:
        return None
    return element("p", f"{whole - shown:,} more {what} are in results.json.", class_="soft")


# -- steps


def steps(run: RunRecord) -> Markup:
    """Each with what came of it and what its conditions saw."""
    items = [element("li", _head(step), element("div", *_about(step), class_="more")) for step in run.steps]
    items += [element("li", _in_the_end(run.checks))] if run.checks else []
    return element("ul", *items, class_="plain steps")


def _head(step: StepRecord) -> Markup:
    when = "not reached" if step.started is None else moment(step.started)
    if step.started is not None and step.ended is not None and step.ended > step.started:
        when += f" + {seconds(step.ended - step.started)}"
    return element(
        "div",
        mark(step.state),
        element("b", step.name),
        element("span", when, class_="soft num"),
        class_="head",
    )


def _about(step: StepRecord) -> Iterator[Markup]:
    kind = step.verb + (" in the background" if step.background else "")
    yield element("div", f"{kind}: {step.summary}" if step.summary else kind, class_="soft")
    if step.table:
        head, *rows = step.table
        yield table(head, [list(row) for row in rows])
    if step.error:
        yield element("div", step.error, class_="bad")
    for check in step.checks:
        yield _check(check)
    if step.output:
        yield folded("what the program wrote", step.output)


def folded(title: str, lines: Sequence[str]) -> Markup:
    """Lines that whoever wants to see unfolds."""
    return element("details", element("summary", title), element("pre", "\n".join(lines)))


def _check(check: CheckRecord) -> Markup:
    if not check.holds:
        return element(
            "div", verdict_mark(holds=False), " ", element("span", explain(check), class_="bad mono")
        )
    saw = ", ".join(f"{name} = {value}" for name, value in check.saw)
    return element(
        "div", verdict_mark(holds=True), " ", code(check.text),
        element("span", f"  {saw}", class_="soft mono") if saw else None,
    )  # fmt: skip


def _in_the_end(checks: list[CheckRecord]) -> Markup:
    good = State.PASSED if all(check.holds for check in checks) else State.FAILED
    head = element("div", mark(good), element("b", "in the end"), class_="head")
    return join(head, element("div", *map(_check, checks), class_="more"))


# -- programs


def programs(run: RunRecord) -> Markup:
    rows: list[list[Child]] = [
        [
            element("b", f"{program.host}: {program.name}"),
            code(" ".join(program.command)),
            _state(program),
            "" if program.ready_after is None else seconds(program.ready_after),
            folded(f"{program.output_bytes:,} bytes", program.output) if program.output else "nothing",
        ]
        for program in run.programs[:MOST_PROGRAMS]
    ]
    whole = table(["program", "command", "state", "ready after", "wrote"], rows, numbers=(3,))
    return join(whole, more(len(rows), len(run.programs), "programs"))


def _state(program: ProgramRecord) -> Markup:
    ended = f" with {program.signal or program.code}" if program.signal or program.code is not None else ""
    text = program.state.replace("_", " ") + ended
    if program.trouble:
        return element("span", f"{text}: {program.trouble}", class_="bad")
    return element("span", text)


# -- calls


def calls(run: RunRecord) -> Markup:
    rows = [_call(call) for call in run.calls[:MOST_CALLS]]
    models = sorted({d.profile for call in run.calls for d in call.directions if d.profile})
    note = element("p", f"MOS: {'; '.join(models)}.", class_="soft") if models else None
    heads = ["call", "setup", "loss", "jitter", "longest gap", "MOS heard by", "media"]
    return join(table(heads, rows, numbers=(1, 2, 3, 4)), note, more(len(rows), len(run.calls), "calls"))


def _call(call: CallRecord) -> list[Child]:
    answered = call.outcome == "answered"
    names = join(f"{call.caller} {'↔' if answered else '⇢'} {call.callee}")
    if call.server_initiated:
        names = join(names, element("div", "server-initiated", class_="soft"))
    if not answered:
        outcome = element("span", _OUTCOMES.get(call.outcome, call.outcome), class_="warn")
        return [names, outcome, "", "", "", "", ""]

    def worst(what: str) -> float | None:
        known = (getattr(direction, what) for direction in call.directions if direction.packets)
        return max((value for value in known if value is not None), default=None)

    scores = [
        element(
            "div", f"{direction.listener} ",
            element("b", f"{direction.mos:.2f}", class_=mos_class(direction.mos)), class_="nowrap",
        )
        for direction in call.directions
        if direction.mos is not None
    ]  # fmt: skip
    loss = worst("loss")
    lost = element("span", per_cent(loss), class_="bad" if loss else None)
    return [
        names, seconds(call.setup_time), lost, seconds(worst("jitter")), seconds(worst("gap_max")), join(*scores),
        element("span", call.path, class_="soft"),
    ]  # fmt: skip


def sightings(run: RunRecord) -> Markup:
    rows: list[list[Child]] = []
    for seen in run.sightings:
        good = seen.seen == seen.true
        rows.append([verdict_mark(holds=good), seen.pbx, seen.user, code(seen.seen), code(seen.true)])
    return table(["", "PBX", "user", "saw", "true address"], rows)


# -- loads, limits, laws


def loads(run: RunRecord) -> Markup:
    rows: list[list[Child]] = [
        [
            load.name, code(load.verb), f"{load.started:,}", f"{load.passed:,}",
            element("span", f"{load.failed:,}", class_="bad" if load.failed else None),
            element("span", f"{load.skipped:,}", class_="warn" if load.skipped else None),
            f"{load.rate:,.1f}/s",
            join(*(element("div", line, class_="nowrap") for line in figures(load))),
        ]
        for load in run.loads
    ]  # fmt: skip
    heads = ["load", "does", "started", "passed", "failed", "not started", "rate", "figures"]
    return table(heads, rows, numbers=(2, 3, 4, 5, 6))


def thresholds(run: RunRecord) -> Markup:
    rows: list[list[Child]] = []
    for limit in run.thresholds:
        saw = element("b", limit.saw or "–", class_="good" if limit.holds else "bad")
        ended = element("div", "ended the run", class_="warn") if limit.aborted else None
        rows.append([verdict_mark(holds=limit.holds), code(limit.key), code(limit.text), join(saw, ended)])
    return table(["", "metric", "limit", "measured"], rows)


def invariants(run: RunRecord) -> Markup:
    rows: list[list[Child]] = []
    for law in run.invariants:
        details = [element("div", detail, class_="bad") for detail in law.details]
        first = f" First seen at {moment(law.at)}." if law.at is not None else ""
        rows.append([verdict_mark(holds=law.holds), law.id, join(law.text + first, *details)])
    return table(["", "invariant", "what was seen"], rows)


def accounts(run: RunRecord) -> Markup:
    rows: list[list[Child]] = [
        [
            account.vnet, f"{account.packets_in:,}", f"{account.generated:,}", f"{account.packets_out:,}",
            f"{sum(account.dropped.values()):,}", f"{account.held:,}",
        ]
        for account in run.accounts
    ]  # fmt: skip
    heads = ["vnet", "in", "+ generated", "= out", "+ dropped", "+ held"]
    return table(heads, rows, numbers=(1, 2, 3, 4, 5))


def drops(run: RunRecord) -> Markup:
    """By reason, the most frequent first."""
    counts = [
        (count, account.vnet, reason) for account in run.accounts for reason, count in account.dropped.items()
    ]
    if not counts:
        return element("p", "No packet was dropped.", class_="soft")
    counts.sort(key=lambda each: (-each[0], each[1:]))
    top = counts[0][0]
    rows = [
        element(
            "tr", element("td", vnet), element("td", code(reason)), element("td", f"{count:,}", class_="num"),
            element("td", element("span", style=f"width:{100 * count / top:.1f}%", class_="bar"), class_="barcell"),
        )
        for count, vnet, reason in counts
    ]  # fmt: skip
    heads = [
        element("th", "vnet"),
        element("th", "reason"),
        element("th", "packets", class_="num"),
        element("th"),
    ]
    whole = element("table", element("thead", element("tr", *heads)), element("tbody", *rows))
    return element("div", whole, class_="scroll")


def faults(run: RunRecord) -> Markup:
    rows: list[list[Child]] = [
        [moment(fault.at), code(fault.kind), fault.target, fault.text] for fault in run.faults[:MOST_FAULTS]
    ]
    return join(
        table(["at", "fault", "of", "what it did"], rows),
        more(len(rows), len(run.faults), "faults"),
    )


def ways(run: RunRecord) -> Markup:
    """Of tunnels that took more than one: what they left, and what they found after they had none."""
    rows: list[list[Child]] = [
        [moment(change.at), change.tunnel, code(change.before or "none"), code(change.way or "none")]
        for change in ways_of_several(run)
    ]
    return join(
        table(["at", "tunnel", "from", "to"], rows[:MOST_FAULTS]),
        more(min(len(rows), MOST_FAULTS), len(rows), "changes"),
    )


def members(run: RunRecord) -> Markup:
    """Every tunnel and host with its address, folded away."""
    rows: list[list[Child]] = []
    for vnet in run.vnets:
        for member in vnet.members:
            light = (
                element("span", f"{made_of([member])}, up", class_="good")
                if member.up
                else element("span", "not up", class_="idle")
            )
            kind = ", ".join(filter(None, [member.kind, member.role, *member.tags]))
            rows.append([vnet.name, member.name, code(member.address), kind, light])
            rows += [
                [vnet.name, f"{member.site}/{name}", code(at), does, ""] for name, at, does in member.hosts
            ]
    shown = table(["vnet", "name", "address", "what it is", "tunnel"], rows[:MOST_MEMBERS])
    return element(
        "details", element("summary", f"All {len(rows):,} tunnels and hosts"), shown,
        more(min(len(rows), MOST_MEMBERS), len(rows), "of them"),
    )  # fmt: skip
