"""One result, three shapes: a table for the terminal, JSON for machines, Markdown for the documentation."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.table import Table


@dataclass
class Row:
    """One load on both hubs: CPU microseconds per packet (or handshake), one number for each run."""

    name: str
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)
    ours_rate: list[float] = field(default_factory=list)  # thousands per second
    theirs_rate: list[float] = field(default_factory=list)
    delivered: list[float] = field(default_factory=list)  # of ours, 0 to 1


@dataclass
class Result:
    machine: dict[str, str]
    ours: str
    theirs: str
    rows: list[Row] = field(default_factory=list)
    scale: dict[str, dict[str, float]] = field(default_factory=dict)
    lookup: dict[str, float] = field(default_factory=dict)
    worlds: dict[str, dict[str, float]] = field(default_factory=dict)
    bare_heap: float = 0.0  # events per second

    def lines(self) -> tuple[list[str], list[list[str]]]:
        """Heads and cells of the main table, as text."""
        heads = [
            "load",
            self.ours,
            self.theirs,
            "ratio",
            "AEAD floor",
            "× floor",
            "ours k/s",
            "theirs k/s",
            "delivered",
        ]
        body = []
        for row in self.rows:
            ours, theirs, floor = median(row.ours), median(row.theirs), median(row.floor)
            body.append(
                [
                    row.name,
                    spread(row.ours),
                    spread(row.theirs),
                    f"{ours / theirs:.2f}" if ours and theirs else "",
                    f"{floor:.2f}" if floor else "",
                    f"{ours / floor:.1f}" if floor and ours else "",
                    number(median(row.ours_rate)),
                    number(median(row.theirs_rate)),
                    f"{100 * min(row.delivered):.2f} %" if row.delivered else "",
                ]
            )
        return heads, body

    def scale_lines(self) -> tuple[list[str], list[list[str]]]:
        heads = ["configured peers", "start s", "RSS MB", "KB per peer", "µs per packet"]
        body = [
            [
                name,
                f"{values['start_s']:.2f}",
                f"{values['rss_mb']:.0f}",
                number(values.get("kb_per_peer", 0.0)),
                f"{values['us_per_packet']:.2f}",
            ]
            for name, values in self.scale.items()
        ]
        return heads, body

    def lookup_lines(self) -> tuple[list[str], list[list[str]]]:
        heads = ["routes", "insert µs", "lookup µs, routed", "lookup µs, random address"]
        cells = ["100,000", *(f"{self.lookup[key]:.2f}" for key in ("insert_us", "routed_us", "random_us"))]
        return heads, [cells]

    def world_lines(self) -> tuple[list[str], list[list[str]]]:
        heads = ["world", "virtual s", "CPU s", "virtual / CPU", "packets per CPU s", "events/s", "RSS MB"]
        body = [
            [
                name,
                f"{values['virtual']:,.0f}",
                f"{values['cpu']:.1f}",
                f"{values['virtual'] / values['cpu']:,.2f}",
                f"{values['packets'] / values['cpu']:,.0f}",
                f"{values['events'] / values['cpu']:,.0f}",
                f"{values['rss_mb']:.0f}",
            ]
            for name, values in self.worlds.items()
        ]
        return heads, body

    def tables(self) -> list[tuple[str, list[str], list[list[str]]]]:
        out = []
        if self.rows:
            out.append(("CPU µs per packet or handshake: median (least to most)", *self.lines()))
        if self.scale:
            out.append(("Many configured peers, 50 of them pairs that talk", *self.scale_lines()))
        if self.lookup:
            out.append(("Longest-prefix match", *self.lookup_lines()))
        if self.worlds:
            title = f"Simulated worlds (a bare heap does {self.bare_heap / 1e6:.2f} million events/s here)"
            out.append((title, *self.world_lines()))
        return out

    def markdown(self) -> str:
        parts = ["| | |\n| --- | --- |", *(f"| {name} | {value} |" for name, value in self.machine.items())]
        for title, heads, body in self.tables():
            parts += ["", f"**{title}**", "", _line(heads), _line(["---"] * len(heads)), *map(_line, body)]
        return "\n".join(parts) + "\n"

    def write(self, path: Path) -> None:
        """JSON or Markdown, by the name's ending."""
        text = self.markdown() if path.suffix == ".md" else json.dumps(asdict(self), indent=2) + "\n"
        path.write_text(text)

    @classmethod
    def read(cls, path: Path) -> Result:
        document: dict[str, Any] = json.loads(path.read_text())
        return cls(**{**document, "rows": [Row(**row) for row in document["rows"]]})


def rich_tables(result: Result) -> list[Table]:
    out = []
    for title, heads, body in result.tables():
        table = Table(title=title, title_justify="left", header_style="bold")
        for position, head in enumerate(heads):
            table.add_column(head, justify="left" if position == 0 else "right")
        for cells in body:
            table.add_row(*cells)
        out.append(table)
    return out


def median(values: list[float]) -> float:
    return statistics.median(values) if values else 0.0


def spread(values: list[float]) -> str:
    if not values:
        return ""
    places = 0 if median(values) >= 100 else 1
    return f"{median(values):.{places}f} ({min(values):.{places}f}-{max(values):.{places}f})"


def number(value: float) -> str:
    return f"{value:.1f}" if value else ""


def machine() -> dict[str, str]:
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "cryptography": metadata.version("cryptography"),
        "wireguard-go": _first_line("wireguard-go", "--version"),
    }


def _processor() -> str:
    with open("/proc/cpuinfo") as file:
        return next(
            (line.partition(":")[2].strip() for line in file if line.startswith("model name")), "unknown"
        )


def _first_line(*argv: str) -> str:
    try:
        out = subprocess.run(argv, capture_output=True, text=True, timeout=5, check=False).stdout
    except OSError:
        return "not installed"
    return out.partition("\n")[0].strip() or "unknown"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
