"""The same topology for a phone: one trunk down from the PoP."""

from __future__ import annotations

from scenarios.report.groups import Clients, Several, Site, clients, made_of, sites
from scenarios.report.html.markup import Markup, element, join
from scenarios.report.html.picture import (
    CARD,
    GAP,
    MOST_CLIENTS,
    MOST_HOSTS,
    MOST_SITES,
    card,
    label,
    line,
    rectangle,
    up_of,
)  # fmt: skip
from scenarios.report.html.style import NETWORKS
from scenarios.report.html.words import counted, short
from scenarios.report.record import MemberRecord, RunRecord

WIDTH = 350
TRUNK = 12
LEFT = 30
INDENT = 54
BUS = 42


def narrow(run: RunRecord) -> Markup:
    """For phones."""
    work = _Trunk()
    work.cards.append(rectangle(1, 1, WIDTH - 2, 34, fill="var(--card)", stroke="var(--ink)", radius=8))
    work.cards.append(label(12, 23, "PoP", "t-bold"))
    work.cards.append(label(WIDTH - 12, 23, run.pop, "t-mono t-soft", anchor="end"))
    for number, vnet in enumerate(run.vnets):
        colour = f"var(--n{number % NETWORKS})"
        begin = work.y
        work.y += 8
        work.cards.append(
            element(
                "text",
                "vnet ",
                element("tspan", vnet.name, font_weight="650", style=f"fill:{colour}"),
                x=LEFT,
                y=work.y + 14,
            )
        )
        work.y += 24
        if vnet.note:
            work.cards.append(label(LEFT, work.y + 10, short(vnet.note, 50), "t-small t-soft"))
            work.y += 18
        found, there = sites(vnet), clients(vnet)
        for site in found[:MOST_SITES]:
            work.site(site, colour)
        work.more(len(found) - MOST_SITES, "more site")
        for client in there[:MOST_CLIENTS]:
            work.client(client, colour)
        work.more(len(there) - MOST_CLIENTS, "more client")
        work.behind.append(rectangle(0, begin, WIDTH, work.y - begin, fill=colour, opacity=0.08, radius=10))
        work.y += 8
    trunk = element("line", x1=TRUNK, x2=TRUNK, y1=35, y2=work.last, stroke="var(--ink)", stroke_width="2")
    return element(
        "svg", *work.behind, trunk, *work.cards, viewBox=f"0 0 {WIDTH} {work.y:.0f}", class_="narrow", role="img",
        aria_label="The PoP and its tunnels",
    )  # fmt: skip


class _Trunk:
    def __init__(self) -> None:
        self.y = 42.0
        self.last = 35.0
        self.behind: list[Markup] = []
        self.cards: list[Markup] = []

    def site(self, site: Site, colour: str) -> None:
        first, last = site.connectors[0], site.connectors[-1]
        routes = first.address if site.size == 1 else f"{first.address} … {last.address}"
        ends = site.connectors if site.size == 1 else site.connectors[:1]
        for member in ends:
            group = [member] if site.size == 1 else site.connectors
            name = member.name if len(group) == 1 else f"{site.size} sites {site.name}"
            about = (
                ", ".join(["connector", made_of(group), *member.tags]) if len(group) == 1 else up_of(group)
            )
            self._card(LEFT, Several(name, routes), about, group, colour)
        begin = self.y
        middles = []
        for host, role in site.hosts[:MOST_HOSTS]:
            middles.append(self.y + CARD / 2)
            self._card(INDENT, host, role, None, colour)
        if middles:
            bus = join(
                line(BUS, begin - GAP, BUS, middles[-1]), *(line(BUS, each, INDENT, each) for each in middles)
            )
            self.behind.append(bus)
        self.more(len(site.hosts) - MOST_HOSTS, "more host", INDENT)

    def client(self, client: Clients, colour: str) -> None:
        member = client.members[0]
        about = ", ".join(filter(None, [made_of(client.members), member.role, *member.tags]))
        if client.shown.size > 1:
            about = up_of(client.members)
        self._card(LEFT, client.shown, about, client.members, colour)

    def more(self, count: int, what: str, left: float = LEFT) -> None:
        if count > 0:
            self.cards.append(label(left, self.y + 12, f"and {counted(count, what)}", "t-soft"))
            self.y += 24

    def _card(
        self, left: float, shown: Several, about: str, members: list[MemberRecord] | None, colour: str
    ) -> None:
        if members is not None:
            self.last = self.y + CARD / 2
            stroke = colour if any(member.up for member in members) else "var(--idle)"
            stub = element(
                "line", x1=TRUNK, x2=left, y1=self.last, y2=self.last, stroke=stroke, stroke_width="2"
            )
            self.behind.append(stub)
        edge = colour if members is not None else "var(--line)"
        self.cards.append(card(left, self.y, WIDTH - left - 8, shown, about, members, colour=edge))
        self.y += CARD + GAP
