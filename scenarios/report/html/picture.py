"""The topology as a drawing: the PoP in the middle, a band for each network, sites left, clients right."""

from __future__ import annotations

from scenarios.report.groups import Clients, Several, Site, clients, made_of, sites
from scenarios.report.html.markup import Markup, element, join
from scenarios.report.html.style import NETWORKS
from scenarios.report.html.words import counted, short
from scenarios.report.record import AccountRecord, MemberRecord, RunRecord, VnetRecord

MOST_CLIENTS = 12
MOST_SITES = 8
MOST_HOSTS = 8
"""Drawn in one network, or one site; the table below the picture has all."""

WIDTH = 1080
POP_LEFT, POP_RIGHT = 478, 602
CARD, GAP = 40, 8
HOST_LEFT, HOST_WIDTH = 26, 178
BUS = 224
CONNECTOR_LEFT, CONNECTOR_WIDTH = 244, 186
CLIENT_LEFT, CLIENT_WIDTH = 676, 380
TITLE = 30


def wide(run: RunRecord) -> Markup:
    """For screens and paper."""
    accounts = {account.vnet: account for account in run.accounts}
    top = 46.0
    behind: list[Markup] = []
    front: list[Markup] = []
    for number, vnet in enumerate(run.vnets):
        colour = f"var(--n{number % NETWORKS})"
        band = _Band(vnet, colour, top, accounts.get(vnet.name))
        behind.append(band.behind)
        front.append(band.front)
        top += band.height + 12
    pop = join(
        rectangle(
            POP_LEFT, 2, POP_RIGHT - POP_LEFT, top - 10, fill="var(--card)", stroke="var(--ink)", radius=10
        ),
        label((POP_LEFT + POP_RIGHT) / 2, 20, "PoP", "t-bold", anchor="middle"),
        label((POP_LEFT + POP_RIGHT) / 2, 36, short(run.pop, 21), "t-mono t-soft", anchor="middle"),
    )
    name = f"The PoP and its {counted(sum(len(vnet.members) for vnet in run.vnets), 'tunnel')}"
    return element(
        "svg", element("title", name), *behind, pop, *front,
        viewBox=f"0 0 {WIDTH} {top:.0f}", class_="wide", role="img", aria_label=name,
    )  # fmt: skip


class _Band:
    """One virtual network; `behind` the PoP are its ground and its tunnels."""

    def __init__(self, vnet: VnetRecord, colour: str, top: float, account: AccountRecord | None) -> None:
        self._colour = colour
        self._lines: list[Markup] = []
        self._cards: list[Markup] = []
        left = self._sites(sites(vnet), top + TITLE)
        right = self._clients(clients(vnet), top + TITLE)
        self.height = max(left, right, top + TITLE + 52) - top + 4
        ground = rectangle(0, top, WIDTH, self.height, fill=colour, opacity=0.08, radius=12)
        name = short(vnet.name, 48)
        beside = 14 + 7.5 * (len(name) + len(vnet.note) + 7) < POP_LEFT
        title = element(
            "text", "vnet ", element("tspan", name, font_weight="650", style=f"fill:{colour}"),
            element("tspan", f"  {vnet.note}", class_="t-soft", font_style="italic") if beside else None,
            x=14, y=top + 20,
        )  # fmt: skip
        if not beside:
            title = join(title, label(POP_RIGHT + 14, top + 20, short(vnet.note, 64), "t-soft"))
        self.behind = join(ground, *self._lines)
        self.front = join(title, self._inside(vnet, account, top), *self._cards)

    def _inside(self, vnet: VnetRecord, account: AccountRecord | None, top: float) -> Markup:
        """What the PoP counted for this network."""
        middle = (POP_LEFT + POP_RIGHT) / 2
        lines = [(short(vnet.name, 18), "t-bold", f"fill:{self._colour}")]
        if account is not None:
            dropped = sum(account.dropped.values())
            lines += [
                (f"in {account.packets_in:,}", "t-small t-soft", ""),
                (f"out {account.packets_out:,}", "t-small t-soft", ""),
            ]
            lines.append(
                (f"dropped {dropped:,}", "t-small", "fill:var(--bad)" if dropped else "fill:var(--soft)")
            )
        y = top + self.height / 2 - 7.5 * len(lines) + 11
        return join(*(
            label(middle, y + 15 * index, text, kind, anchor="middle", style=style)
            for index, (text, kind, style) in enumerate(lines)
        ))  # fmt: skip

    # -- sites, left

    def _sites(self, found: list[Site], top: float) -> float:
        for site in found[:MOST_SITES]:
            top = self._site(site, top) + 12
        if len(found) > MOST_SITES:
            self._cards.append(
                label(14, top + 12, f"and {counted(len(found) - MOST_SITES, 'more site')}", "t-soft")
            )
            top += 24
        return top

    def _site(self, site: Site, top: float) -> float:
        hosts = site.hosts[:MOST_HOSTS]
        more = len(site.hosts) - len(hosts)
        connectors = site.connectors if site.size == 1 else site.connectors[:1]
        rows = max(len(hosts) + (more > 0), len(connectors), 1)
        height = 26 + rows * (CARD + GAP) + 4
        first = site.connectors[0]
        routes = first.address if site.size == 1 else f"{first.address} … {site.connectors[-1].address}"
        self._cards.append(
            rectangle(12, top, 430, height, stroke="var(--line)", fill="none", radius=10, dash="4 3")
        )
        title = f"site {site.name}" if site.size == 1 else f"{site.size} sites {site.name}"
        self._cards.append(join(
            label(26, top + 18, short(title, 30), "t-bold", full=title),
            label(430, top + 18, short(routes, 32), "t-mono t-soft", anchor="end", full=routes),
        ))  # fmt: skip
        y = top + 28
        middles = []
        for index, (host, role) in enumerate(hosts):
            self._cards.append(card(HOST_LEFT, y + index * (CARD + GAP), HOST_WIDTH, host, role))
            middles.append(y + index * (CARD + GAP) + CARD / 2)
        if more:
            self._cards.append(
                label(HOST_LEFT + 10, y + len(hosts) * (CARD + GAP) + 16, f"and {more} more", "t-soft")
            )
        ends = []
        for index, member in enumerate(connectors):
            ends.append(y + index * (CARD + GAP) + CARD / 2)
            self._connector(site, member, y + index * (CARD + GAP))
        if middles:
            stubs = [line(HOST_LEFT + HOST_WIDTH, each, BUS, each) for each in middles]
            stubs += [line(BUS, each, CONNECTOR_LEFT, each) for each in ends]
            stubs.append(line(BUS, min(middles + ends), BUS, max(middles + ends)))
            self._cards += stubs
        return top + height

    def _connector(self, site: Site, member: MemberRecord, y: float) -> None:
        group = site.connectors if site.size > 1 else [member]
        name = f"{len(group)} connectors" if len(group) > 1 else member.name
        self._tunnel(CONNECTOR_LEFT + CONNECTOR_WIDTH, POP_LEFT, y + CARD / 2, group)
        about = ", ".join(["connector", made_of(group), *member.tags]) if len(group) == 1 else up_of(group)
        self._cards.append(card(CONNECTOR_LEFT, y, CONNECTOR_WIDTH, Several(name, about), "", group))

    # -- clients, right

    def _clients(self, found: list[Clients], top: float) -> float:
        for client in found[:MOST_CLIENTS]:
            member = client.members[0]
            about = ", ".join(filter(None, [made_of(client.members), member.role, *member.tags]))
            if client.shown.size > 1:
                about = ", ".join(
                    filter(None, [counted(client.shown.size, "client"), up_of(client.members), about])
                )
            self._tunnel(POP_RIGHT, CLIENT_LEFT, top + CARD / 2, client.members)
            self._cards.append(
                card(CLIENT_LEFT, top, CLIENT_WIDTH, client.shown, about, client.members, colour=self._colour)
            )
            top += CARD + GAP
        if len(found) > MOST_CLIENTS:
            self._cards.append(
                label(
                    CLIENT_LEFT,
                    top + 14,
                    f"and {counted(len(found) - MOST_CLIENTS, 'more client')}",
                    "t-soft",
                )
            )
            top += 24
        return top

    def _tunnel(self, left: float, right: float, y: float, members: list[MemberRecord]) -> None:
        up = any(member.up for member in members)
        style = (
            {"stroke": self._colour, "stroke_width": "2.5"}
            if up
            else {"stroke": "var(--idle)", "stroke_dasharray": "3 4"}
        )
        self._lines.append(element("line", x1=left, x2=right, y1=y, y2=y, **style))


