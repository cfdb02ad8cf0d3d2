"""`python -m tests.benchmarks`: our PoP beside wireguard-go, turn by turn on the same machine.

Both are black boxes that get the same packets from the same load; the ratio is what counts, since the numbers
themselves belong to the machine.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.benchmarks import masque, worlds
from tests.benchmarks.arena import KINDS, Arena, cores
from tests.benchmarks.inprocess import aead_floor, on_core, route_lookup
from tests.benchmarks.report import Result, Row, machine, median, rich_tables
from tests.interop.namespaces import missing

PARTS = ("bulk", "mix", "scale", "lookup", "worlds", "masque")
BULK_SIZES = (1400, 200)
PAIRS, SCALE_PAIRS = 500, 50
FEW, MANY = 100, 10_000


class Bench:
    def __init__(self, console: Console, result: Result, count: int) -> None:
        self._console, self._result, self._count = console, result, count

    def bulk(self, runs: int) -> None:
        rows = {size: Row(f"bulk {size} B") for size in BULK_SIZES}
        self._result.rows += rows.values()
        for run in range(runs):
            self._floor(rows)
            for side in ("ours", "theirs"):
                with self._arena(side, 2, f"bulk, run {run + 1} of {runs}") as arena:
                    for size, row in rows.items():
                        self._note(row, side, arena.measure("bulk", count=self._count, size=size))

    def mix(self, runs: int) -> None:
        traffic, handshake = Row(f"mix {PAIRS} pairs 200 B"), Row("handshake")
        self._result.rows += [traffic, handshake]
        for run in range(runs):
            self._floor({200: traffic})
            for side in ("ours", "theirs"):
                with self._arena(side, 2 * PAIRS, f"mix and handshakes, run {run + 1} of {runs}") as arena:
                    answer = arena.measure("mix", count=self._count // 2, size=200, pairs=PAIRS)
                self._note(traffic, side, answer["mix"])
                self._note(handshake, side, answer["handshake"])

    def scale(self, runs: int) -> None:
        for side in ("ours", "theirs"):
            collected: dict[int, dict[str, list[float]]] = {FEW: {}, MANY: {}}
            for run in range(runs):
                for peers, values in collected.items():
                    with self._arena(side, peers, f"{peers:,} peers, run {run + 1} of {runs}") as arena:
                        answer = arena.measure("mix", count=self._count // 2, size=200, pairs=SCALE_PAIRS)[
                            "mix"
                        ]
                        values.setdefault("start_s", []).append(arena.start.seconds)
                        values.setdefault("rss_mb", []).append(arena.start.resident_kb / 1024)
                    per_packet = answer["cpu_seconds"] / max(1, answer["received"]) * 1e6
                    values.setdefault("us_per_packet", []).append(per_packet)
            few, many = ({name: median(v) for name, v in collected[peers].items()} for peers in (FEW, MANY))
            many["kb_per_peer"] = (many["rss_mb"] - few["rss_mb"]) * 1024 / (MANY - FEW)
            name = getattr(self._result, side)
            self._result.scale |= {f"{name}: {FEW:,}": few, f"{name}: {MANY:,}": many}

    def lookup(self, runs: int) -> None:
        if importlib.util.find_spec("edge.proto.forwarding.fib") is None:
            self._console.print("no edge.proto.forwarding.fib here: lookup left out")
            return
        times = [route_lookup() for _ in range(runs)]
        self._result.lookup = {name: median([run[name] for run in times]) for name in times[0]}

    def worlds(self, runs: int) -> None:
        for name in worlds.WORLDS:
            self._console.print(f"[dim]{name}[/dim]")
            measured = [worlds.measure(name) for _ in range(min(runs, 2))]
            self._result.worlds[name] = {key: median([run[key] for run in measured]) for key in measured[0]}
        self._result.bare_heap = median([worlds.bare_heap() for _ in range(runs)])

    def masque(self, runs: int) -> None:
        self._console.print("[dim]MASQUE[/dim]")
        masque.main(packets=self._count // 10, runs=runs)

    def _arena(self, side: str, peers: int, what: str) -> Arena:
        kind = getattr(self._result, side)
        self._console.print(f"[dim]{what}: {kind}[/dim]")
        return Arena(kind, peers)

    def _floor(self, rows: dict[int, Row]) -> None:
        with on_core(cores()[0]):
            for size, row in rows.items():
                row.floor.append(aead_floor(size))

    @staticmethod
    def _note(row: Row, side: str, measured: dict[str, Any]) -> None:
        received = max(1, measured["received"])
        getattr(row, side).append(measured["cpu_seconds"] / received * 1e6)
        getattr(row, f"{side}_rate").append(received / measured["seconds"] / 1e3)
        if side == "ours":
            row.delivered.append(received / measured["sent"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="how often each hub has its turn (default 3)")
    parser.add_argument(
        "--packets", type=int, default=200_000, help="packets of one bulk run (default 200000)"
    )
    parser.add_argument("--quick", action="store_true", help="one short run: does it work at all?")
    parser.add_argument("--only", choices=PARTS, action="append", help="leave out the rest; may be repeated")
    parser.add_argument("--ours", choices=KINDS, default="poplab", help="what to measure")
    parser.add_argument("--theirs", choices=KINDS, default="wireguard-go", help="what to measure it against")
    parser.add_argument(
        "--out", type=Path, action="append", default=[], help="write FILE.json or FILE.md as well"
    )
    options = parser.parse_args()
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)  # a log has no edge
    parts = options.only or PARTS
    if not {*parts} <= {"worlds", "masque"} and (reason := missing("wireguard-go", "wg")):
        console.print(f"the benchmark cannot run here: {reason}")
        return 3
    runs, count = (1, 20_000) if options.quick else (options.runs, options.packets)
    result = Result(machine(), options.ours, options.theirs)
    bench = Bench(console, result, count)
    failed = False
    for part in parts:
        try:
            getattr(bench, part)(runs)
        except AssertionError as error:  # one hub that does not start spoils its own part only
            failed = True
            console.print(f"{part}: {error}", style="red", markup=False)
    for table in rich_tables(result):
        console.print(table)
    for path in options.out:
        result.write(path)
        console.print(f"wrote {path}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
