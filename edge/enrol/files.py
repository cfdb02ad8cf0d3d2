"""The files of a PoP: written whole or not at all, for their owner alone, by one process at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edge.config import TUNNELS_FOLDER, not_there
from edge.errors import ConfigError, Refused


@contextmanager
def alone(config_path: Path) -> Iterator[None]:
    """One change of a PoP's files at a time: two must not find the same address free.

    The lock ends with the process.
    """
    if absent := not_there(config_path):
        raise ConfigError([absent])
    folder = config_path.parent / TUNNELS_FOLDER
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Refused(
            f"{folder}: {error.strerror}\n    fix: run as the user that owns {config_path.parent}"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_new(path: Path, text: str) -> None:
    """A whole file under `path`, mode 0600, or none; FileExistsError rather than over an existing one."""
    _write(path, text, os.link)


def write_over(path: Path, text: str) -> None:
    """A whole file in the place of `path`, mode 0600; who reads meanwhile gets the old one or the new one."""
    _write(path, text, os.replace)


def write_all_new(files: dict[Path, str]) -> None:
    """All of `files`, in order, or none of them; Refused with the one that could not be written."""
    written: list[Path] = []
    try:
        for path, text in files.items():
            write_new(path, text)
            written.append(path)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        where = error.filename2 or error.filename
        fix = "delete it, if nobody uses it" if isinstance(error, FileExistsError) else "check the folder"
        raise Refused(f"{where}: {error.strerror}\n    fix: {fix}") from error


def _write(path: Path, text: str, place: Callable[[Path, Path], None]) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with os.fdopen(
            os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w"
        ) as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        place(part, path)
    finally:
        part.unlink(missing_ok=True)
