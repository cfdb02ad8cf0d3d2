"""What a person sees of a run: a live screen on a terminal, lines anywhere else."""

from __future__ import annotations

from rich.console import Console

from scenarios.live.comparing import show_comparisons
from scenarios.live.painter import Painter
from scenarios.live.plain import Lines, PlainLines
from scenarios.live.screen import screen
from scenarios.live.stdout import Stdout
from scenarios.report import RunRecord, StepRecord
from scenarios.runner import Observer

__all__ = ["Lines", "LiveScreen", "PlainLines", "Stdout", "observer", "screen", "show_comparisons"]


class LiveScreen:
    """Shows the record while it fills, and the whole of it in the end. Make it before the run, in one thread."""

    def __init__(self, console: Console, *, report: str = "") -> None:
        self._console = console
        self._report = report
        self._painter = Painter(console)

    def started(self, run: RunRecord) -> None:
        self._painter.show(run)

    def step_started(self, run: RunRecord, step: StepRecord) -> None:
        """The next tick shows it."""

    def step_ended(self, run: RunRecord, step: StepRecord) -> None:
        """The next tick shows it."""

    def tick(self, run: RunRecord) -> None:
        self._painter.show(run)

    def ended(self, run: RunRecord) -> None:
        self.close()
        shown = screen(run, width=self._console.width, report=self._report)
        self._console.print(shown, crop=False)

    def close(self) -> None:
        """Give the terminal back, whatever happened."""
        self._painter.close()


def observer(console: Console, *, report: str = "") -> Observer:
    """The live screen if `console` is a terminal, else lines."""
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveScreen(console, report=report)
    return PlainLines(Lines(console.file), report=report)
