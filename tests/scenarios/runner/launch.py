"""Programs in the namespaces of the test: in a session of their own, and no longer than the test lives."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping, Sequence

import trio

DIES_WITH_US = ("env", "--default-signal", "setpriv", "--pdeathsig", "KILL", "--")
"""Both replace themselves with the program, so that the process id is the program's own. Signals that were ignored
where the tests were started, as by nohup(1), are not so for it."""


class Launched:
    """As `Place.start` gives it."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self.popen = popen
        self._ended = os.pidfd_open(popen.pid)

    @property
    def returncode(self) -> int | None:
        return self.popen.returncode

    async def wait(self) -> int:
        await trio.lowlevel.wait_readable(self._ended)
        self.send_signal(9)  # the rest of its group
        os.close(self._ended)
        return self.popen.wait()

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.popen.pid, number)


def launch(
    argv: Sequence[str], *, env: Mapping[str, str], cwd: str, stdin: int, stdout: int, stderr: int
) -> Launched:
    return Launched(
        subprocess.Popen(
            [*DIES_WITH_US, *argv],
            env=dict(env),
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            close_fds=True,
            start_new_session=True,
        )
    )
