"""Real programs: what runs on a host of its own accord, and what steps run there.

In their texts ``${...}`` is a condition whose value is put there when the program starts; ``$${`` is a plain ``${``.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from edge.document import Duration
from scenarios.proto.pick import Pick as Picking
from scenarios.proto.pick import expression, json_path
from scenarios.schema.words import Actor, Identifier, Name, Port, Section, written

PlainText = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[^\u0000]*$",
        description="text without a NUL",
        extra={"write": "leave the NUL out"},
    ),
]
Argv = Annotated[
    tuple[PlainText, ...],
    msgspec.Meta(
        min_length=1,
        description="a program and its arguments; no shell reads them",
        extra={"command": True},
    ),
]
FileName = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^(?!/)(?!(?:.*/)?\.{0,2}(?:/|$))[^\u0000]{1,255}$",
        description="the name of a file in the working folder",
        extra={"write": "write a name such as index.html or site/index.html, without .. and not from / on"},
    ),
]
Variable = Annotated[
    str,
    msgspec.Meta(
        pattern="^[A-Za-z_][A-Za-z0-9_]*$",
        description="the name of an environment variable",
        extra={"write": "use letters, digits and `_`, no digit first"},
    ),
]
Signal = Literal["TERM", "INT", "HUP", "QUIT", "KILL"]

RESULTS = (
    "outcome",
    "code",
    "signal",
    "duration",
    "stdout",
    "stderr",
    "output",
    "output_bytes",
)
"""What conditions can ask of every program that a step runs; what is picked has other names."""

STATE = ("state", "ready", "starts", *RESULTS)
"""And of those that run on a host."""


class File(Section, frozen=True, kw_only=True):
    """A file in the working folder of the host; one of `text` and `copy`."""

    text: PlainText | None = None
    source: str | None = msgspec.field(name="copy", default=None)
    """A file beside the scenario, taken as it is."""
    executable: bool = False


Files = dict[FileName, File | PlainText]


class Pick(Section, frozen=True, kw_only=True):
    """What a condition wants of the output: by `json`, by `regex`, or all of it."""

    source: Literal["stdout", "stderr", "output"] = msgspec.field(name="from", default="stdout")
    """`output` is both, as it came."""
    json: str | None = None
    """A path of keys and numbers, such as end.streams[0].sum."""
    regex: str | None = None
    """The first group of the first match is taken, or all of it where there is no group; ^ and $ are of lines."""
    take: Literal["first", "last"] = "first"
    """Which match."""
    kind: Literal["number", "text"] | None = msgspec.field(name="as", default=None)
    """Without it, JSON says what it is, and everything else is text."""

    @property
    def picking(self) -> Picking:
        """ValueError if the path or the expression is none."""
        return Picking(
            path=None if self.json is None else json_path(self.json),
            expression=None if self.regex is None else expression(self.regex),
            last=self.take == "last",
            number=None if self.kind is None else self.kind == "number",
        )


class Ready(Section, frozen=True, kw_only=True):
    """When a program can be used; one of `tcp`, `udp`, `output`, `run`."""

    tcp: Port | None = None
    """Somebody listens on this port of the host."""
    udp: Port | None = None
    output: str | None = None
    """A regular expression that matches what the program has written."""
    run: Argv | None = None
    """A program that ends with 0; until then it is run again and again."""
    within: Duration = written(Duration(10.0))


class Program(Section, frozen=True, kw_only=True):
    """A program on a host, in the foreground. It must run until the scenario ends, or until a step stops it."""

    name: Name
    run: Argv
    ready: Ready | None = None
    """Without it, it is as soon as it runs."""
    files: Files = {}
    env: dict[Variable, PlainText] = {}
    """Beside PATH, HOME, TMPDIR and LANG."""
    capture: dict[Identifier, Pick] = {}
    start: Literal["at-once", "by-step"] = "at-once"
    may_exit: bool = False
    """Whether it may end by itself."""


class ExecRun(Section, frozen=True, kw_only=True):
    """A program runs on a host until it ends."""

    on: Actor
    run: Argv
    within: Duration = written(Duration(30.0))
    """After that it is killed."""
    stdin: PlainText = ""
    files: Files = {}
    env: dict[Variable, PlainText] = {}
    capture: dict[Identifier, Pick] = {}


class ExecStart(Section, frozen=True, kw_only=True):
    """A program that is declared at a host begins, for the first time or again; done when it is ready."""

    on: Actor
    name: Name


class ExecStop(Section, frozen=True, kw_only=True):
    """A program of a host gets a signal; done when it has ended."""

    on: Actor
    name: Name
    signal: Signal = "TERM"
    within: Duration = written(Duration(5.0))
    """After that it is killed."""