# -- primitives


def card(
    x: float, y: float, width: float, shown: Several, about: str,
    members: list[MemberRecord] | None = None, *, colour: str = "var(--line)",
) -> Markup:  # fmt: skip
    """A name over an address; what it does on the right; a light if it is the end of a tunnel."""
    sheet = rectangle(x, y, width, CARD, fill="var(--card)", stroke=colour, radius=8)
    shadows = []
    if shown.size > 1:
        shadows = [
            rectangle(x + 6, y + 5, width, CARD, fill="var(--card)", stroke=colour, radius=8, opacity=0.6)
        ]
    letters = int((width - 44) / 7)
    light = None
    if members is not None:
        up = sum(member.up for member in members)
        fill = "var(--good)" if up == len(members) else "var(--warn)" if up else "var(--card)"
        tip = (
            element("title", "the tunnel is up" if up else "the tunnel is not up")
            if len(members) == 1
            else None
        )
        light = element(
            "circle", tip, cx=x + width - 14, cy=y + 14, r=4.5, fill=fill,
            stroke="var(--good)" if up == len(members) else "var(--idle)",
        )  # fmt: skip
    room = min(len(shown.name), letters - min(len(about), 8))
    beside = max(8, int(1.15 * (letters - room)))
    right = x + width - (26 if members is not None else 10)
    wide_enough = int((width - 20) / 6.6)
    return join(
        *shadows,
        sheet,
        label(x + 10, y + 17, short(shown.name, room), "t-bold", full=shown.name),
        label(x + 10, y + 32, short(shown.address, wide_enough), "t-mono t-soft", full=shown.address),
        label(right, y + 17, short(about, beside), "t-small t-soft", anchor="end", full=about)
        if about
        else None,
        light,
    )


def up_of(members: list[MemberRecord]) -> str:
    return f"{sum(member.up for member in members):,} of {len(members):,} up"


def rectangle(
    x: float, y: float, width: float, height: float, *, fill: str, radius: float = 0,
    stroke: str | None = None, opacity: float | None = None, dash: str | None = None,
) -> Markup:  # fmt: skip
    return element(
        "rect", x=x, y=y, width=width, height=height, rx=radius, fill=fill, stroke=stroke, opacity=opacity,
        stroke_dasharray=dash,
    )  # fmt: skip


def line(x1: float, y1: float, x2: float, y2: float) -> Markup:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_="lan")


def label(
    x: float,
    y: float,
    text: str,
    kind: str = "",
    *,
    anchor: str | None = None,
    style: str | None = None,
    full: str = "",
) -> Markup:
    """`full` is what a pointer shows where `text` had to be shortened."""
    tip = element("title", full) if full and full != text else None
    return element("text", tip, text, x=x, y=y, class_=kind or None, text_anchor=anchor, style=style or None)
