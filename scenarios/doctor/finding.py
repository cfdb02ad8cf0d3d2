"""What was found out about one thing, and how to get it if it is missing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    YES = "yes"
    LIMITED = "limited"
    NO = "no"
    UNKNOWN = "unknown"


class Group(StrEnum):
    FABRICS = "fabrics"
    KERNEL = "kernel"
    RESTRICTIONS = "restrictions"
    PYTHON = "python"
    PROGRAMS = "programs"


@dataclass(frozen=True, slots=True)
class Verdict:
    """State, what was measured (a version, the kernel's words), and a command, or words where there is none."""

    state: State
    detail: str
    fix: str = ""
    because: str = ""
    """The finding whose remedy this is, where this one only follows from it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor. `fix` is empty only if the state is YES or nothing needs it."""

    name: str
    group: Group
    state: State
    detail: str
    needed_by: str
    """Which fabric, command or test; empty if nothing does."""
    fix: str
    because: str
    """The finding that this one follows from, and whose `fix` it repeats; or empty."""
    lack: str
    """How a sentence begins that says it is not there."""

    @property
    def there(self) -> bool:
        """Also if it is limited; not if nobody knows."""
        return self.state in (State.YES, State.LIMITED)

    @property
    def sentence(self) -> str:
        """For the reason of a skipped test, and for FabricUnavailable."""
        if self.state is State.YES:
            return f"{self.name}: {self.detail}"
        if self.state is State.LIMITED:
            return f"{self.name} is limited: {self.detail}" + self._remedy
        if self.state is State.UNKNOWN:
            return f"{self.name} could not be tried: {self.detail}" + self._remedy
        return f"{self.lack}: {self.detail}" + self._remedy

    @property
    def _remedy(self) -> str:
        return f". Fix: {self.fix}" if self.fix else ""
