"""Values as one writes them into a YAML file, in one line: what a fix proposes has to be read as it was meant."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable

import yaml

LONGEST = 200
"""Characters of a proposal: what is longer is not retyped."""

_PLAIN = re.compile(r"(?:-{0,2}[A-Za-z_]|\.{0,2}/)[\w./+=%@-]*|\d+(?:\.\d+){3}", re.ASCII)
"""Nothing that one version of YAML or another could take for a number."""
_OF_SHELLS = frozenset({"|", "||", "&", "&&", ";", "<", ">", ">>", "2>", "2>&1"})


def flow_text(text: str) -> str:
    """A text, in quotes if it would be read as something else without them."""
    if _PLAIN.fullmatch(text):
        try:
            if yaml.safe_load(f"[{text}]") == [text]:
                return text
        except (yaml.YAMLError, ValueError):
            pass
    return json.dumps(text, ensure_ascii=not text.isprintable())


def flow_list(texts: Iterable[str]) -> str:
    return f"[{', '.join(map(flow_text, texts))}]"


def flow_command(line: str) -> str:
    """A command line as a list of arguments; what only a shell can do goes to one. Empty if it is too long for that."""
    if len(line) > LONGEST:
        return ""
    try:
        words = shlex.split(line)
    except ValueError:  # a quote that has no end
        return ""
    return flow_list(["sh", "-c", line] if _OF_SHELLS & set(words) else words)
