"""What a program writes, as much of it as there is room for: the beginning and the end of each of its streams."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Literal

Stream = Literal["stdout", "stderr"]

MOST = 1 << 20
"""Bytes that are kept of each stream."""

MASK = b"(a secret)"

LONGEST_LINE = 240
"""Characters of a line that is shown to people."""

_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Excerpt:
    """The first half of `most` bytes and the last half of what was added; what lay in between is counted."""

    def __init__(self, most: int = MOST) -> None:
        self.total = 0
        """Bytes that were added."""
        self._half = most // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._text: str | None = None

    def add(self, data: bytes) -> None:
        self.total += len(data)
        self._text = None
        room = self._half - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        if len(self._tail) > 2 * self._half:  # now and then, not for every byte
            del self._tail[: len(self._tail) - self._half]

    @property
    def left_out(self) -> int:
        """Bytes in the middle that are not kept."""
        return max(0, self.total - 2 * self._half)

    @property
    def text(self) -> str:
        """What is kept, as UTF-8; where something is missing, a line says how much."""
        if self._text is None:
            tail = self._tail[max(0, len(self._tail) - self._half) :]
            gap = f"\n[{self.left_out} bytes left out]\n".encode() if self.left_out else b""
            self._text = b"".join((self._head, gap, tail)).decode("utf-8", "replace")
        return self._text

    def end(self, most: int) -> str:
        """The last `most` bytes that are kept."""
        data = self._tail[-most:]
        if len(data) < most and not self.left_out:
            data = self._head[len(data) - most :] + data
        return data.decode("utf-8", "replace")


class ProgramOutput:
    """Both streams, and what was written to either in the order in which it came."""

    def __init__(self, most: int = MOST) -> None:
        self.stdout = Excerpt(most)
        self.stderr = Excerpt(most)
        self.both = Excerpt(most)
        self.on_data: Callable[[bytes], object] | None = None
        """Told whatever comes, in its order."""
        self.hidden: Collection[bytes] = ()
        """What is not kept, nor told to anybody, wherever a program writes it."""
        self._held: dict[Stream, bytes] = {}
        """What may be the beginning of something hidden."""

    def add(self, stream: Stream, data: bytes) -> None:
        if self.hidden:
            data = without(self._held.pop(stream, b"") + data, self.hidden)
            shown = len(data) - _begun(data, self.hidden)
            self._held[stream], data = data[shown:], data[:shown]
        self._keep(stream, data)

    def end(self, stream: Stream) -> None:
        """Nothing more comes."""
        self._keep(stream, self._held.pop(stream, b""))

    def _keep(self, stream: Stream, data: bytes) -> None:
        if not data:
            return
        (self.stdout if stream == "stdout" else self.stderr).add(data)
        self.both.add(data)
        if self.on_data is not None:
            self.on_data(data)

    @property
    def total(self) -> int:
        return self.both.total

    def text(self, source: str) -> str:
        """Of "stdout", of "stderr", or of "output", which is both."""
        excerpt: Excerpt = self.both if source == "output" else getattr(self, source)
        return excerpt.text

    def last_lines(self, most: int) -> list[str]:
        """The last lines that are not empty, fit for a screen."""
        lines = [shown(line) for line in self.both.end(4 * LONGEST_LINE * most).split("\n")]
        return [line for line in lines if line.strip()][-most:]

    @property
    def last_line(self) -> str:
        return next(iter(self.last_lines(1)), "")


def without(data: bytes, hidden: Collection[bytes]) -> bytes:
    """`data` with a mask in place of everything hidden."""
    for secret in hidden:
        data = data.replace(secret, MASK)
    return data


def _begun(data: bytes, hidden: Collection[bytes]) -> int:
    """Bytes at its end with which something hidden may begin."""
    return max(
        next((length for length in range(len(secret) - 1, 0, -1) if data.endswith(secret[:length])), 0)
        for secret in hidden
    )


def shown(line: str) -> str:
    """One line as a terminal would leave it: without colours, the last of what was overwritten, and not too long."""
    line = _SEQUENCE.sub("", line).rstrip("\r").rpartition("\r")[2]
    line = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", line.expandtabs())
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 1]}…"
