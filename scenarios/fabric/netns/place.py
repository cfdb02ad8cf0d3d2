"""A machine as a place where programs run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from scenarios.fabric.netns.spawner import Program, Spawner
from scenarios.fabric.netns.wiring import Machine


class MachinePlace:
    """`files` take the place of the machine's own, for programs that run here, and so does the folder `run` of /run;
    `spawner` gives whoever starts them."""

    def __init__(
        self, machine: Machine, spawner: Callable[[], Spawner], files: Mapping[str, str], run: str = ""
    ) -> None:
        self._machine = machine
        self._spawner = spawner
        self._files = files
        self._run = run

    def start(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str,
        stdin: int,
        stdout: int,
        stderr: int,
    ) -> Program:
        return self._spawner().start(
            self._machine.space.fd,
            argv,
            env=env,
            cwd=Path(cwd),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            files=self._files,
            run=self._run,
        )

    def table(self, name: str) -> str:
        with self._machine.space.inside():
            return Path("/proc/thread-self/net", name).read_text()
