"""Who is there: a tree for each virtual network, or one line for all."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from scenarios.live.style import ACCENT, FAINT, GOOD, VNETS, WARN
from scenarios.report import MemberRecord, RunRecord, Several, VnetRecord, clients, made_of, sites, ways_taken

INDENT, BETWEEN = 3, 4
MOST_WAYS = 4


def line(run: RunRecord) -> RenderableType:
    """How many tunnels of each network are up."""
    text = Text.assemble(("   PoP ", FAINT), (_where(run), "bold"), no_wrap=True, overflow="ellipsis")
    for index, vnet in enumerate(run.vnets):
        up = sum(member.up for member in vnet.members)
        text.append("   ")
        text.append(vnet.name, VNETS[index % len(VNETS)])
        text.append(f" {up}/{len(vnet.members)} up", GOOD if up == len(vnet.members) else FAINT)
    return text


def _where(run: RunRecord) -> str:
    """The address that somebody may dial: with a door, that alone."""
    return run.door or run.pop or "not yet"


def trees(run: RunRecord, width: int) -> RenderableType:
    """Side by side where all of both is to be seen, else one below the other."""
    pop = Text.assemble(("   PoP ", FAINT), (_where(run), "bold"))
    drawn = [_tree(vnet, VNETS[index % len(VNETS)]) for index, vnet in enumerate(run.vnets)]
    wide = Console(width=1000, color_system=None)
    widths = [Measurement.get(wide, wide.options, tree).maximum for tree in drawn]
    grid = Table.grid(padding=(0, BETWEEN, 0, 0))
    columns = max(widths[0::2], default=0) + max(widths[1::2], default=0) + 2 * BETWEEN + INDENT
    if len(drawn) > 1 and columns <= width:
        for start in range(0, len(drawn), 2):
            grid.add_row(*drawn[start : start + 2])
    else:
        for tree in drawn:
            grid.add_row(tree)
    return Group(pop, Padding(grid, (0, 0, 0, INDENT)))


def ways(run: RunRecord) -> RenderableType:
    """Tunnels that took more than one way, the latest last."""
    return Group(
        *(
            Text.assemble(("   way ", FAINT), line, no_wrap=True, overflow="ellipsis")
            for line in ways_taken(run)[-MOST_WAYS:]
        )
    )


def _tree(vnet: VnetRecord, colour: str) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_column(overflow="fold")
    grid.add_column(overflow="fold")
    places, devices = sites(vnet), clients(vnet)
    last = len(places) + len(devices) - 1
    for index, site in enumerate(places):
        stem = "   " if index == last else "│  "
        for number, member in enumerate(site.connectors if site.size == 1 else site.connectors[:1]):
            group = [member] if site.size == 1 else site.connectors
            name = member.name if site.size == 1 else site.name
            branch = ("└─ " if index == last else "├─ ") if number == 0 else stem
            grid.add_row(
                _name(branch, name, colour), member.address, Text(_kind(group), FAINT), _light(group)
            )
        for host, role in site.hosts:
            grid.add_row(
                Text.assemble((stem + "   ", FAINT), host.name), host.address, Text(_times(host, role), FAINT)
            )
    for index, client in enumerate(devices, len(places)):
        branch = "└─ " if index == last else "├─ "
        shown, group = client.shown, client.members
        grid.add_row(
            _name(branch, shown.name, colour), shown.address, Text(_kind(group), FAINT), _light(group)
        )
    title = Text.assemble(("vnet ", FAINT), (vnet.name, f"bold {colour}"))
    if vnet.note:
        title.append(f"   {vnet.note}", f"italic {FAINT}")
    return Group(title, grid)


def _name(branch: str, name: str, colour: str) -> Text:
    return Text.assemble((branch, FAINT), (name, colour))


def _kind(group: list[MemberRecord]) -> str:
    if len(group) == 1 and group[0].outside:
        return "your device"
    return group[0].kind if len(group) == 1 else f"{len(group):,} {group[0].kind}s"


def _times(host: Several, role: str) -> str:
    return role if host.size == 1 else f"{host.size:,} × {role or 'host'}"


def _light(group: list[MemberRecord]) -> Text:
    up = sum(member.up for member in group)
    whole = up == len(group)
    light = Text.assemble((made_of(group), FAINT), (" ●", GOOD) if whole else (" ○", WARN if up else FAINT))
    if len(group) > 1 and not whole:
        light.append(f" {up:,} of {len(group):,} up", FAINT)
    if len(group) == 1 and group[0].packets_in + group[0].packets_out:
        light.append(f"  in {group[0].packets_in:,} out {group[0].packets_out:,}", FAINT)
    if group[0].endpoint:
        light.append(f"  {group[0].endpoint}", ACCENT)
    if group[0].tags:
        light.append(f"  {', '.join(group[0].tags)}", WARN)
    return light
