"""Keys of a world that is kept up: for this once, or in a folder, so that a device need not be set up again."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from edge.config.keys import BadKeyFile, read_key
from edge.enrol.files import write_new, write_over
from edge.enrol.text import base64_text
from edge.enrol.wireguard import private_key
from edge.errors import Refused
from scenarios.outside import Identities, Identity
from scenarios.scratch import Scratch

POP = "pop.key"


@contextmanager
def folder(state: Path | None) -> Iterator[Path]:
    """Where files with keys go, for their owner alone: `state`, or one that goes with the block. Refused."""
    if state is None:
        with closing(Scratch("up")) as scratch:
            yield scratch.folder
        return
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=state):
            pass
    except OSError as error:
        text = f"--state {state}: {error.strerror or error}"
        raise Refused(f"{text}\n    fix: name a folder that you may write to") from error
    yield state


def identities(where: Path, names: Iterable[str]) -> Identities:
    """The keys in `where`; those that are not there are made. Refused if one cannot be used."""
    return Identities(
        _key(where / POP, private_key()),
        {
            name: Identity(
                _key(where / f"{name}.key", private_key()), _key(where / f"{name}.psk", os.urandom(32))
            )
            for name in names
        },
    )


def _key(path: Path, new: bytes) -> bytes:
    try:
        if not path.exists():
            write_new(path, base64_text(new) + "\n")
        return read_key(path)
    except BadKeyFile as error:
        raise Refused(f"{error.message}\n    fix: {error.fix}; or delete it: a new key is made") from error
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}\n    fix: name another --state") from error


def write(where: Path, name: str, text: str) -> Path:
    """A file that `name` needs, mode 0600. Refused."""
    path = where / name
    try:
        write_over(path, text)
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}\n    fix: name another --state") from error
    return path
