"""The file of a far end, of either form."""

from __future__ import annotations

from pathlib import Path

from connectors.profile.types import Profile
from connectors.profile.wgquick import parse
from connectors.profile.yaml_file import decode
from edge.document import MAX_BYTES, Document
from edge.errors import ConfigError, Problem


def read(path: Path) -> Profile:
    """The profile in `path`: YAML as of `--for poplab`, or a wg-quick file. ConfigError with all that is wrong."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES)
    except OSError as error:
        fix = "the file that `poplab edge add-client` or `add-connector` printed"
        raise ConfigError([Problem(str(path), 0, 0, error.strerror or str(error), fix)]) from error
    if _is_wgquick(raw):
        return parse(raw.decode(errors="replace"), str(path), path.stem)
    return decode(Document.read(path))


def _is_wgquick(raw: bytes) -> bool:
    """It begins with a section, which YAML could only take for a list."""
    lines = (line.strip() for line in raw.splitlines())
    first = next((line for line in lines if line and not line.startswith((b"#", b";"))), b"")
    return first.lower() in (b"[interface]", b"[peer]")
