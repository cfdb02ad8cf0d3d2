"""Is a run the same run every time? Once where it is judged, once in a fresh process with other hashes and addresses.

``python -m scenarios.determinism FILE CELL TUNNEL SEED FOLDER`` is that process.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from random import Random

from edge.errors import PoplabError
from scenarios import runner
from scenarios.fabric import Sim
from scenarios.recording import TRACE, Recording
from scenarios.report import RunRecord
from scenarios.schema import TUNNEL_WORDS, Script
from scenarios.trace import Trace, first_difference

HASH_SEED = "4242"
LITTER = 50_000
"""Objects that stand in the way, so that the addresses of all others are in another order."""


class NotDeterministic(PoplabError):
    """The same file, seed and version did two different things: a defect of poplab."""

    exit_code = 5


def check(script: Script, judged: RunRecord, folder: Path) -> str:
    """Run `script` once more; `folder` has the trace of the run that was judged.

    One line if both are equal, else NotDeterministic.
    """
    again = folder / "again"
    cells = [other.cell.items() for other in runner.check(Path(script.file))]
    cell = next(n for n, values in enumerate(cells) if values <= script.cell.items())
    _elsewhere([script.file, str(cell), script.scenario.tunnel, str(judged.seed), str(again)])
    return compare(folder / TRACE, again / TRACE, judged.repeat)


def compare(first: Path, second: Path, repeat: str) -> str:
    """One line if two traces are equal; NotDeterministic with the first difference if not."""
    with Trace(first) as one, Trace(second) as other:
        difference = first_difference(one, other)
        again = f"again: {repeat} --check-determinism"
        if difference is not None:
            said = "\n".join(difference.lines(("first run", "second run")))
            raise NotDeterministic(f"not deterministic: {said}\n{again}")
        if one.end is None or other.end is None:
            raise PoplabError("a trace was cut off, so nothing can be said: is the disk full?")
        digest, events, written = one.end["digest"], one.end["events"], one.end["written"]
        if digest != other.end["digest"]:
            raise NotDeterministic(
                f"not deterministic: the first {written:,} events are equal, later ones are not\n{again}"
            )
        return f"deterministic: {events:,} events, digest {digest}, twice"


def record(script: Script, seed: int, folder: Path) -> RunRecord:
    """Run `script` in virtual time and leave its trace in `folder`."""
    with Recording(script, folder, fabric=Sim.name, seed=seed, trace=True) as recording:
        main = partial(runner.run, script, Sim(), seed=seed, recorder=recording.recorder)
        return Sim().execute(main, seed=seed)


def _elsewhere(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scenarios.determinism", *arguments],
        env={**os.environ, "PYTHONHASHSEED": HASH_SEED},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise PoplabError(f"a run of {arguments[0]} came to nothing:\n{done.stderr.strip()}")


def main(arguments: list[str]) -> None:
    file, cell, tunnel, seed, folder = arguments
    litter = [bytearray(i % 997) for i in range(LITTER)]
    Random(HASH_SEED).shuffle(litter)
    del litter[LITTER // 2 :]  # holes everywhere
    gc.set_threshold(200, 5, 5)
    script = runner.check(Path(file))[int(cell)]
    record(script.with_tunnel(next(word for word in TUNNEL_WORDS if word == tunnel)), int(seed), Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
