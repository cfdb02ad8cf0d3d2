"""Errors that a person reads: what is wrong, where, and what to do."""

from __future__ import annotations

from dataclasses import dataclass


class PoplabError(Exception):
    """Base of every error with a message for people; ``exit_code`` follows the table in the README."""

    exit_code = 4


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a file. `line` and `column` count from 1; 0 means the whole file."""

    file: str
    line: int
    column: int
    message: str
    fix: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{where}: {self.message}" + (f"\n    fix: {self.fix}" if self.fix else "")


class ConfigError(PoplabError):
    """Everything wrong in one or several files, all at once."""

    exit_code = 2

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = problems


class Refused(PoplabError):
    """The process will not start like this; the message names the remedy."""

    exit_code = 2


class FabricUnavailable(PoplabError):
    """This machine cannot run that; the message says what is missing."""

    exit_code = 3
