"""Programs as a fabric starts them: in a session of their own, and no longer than we live."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
"""It replaces itself with the program, so that the process id is the program's own."""


def launch(
    argv: Sequence[str], *, env: Mapping[str, str], cwd: str, stdin: int, stdout: int, stderr: int
) -> subprocess.Popen[bytes]:
    """A program in the namespaces of the calling thread; see `Place.start`.

    The thread matters: the kernel takes the end of the thread that forked for the end of the parent (prctl(2),
    PR_SET_PDEATHSIG), and worker threads end when they are idle.
    """
    return subprocess.Popen(
        [*DIES_WITH_US, *argv],
        env=dict(env),
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        close_fds=True,
        start_new_session=True,
    )
