"""One look at one machine: what depends on what, and each thing tried once."""

from __future__ import annotations

import errno
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from scenarios.doctor.distribution import Distribution
from scenarios.doctor.finding import Finding, Group, State, Verdict
from scenarios.doctor.machine import UNANSWERED, Attempt, Machine
from scenarios.doctor.programs import Program

NEEDS_LINUX = "use a Linux machine, or a virtual machine with Linux"
TRY_AGAIN = "try again when the machine is less busy"
REMEDIES: Mapping[int, str] = MappingProxyType(
    {
        **dict.fromkeys((errno.ETIMEDOUT, errno.EAGAIN, errno.ENOMEM), TRY_AGAIN),
        **dict.fromkeys((errno.EMFILE, errno.ENFILE), "let it open more files, with `ulimit -n`"),
    }
)
"""By the error that kept things from being tried."""
PYTHON_VERSION = "python-version"


@dataclass(frozen=True, slots=True)
class Item:
    """Something to find out. `lack` begins the sentence that says it is missing."""

    name: str
    group: Group
    lack: str
    needed_by: str
    judge: Callable[[Examination], Verdict]
    attempts: tuple[str, ...] = ()
    """What is tried for it."""
    after: tuple[str, ...] = ()
    """Other items that its judge asks for."""
    linux: bool = False
    """Nowhere else."""
    program: Program | None = None


class Examination:
    """Of the items called `names`, and those that they depend on."""

    def __init__(
        self, items: Mapping[str, Item], names: Iterable[str], machine: Machine, *, versions: bool
    ) -> None:
        self.machine = machine
        self.linux = machine.system == "Linux"
        os_release = machine.read("/etc/os-release") or machine.read("/usr/lib/os-release") or ""
        self.distribution = Distribution.of(os_release, root=machine.root and not _mapped(machine))
        self._items = items
        self._findings: dict[str, Finding] = {}
        closure = self._closure(names)
        attempts = list(dict.fromkeys(name for item in closure for name in item.attempts))
        self._attempts = machine.attempt(attempts) if attempts else {}
        self._programs = {
            item.program.name: machine.which(item.program.name) for item in closure if item.program
        }
        commands = {
            item.program.name: (path, *item.program.version)
            for item in closure
            if item.program and item.program.version and (path := self._programs[item.program.name])
        }
        self._versions = machine.versions(commands) if versions and commands else {}

    def _closure(self, names: Iterable[str]) -> list[Item]:
        found: dict[str, Item] = {}
        waiting = list(names)
        while waiting:
            name = waiting.pop(0)
            if name in found or (self._items[name].linux and not self.linux):
                continue
            found[name] = self._items[name]
            waiting += found[name].after
        return list(found.values())

    def finding(self, name: str) -> Finding:
        if name not in self._findings:
            item = self._items[name]
            if item.linux and not self.linux:
                verdict = Verdict(State.NO, f"needs Linux, and this is {self.machine.system}", NEEDS_LINUX)
            elif silent := [name for name in item.attempts if self.attempt(name).state == UNANSWERED]:
                verdict = self._silence(self.attempt(silent[0]))
            else:
                verdict = item.judge(self)
            self._findings[name] = Finding(
                name=name,
                group=item.group,
                state=verdict.state,
                detail=verdict.detail,
                needed_by=item.needed_by,
                fix=verdict.fix,
                because=verdict.because,
                lack=item.lack,
            )
        return self._findings[name]

    def _silence(self, attempt: Attempt) -> Verdict:
        """Why there is no answer; it is no answer."""
        if attempt.errno and not self.machine.startable:
            return self.follows(PYTHON_VERSION, attempt.detail, State.UNKNOWN)
        look_yourself = f"see what `{shlex.quote(self.machine.interpreter)} -c 'import json'` says"
        return Verdict(State.UNKNOWN, attempt.detail, REMEDIES.get(attempt.errno, look_yourself))

    def attempt(self, name: str) -> Attempt:
        return self._attempts.get(name) or Attempt(UNANSWERED, "nothing was tried")

    def follows(self, name: str, detail: str = "", state: State = State.NO) -> Verdict:
        """What follows from that finding, which is not there; of what is unknown, nothing is known."""
        cause = self.finding(name)
        if cause.state is State.UNKNOWN:
            return Verdict(State.UNKNOWN, cause.detail, cause.fix, cause.because or name)
        return Verdict(state, detail or f"{cause.lack}: {cause.detail}", cause.fix, cause.because or name)

    def which(self, program: str) -> str | None:
        return self._programs.get(program)

    def version(self, program: str) -> str | None:
        return self._versions.get(program)

    def as_root(self, command: str) -> str:
        return self.distribution.as_root(command)

    @property
    def container(self) -> str:
        """What kind of container this is, as far as it says so."""
        if self.machine.exists("/.dockerenv"):
            return "docker"
        if self.machine.exists("/run/.containerenv"):
            return "podman"
        return self.machine.read("/run/systemd/container") or ""


def _mapped(machine: Machine) -> bool:
    """Whether root is an ordinary user's in a user namespace of its own, which holds nobody else."""
    lines = (machine.read("/proc/self/uid_map") or "").splitlines()
    words = [line.split() for line in lines]
    return len(words) == 1 and words[0][0] == "0" and words[0][1] != "0" and words[0][2] == "1"
