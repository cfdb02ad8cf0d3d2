"""report.html: it says everything, needs nothing, and no name in it can act."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from scenarios.report import (
    AccountRecord,
    CallRecord,
    CheckRecord,
    DirectionRecord,
    FaultRecord,
    InvariantRecord,
    LoadRecord,
    MemberRecord,
    ProgramRecord,
    RunRecord,
    SampleRecord,
    SightingRecord,
    State,
    StepRecord,
    ThresholdRecord,
    VnetRecord,
    WayRecord,
    WindowRecord,
    index_html,
    report_html,
)

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;\x00\u202e"


def member(name: str, address: str, *, up: bool = True) -> MemberRecord:
    return MemberRecord(name=name, kind="client", address=address, role="phone", up=up)


def record(word: str = "name", state: State = State.FAILED) -> RunRecord:
    site = MemberRecord(
        name=f"{word}-hq",
        kind="connector",
        address="10.0.50.0/24",
        site="hq",
        tags=[word],
        hosts=[
            (f"pbx {word}", "10.0.50.60", "PBX"),
            *((f"desk-{n}", f"10.0.50.{100 + n}", "phone") for n in range(9)),
        ],
    )
    fleet = [member(f"fleet-{n}", f"100.96.1.{n}") for n in range(200)]
    windows = [WindowRecord(start=2.0, mos=4.4, loss=0.0), WindowRecord(start=12.0, mos=2.0, loss=0.2)]
    heard = [
        DirectionRecord(listener=f"{word}", packets=9, windows=windows, mos=3.2, loss=0.1, profile="G.107")
    ]
    return RunRecord(
        file=f"{word}.yaml",
        name=word,
        about=f"about {word}",
        fabric="sim",
        virtual=True,
        seed=7,
        deadline=60,
        repeat=f"poplab run {word}",
        cell={word: word},
        pop="198.18.0.1:51820",
        state=state,
        elapsed=20.0,
        wall=0.5,
        error=word if state is State.ERROR else "",
        vnets=[
            VnetRecord(name=word, note=word, members=[site, *fleet, member("alice", "100.96.0.12", up=False)])
        ],
        steps=[
            StepRecord(
                name=f"step {word}",
                verb="sip.call",
                state=State.FAILED,
                started=1.0,
                ended=19.0,
                summary=word,
                checks=[CheckRecord(text=f"mos > 4 {word}", holds=False, saw=[("mos", word)])],
                output=[word],
            ),
            StepRecord(name="never", verb="wait"),
        ],
        checks=[CheckRecord(text=f"x == {word}", holds=True, saw=[("x", word)])],
        calls=[
            CallRecord(
                caller=word,
                callee="bob",
                outcome="answered",
                started=1.0,
                ended=19.0,
                directions=heard,
                path=word,
            )
        ],
        sightings=[SightingRecord(pbx=word, user=word, seen="1.2.3.4", true="4.3.2.1")],
        invariants=[InvariantRecord(id=word, holds=False, text=word, details=[word], at=3.0)],
        accounts=[AccountRecord(vnet=word, packets_in=9, dropped={"policy_blocked": 2})],
        thresholds=[ThresholdRecord(key=word, text="avg >= 4", holds=False, saw=word)],
        loads=[LoadRecord(name=word, verb="ping", started=9, figures=[("round trip p95", word)])],
        programs=[
            ProgramRecord(
                host=word, name=word, command=[word], state="exited", code=1, trouble=word, output=[word]
            )
        ],
        faults=[FaultRecord(at=5.0, kind="kill", target=word, text=word)],
        ways=[WayRecord(at=6.0, tunnel=word, way="h2", before="h3")],
        samples=[SampleRecord(at=float(n), packets_per_second=n * 10.0, flows=n) for n in range(20)],
    )


class Page(HTMLParser):
    """Counts tags and attributes, and that every tag is closed by its own."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_no_name_can_act() -> None:
    quiet, evil = Page(report_html(record("name"))), Page(report_html(record(EVIL)))
    assert set(evil.tags) <= set(quiet.tags)
    assert evil.tags.count("path") == quiet.tags.count("path")
    assert not {"script", "img", "iframe", "object", "link", "a"} & set(evil.tags)
    assert {name for name, _ in evil.attributes} <= {name for name, _ in quiet.attributes}
    assert not any(name.startswith("on") or name in ("href", "src") for name, _ in evil.attributes)
    assert evil.open == []
    text = "".join(evil.words)
    assert "<script>alert(1)</script>" in text  # it is there to be read
    assert "\x00" not in text
    assert "\u202e" not in text
    index = Page(index_html([record(EVIL), record()], ["", "name"]))
    assert "script" not in index.tags
    assert [value for name, value in index.attributes if name == "href"] == ["name/report.html"]


