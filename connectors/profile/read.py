"""The file of a far end, of either form."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

from connectors.profile.types import Profile
from connectors.profile.wgquick import parse
from connectors.profile.yaml_file import decode
from edge.document import MAX_BYTES, Document
from edge.errors import ConfigError, Problem

SCENARIO = {"vnets", "topology"}
"""Keys that every scenario has, and no file of a far end."""
_TOP = re.compile(rb"^(\w+):", re.MULTILINE)
_KEY = re.compile(r"[A-Za-z0-9+/]{40,}=*")


def read(path: Path) -> Profile:
    """The profile in `path`: YAML as of `--for poplab`, or a wg-quick file. ConfigError with all that is wrong."""
    file = str(path)
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)  # once: it may be a pipe
    except OSError as error:
        fix = "the file that `poplab edge add-client` or `add-connector` printed"
        if isinstance(error, PermissionError):
            fix = "run it as a user who may read the file, such as root"
        raise ConfigError([Problem(file, 0, 0, error.strerror or str(error), fix)]) from error
    raw = raw.removeprefix(b"\xef\xbb\xbf")  # some editors begin a file with it
    try:
        if _is_wgquick(raw) and len(raw) <= MAX_BYTES:
            return parse(raw.decode(errors="replace"), file, path.stem)
        if {match[1].decode() for match in _TOP.finditer(raw)} >= SCENARIO:
            fix = f"poplab run {shlex.quote(file)}; a file for this is what `poplab edge add-client` printed"
            raise ConfigError([Problem(file, 0, 0, "this looks like a scenario", fix)])
        return decode(Document.of(raw, file))
    except ConfigError as error:
        raise ConfigError([_without_keys(problem) for problem in error.problems]) from None


def _is_wgquick(raw: bytes) -> bool:
    """It begins with a section, which YAML could only take for a list."""
    lines = (line.strip() for line in raw.splitlines())
    first = next((line for line in lines if line and not line.startswith((b"#", b";"))), b"")
    return first.lower() in (b"[interface]", b"[peer]")


def _without_keys(problem: Problem) -> Problem:
    """A message may repeat what stands in the wrong place, and that may be the secret."""
    return replace(
        problem, message=_KEY.sub("(a key)", problem.message), fix=_KEY.sub("(a key)", problem.fix)
    )
