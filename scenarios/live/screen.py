"""A run as a screen: who is there, what happened, how the calls sounded, what the network did, the verdict."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from scenarios.live.style import (
    ACCENT,
    BAD,
    DARK,
    FAINT,
    GLYPHS,
    GOOD,
    VERDICTS,
    VNETS,
    WARN,
    clock,
    mos_bar,
    mos_colour,
    per_cent,
    seconds,
    sparkline,
)
from scenarios.report import (
    AccountRecord,
    CallRecord,
    MemberRecord,
    RunRecord,
    State,
    StepRecord,
    VnetRecord,
    explain,
)

WIDE = 96
"""Columns from which virtual networks stand side by side."""

VERY_WIDE = 120
"""Columns from which both listeners of a call stand side by side."""

SPARKS = 16


def screen(run: RunRecord, *, width: int, height: int | None = None, report: str = "") -> RenderableType:
    """All of `run`; with `height` so much of it that it fits, what is happening now before what stands still."""
    parts: list[tuple[int, RenderableType]] = [
        (0, header(run, width)),
        (3, topology(run, width)),
        (1, steps(run, width)),
        (2, laws(run)),
    ]
    if run.calls or run.sightings:
        parts.insert(3, (2, calls(run, width)))
    if run.about:
        parts.insert(1, (4, Padding(Text(run.about, FAINT), (0, 3))))
    if run.state is not State.RUNNING:
        parts.append((0, verdict(run, report)))
    if height is not None:
        probe = Console(width=width, height=height, color_system=None)
        lines = {index: len(probe.render_lines(part)) + 1 for index, (_, part) in enumerate(parts)}
        for index in sorted(lines, key=lambda index: -parts[index][0]):
            if sum(lines.values()) < height or parts[index][0] <= 1:
                break
            del lines[index]
        parts = [part for index, part in enumerate(parts) if index in lines]
    spaced: list[RenderableType] = []
    for _, part in parts:
        spaced += [part, Text()]
    return Group(*spaced)


def header(run: RunRecord, width: int) -> RenderableType:
    left = Text.assemble(
        (" poplab ", f"bold #1a1b26 on {ACCENT}"),
        f"  {run.name}",
        ("   fabric ", FAINT),
        run.fabric,
        ("   seed ", FAINT),
        str(run.seed),
    )
    left.stylize("bold", 9, 10 + len(run.name))
    if run.state is State.RUNNING:
        right = Text(f"live {clock(run.elapsed)}, at most {clock(run.deadline)} ", FAINT)
    else:
        right = Text(f"{run.started_at[:19].replace('T', ' ')} UTC ", FAINT)
    grid = Table.grid(expand=True)
    grid.add_column(no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    if width >= len(left) + len(right) + 2:
        grid.add_row(left, right)
    else:
        grid.add_row(left)
    return grid


# -- the topology


def topology(run: RunRecord, width: int) -> RenderableType:
    pop = Text.assemble(("   PoP ", FAINT), (run.pop or "not yet", "bold"))
    trees = [_tree(vnet, VNETS[index % len(VNETS)]) for index, vnet in enumerate(run.vnets)]
    side_by_side = width >= WIDE and len(trees) > 1
    grid = Table.grid(padding=(0, 4, 0, 0))
    if side_by_side:
        for start in range(0, len(trees), 2):
            grid.add_row(*trees[start : start + 2])
    else:
        for tree in trees:
            grid.add_row(tree)
    return Group(pop, Padding(grid, (0, 0, 0, 3)))


def _tree(vnet: VnetRecord, colour: str) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(4):
        grid.add_column(no_wrap=True)
    for index, member in enumerate(vnet.members):
        last = index == len(vnet.members) - 1
        grid.add_row(
            Text.assemble(("└─ " if last else "├─ ", FAINT), (member.name, colour)),
            member.address,
            Text(member.kind, FAINT),
            _light(member),
        )
        for name, address, role in member.hosts:
            stem = "   " if last else "│  "
            grid.add_row(Text.assemble((stem + "   ", FAINT), name), address, Text(role, FAINT))
    title = Text.assemble(("vnet ", FAINT), (vnet.name, f"bold {colour}"))
    if vnet.note:
        title.append(f"   {vnet.note}", f"italic {FAINT}")
    return Group(title, grid)


def _light(member: MemberRecord) -> Text:
    light = Text.assemble((member.tunnel, FAINT), (" ●", GOOD) if member.up else (" ○", FAINT))
    if member.tags:
        light.append(f"  {', '.join(member.tags)}", WARN)
    return light


# -- the steps


def steps(run: RunRecord, width: int) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(ratio=2)
    grid.add_column(ratio=3)
    for step in run.steps:
        grid.add_row(_glyph(step.state), _when(run, step), _name(step, width), _seen(run, step))
        for line in _wrong(step):
            grid.add_row("", "", "", Text(line, BAD))
    for index, check in enumerate(run.checks):
        label = Text("in the end" if index == 0 else "", FAINT)
        text = Text(check.text, FAINT) if check.holds else Text(explain(check), BAD)
        grid.add_row(_glyph(State.PASSED if check.holds else State.FAILED), "", label, text)
    return Padding(grid, (0, 0, 0, 3))


def _glyph(state: State) -> Text:
    glyph, colour = GLYPHS[state]
    return Text(glyph, f"bold {colour}")


def _when(run: RunRecord, step: StepRecord) -> Text:
    if step.ended is not None:
        return Text(f"{step.ended:.1f} s", FAINT)
    return Text(f"{run.elapsed:.1f} s", ACCENT) if step.started is not None else Text()


def _name(step: StepRecord, width: int) -> Text:
    text = Text(step.name, FAINT if step.state is State.PENDING else "")
    if step.background and step.state is State.RUNNING and width >= WIDE:
        text.append("  in the background", f"italic {FAINT}")
    return text


def _seen(run: RunRecord, step: StepRecord) -> Text:
    if step.state is State.RUNNING:
        text = Text(step.waiting, FAINT)
        if run.samples and not step.background:
            text.append(f"   {sparkline([s.packets_per_second for s in run.samples], SPARKS)}", ACCENT)
            text.append(f" {run.samples[-1].packets_per_second:,.0f} packets/s", FAINT)
        return text
    return Text(step.summary, FAINT)


def _wrong(step: StepRecord) -> Iterator[str]:
    if step.error:
        yield step.error
    for check in step.checks:
        if not check.holds:
            yield explain(check)


# -- the calls


def calls(run: RunRecord, width: int) -> RenderableType:
    if not run.calls:
        return Group(*_sightings(run))
    wide = width >= VERY_WIDE
    table = Table(box=None, pad_edge=False, padding=(0, 3 if wide else 2, 0, 0), header_style=FAINT)
    for title in ("call", "setup", "loss", "jitter", "longest gap"):
        table.add_column(title, justify="left" if title == "call" else "right", no_wrap=True)
    heard = [direction for call in run.calls for direction in call.directions if direction.mos is not None]
    models = sorted({direction.profile for direction in heard})
    table.add_column(f"MOS heard by   {'; '.join(models)}" if wide else "MOS heard by", no_wrap=True)
    longest = max((len(direction.listener) for direction in heard), default=0)
    for call in run.calls:
        table.add_row(*_call(call, longest, wide))
    return Group(Padding(table, (0, 0, 0, 3)), *_sightings(run))


def _call(call: CallRecord, longest: int, wide: bool) -> list[RenderableType]:
    there = call.outcome in ("answered", "trying")
    names = Text.assemble(call.caller, (" ↔ " if there else " ⇢ ", FAINT), call.callee)
    if call.server_initiated and wide:
        names.append("  server-initiated", f"italic {FAINT}")
    if not there:
        return [names, Text(_OUTCOMES.get(call.outcome, call.outcome), WARN), "", "", "", ""]
    heard = [direction for direction in call.directions if direction.packets]
    loss, jitter, gap = (
        max((value for direction in heard if (value := getattr(direction, what)) is not None), default=None)
        for what in ("loss", "jitter", "gap_max")
    )
    scores = Text()
    for direction in heard:
        if direction.mos is not None:
            colour = mos_colour(direction.mos)
            full, missing = mos_bar(direction.mos, 8 if wide else 4)
            scores.append("\n" if scores and not wide else "")
            scores.append(f"{direction.listener:<{longest}} ", FAINT)
            scores.append(f"{direction.mos:.2f} ", f"bold {colour}")
            scores.append(full, colour).append(f"{missing}   " if wide else missing, DARK)
    return [
        names,
        seconds(call.setup_time),
        Text(per_cent(loss), BAD if loss else ""),
        seconds(jitter),
        seconds(gap),
        scores,
    ]


_OUTCOMES = {"timeout": "no answer"}


def _sightings(run: RunRecord) -> Iterator[RenderableType]:
    by_pbx: dict[str, Text] = {}
    for sighting in run.sightings:
        true = sighting.seen == sighting.true
        text = by_pbx.setdefault(sighting.pbx, Text.assemble(("   ", ""), (f"{sighting.pbx} saw", FAINT)))
        text.append(f"   {sighting.user} ")
        text.append(sighting.seen, GOOD if true else BAD)
        if not true:
            text.append(f" (truly {sighting.true})", BAD)
    if by_pbx:
        yield Text()
        yield from by_pbx.values()


# -- what must hold


def laws(run: RunRecord) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column()
    for law in run.invariants:
        text = Text(law.text)
        if law.id == "accounting" and law.holds:
            text = _account(run.accounts)
        grid.add_row(_glyph(State.PASSED if law.holds else State.FAILED), Text(law.id, FAINT), text)
        for detail in law.details[:3]:
            grid.add_row("", "", Text(detail, BAD))
    return Padding(grid, (0, 0, 0, 3))


def _account(accounts: list[AccountRecord]) -> Text:
    inside = sum(account.packets_in for account in accounts)
    made = sum(account.generated for account in accounts)
    out = sum(account.packets_out for account in accounts)
    held = sum(account.held for account in accounts)
    reasons: dict[str, int] = {}
    for account in accounts:
        for reason, count in account.dropped.items():
            reasons[reason] = reasons.get(reason, 0) + count
    dropped = sum(reasons.values())
    why = f" ({', '.join(f'{reason} {count:,}' for reason, count in reasons.items())})" if reasons else ""
    text = Text(f"in {inside:,}")
    if made:
        text.append(f" + generated {made:,}")
    return text.append(f" = out {out:,} + dropped {dropped:,}{why} + held {held:,}")


# -- the verdict


def verdict(run: RunRecord, report: str = "") -> RenderableType:
    word, colour = VERDICTS[run.state]
    line = Text.assemble((f" {word} ", colour), f"  in {run.elapsed:.1f} s")
    if report:
        line.append("     report ", FAINT)
        line.append(report)
    lines = [line]
    failed = [step.name for step in run.steps if step.state in (State.FAILED, State.ERROR)]
    failed += [check.text for check in run.checks if not check.holds]
    failed += [law.id for law in run.invariants if not law.holds]
    if failed:
        lines.append(Text(f"   failed: {'; '.join(failed)}", BAD))
    if run.error:
        lines.append(Text(run.error, BAD))
    if run.repeat:
        lines.append(Text.assemble(("   again, exactly:  ", FAINT), run.repeat, overflow="fold"))
    return Group(*lines)
