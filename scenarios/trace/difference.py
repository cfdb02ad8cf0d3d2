"""Where two runs part: the first event that is not the same."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice, zip_longest

from scenarios.trace.event import Event
from scenarios.trace.text import line

CONTEXT = 5
"""Events before that are shown, and after in each."""


@dataclass(frozen=True, slots=True)
class Difference:
    """`number` counts from 1; one side is empty if its run ended there. Each side begins with what differs."""

    number: int
    before: tuple[Event, ...]
    first: tuple[Event, ...]
    second: tuple[Event, ...]

    def lines(self, names: tuple[str, str] = ("first", "second")) -> list[str]:
        """For people: what both had, then what each has."""
        said = [f"event {self.number:,} differs{self._where()}:"]
        said += [f"    {line(event)}" for event in self.before]
        for sign, name, events in (("-", names[0], self.first), ("+", names[1], self.second)):
            if not events:
                said.append(f"  {sign} {name} ends here")
            said += [f"  {sign} {line(event)}" for event in events]
        return said

    def _where(self) -> str:
        if not self.first or not self.second:
            return ""
        names = [
            name
            for name, one, other in zip(Event._fields, self.first[0], self.second[0], strict=True)
            if one != other
        ]
        return " in " + ", ".join("content" if name == "check" else name for name in names)


def first_difference(one: Iterable[Event], other: Iterable[Event]) -> Difference | None:
    """None if they are equal to the end. Reads no further than it must."""
    ones, others = iter(one), iter(other)
    before: deque[Event] = deque(maxlen=CONTEXT)
    for number, (mine, theirs) in enumerate(zip_longest(ones, others), 1):
        if mine != theirs:
            first = () if mine is None else (mine, *islice(ones, CONTEXT - 1))
            second = () if theirs is None else (theirs, *islice(others, CONTEXT - 1))
            return Difference(number, tuple(before), first, second)
        before.append(mine)
    return None