def test_the_page_needs_nothing_from_anywhere() -> None:
    page = report_html(record()).decode()
    assert "default-src &#x27;none&#x27;" in page
    assert "http://" not in page
    assert "https://" not in page
    assert "url(" not in page
    for media in ("prefers-color-scheme:dark", "@media print", "max-width:760px"):
        assert media in page


def test_reasons_come_first_and_everything_is_told() -> None:
    page = report_html(record()).decode()
    order = [
        "FAILED", "poplab run name", "Why it did not pass: 3 reasons", "Topology", "Timeline", "Faults", "Steps",
        "Thresholds", "Loads", "Calls", "Addresses that a PBX saw", "Traffic through the PoP",
        "Dropped packets by reason", "policy_blocked", "Where every packet went", "What must always hold",
    ]  # fmt: skip
    places = [page.index(f">{word}" if word[0].isupper() else word) for word in order]
    assert places == sorted(places)
    assert "20.0 s virtual, 0.5 s wall" in page
    assert "40.0 × real time" in page


def test_the_curve_of_a_call_whose_codec_changed_never_goes_back() -> None:
    run = record()
    run.calls[0].directions[0].windows = [
        WindowRecord(start=start, mos=mos)
        for start, mos in ((2.0, 4.4), (5.0, 4.0), (6.0, None), (15.0, 3.9))
    ]
    (curve,) = re.findall(rb'd="([^"]*)" class="line"[^>]*><title>name heard', report_html(run))
    xs = [float(x) for x in re.findall(rb"[ML]([0-9.]+) ", curve)]
    assert len(xs) == 6, "there is no curve where nothing was heard"
    assert xs == sorted(xs)


def test_two_hundred_of_a_kind_are_drawn_as_one() -> None:
    page = report_html(record()).decode()
    picture = page[page.index("<svg") : page.index("</svg>")] + "</svg>"
    drawing = ElementTree.fromstring(picture)
    words = " ".join(drawing.itertext())
    assert "fleet-0 … fleet-199" in words
    assert "100.96.1.0 … .199" in words
    assert "200 clients, 200 of 200 up" in words
    assert "desk-0 … desk-8" in words
    assert len(list(drawing.iter("rect"))) < 20
    assert "fleet-117" in page  # in the list below it


def test_both_pictures_name_the_way_of_clients() -> None:
    run = record()
    alice = run.vnets[0].members[-1]
    alice.tunnel, alice.way = "masque", "h2"
    page = report_html(run).decode()
    for kind in ("wide", "narrow"):
        begin = page.index(f'class="{kind}" role="img"')
        assert "masque h2, phone" in page[begin : page.index("</svg>", begin)]


def test_a_long_name_ends_before_the_bars_of_the_timeline() -> None:
    run = record()
    run.steps[0].name = "W" * 40
    page = report_html(run).decode()
    timeline = page[page.index("<h2>Timeline") :]
    label = timeline[: timeline.index(">" + "W" * 40 + "</tspan>")].rpartition("<svg")[2]
    width, overflow = re.findall(r'style="width:([0-9.]+)%;overflow:(\w+)"', label)[0]
    first_bar = min(float(x) for x in re.findall(r'x="([0-9.]+)%"', timeline[: timeline.index("narrow")]))
    assert float(width) < first_bar
    assert overflow == "hidden"


def test_of_tunnels_that_moved_every_way_is_listed() -> None:
    run = record()
    run.ways = [
        WayRecord(at=0.1, tunnel="mover", way="h3"),
        WayRecord(at=0.2, tunnel="settled", way="h3"),
        WayRecord(at=3.0, tunnel="mover", way="", before="h3"),
        WayRecord(at=5.0, tunnel="mover", way="h2"),
    ]
    page = report_html(run).decode()
    section = page[page.index("Tunnels that went another way") : page.index(">Steps<")]
    rows = re.findall(r"<td[^>]*>(\w+)</td><td[^>]*><code>(\w+)</code></td><td[^>]*><code>(\w+)<", section)
    assert rows == [("mover", "none", "h3"), ("mover", "h3", "none"), ("mover", "none", "h2")]


@pytest.mark.parametrize("state", list(State))
def test_every_state_and_an_empty_run_make_a_page(state: State) -> None:
    bare = RunRecord(file="a", name="a", about="", fabric="", seed=7, deadline=1, repeat="", state=state)
    for run in (bare, record(state=state)):
        assert Page(report_html(run)).open == []
