"""From another process: have the running PoP of a configuration read it again, and learn what came of it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from shlex import quote

from edge.config import Reading
from edge.errors import PoplabError, Refused
from edge.state import Word, holder, told

PATIENCE = 30.0  # seconds: ten thousand tunnels are read in about one, on a machine that has other work
PAUSE = 0.02


class NotReloaded(PoplabError):
    """The PoP runs, and goes on with the configuration that it had."""

    exit_code = 1


def reload(path: Path, *, patience: float = PATIENCE) -> tuple[int, str]:
    """(process, what it has in force now). NotReloaded if it refuses or does not answer.

    ConfigError or Refused, and nobody was told, if no PoP of `path` can be found.
    """
    state = Reading(path).config.state  # the rest is judged by the PoP, with its own user and Python path
    if state is None:
        raise Refused(
            f"{path}: without `state:` there is nothing by which to find the PoP that runs\n"
            "    fix: kill -HUP its process, which its log names on start; or add `state: state.db` and start it again"
        )
    process = holder(state)
    if process is None:
        raise Refused(
            f"no PoP runs with the state {state}\n    fix: start it: `poplab edge --config {quote(str(path))}`; "
            "if `state` was changed under a running one, that needs a restart"
        )
    before = told(state)
    _hang_up(process, state)
    give_up = time.monotonic() + patience
    while time.monotonic() < give_up:
        word = told(state)
        if word is not None and _newer(word, before):
            if word.taken:
                return process, word.text
            raise NotReloaded(f"{word.text}\nrefused by the PoP (process {process}): it goes on as before")
        if holder(state) != process:
            raise NotReloaded(f"the PoP (process {process}) has stopped meanwhile")
        time.sleep(PAUSE)
    raise NotReloaded(f"the PoP (process {process}) did not answer within {patience:.0f} s: see its log")


def _newer(word: Word, before: Word | None) -> bool:
    return before is None or word.number > before.number


def _hang_up(process: int, state: Path) -> None:
    """SIGHUP to that very process: its number may be another's by now."""
    try:
        handle = os.pidfd_open(process)
    except ProcessLookupError as error:
        raise NotReloaded(f"the PoP (process {process}) has stopped meanwhile") from error
    try:
        if holder(state) != process:
            raise NotReloaded(f"the PoP (process {process}) has stopped meanwhile")
        signal.pidfd_send_signal(handle, signal.SIGHUP)
    except PermissionError as error:
        raise Refused(
            f"the PoP (process {process}) belongs to another user\n    fix: run as that user"
        ) from error
    finally:
        os.close(handle)
