"""pytest knows scenario files as tests, and tests in Python get worlds: `poplab_world` and `poplab_run`.

It is loaded wherever poplab is installed, so it imports nothing of it before somebody needs it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from scenarios.lab.fixture import WorldMaker
    from scenarios.report import RunRecord
    from scenarios.schema import Script

SUFFIXES = (".yaml", ".yml")
LOOK = 64 * 1024  # characters of a file; what makes it a scenario stands at its beginning

_VERSION = re.compile(r"^version:\s*1\s*(#.*)?$", re.MULTILINE)
_TOPOLOGY = re.compile(r"^topology:", re.MULTILINE)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("poplab", "poplab: scenario files as tests")
    group.addoption(
        "--poplab-fabric", metavar="NAME", help="Where scenario files run; the file's first if left out."
    )
    group.addoption("--poplab-seed", type=int, metavar="N", help="Instead of the seeds in scenario files.")
    parser.addini(
        "poplab_scenarios",
        "globs of scenario files; without it, those in folders named on the command line that look like one",
        type="linelist",
        default=[],
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "poplab: a scenario file")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix in SUFFIXES and _is_wanted(file_path, parent.config):
        file: pytest.Collector = ScenarioFile.from_parent(parent, path=file_path)
        return file
    return None


def _is_wanted(path: Path, config: pytest.Config) -> bool:
    globs: list[str] = config.getini("poplab_scenarios")
    if globs:
        root = config.inipath.parent if config.inipath is not None else config.rootpath
        return any(path.match(str(root / glob)) for glob in globs)
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        return False
    try:
        with path.open(encoding="utf-8") as stream:
            text = stream.read(LOOK)
    except (OSError, ValueError):
        return False
    return _VERSION.search(text) is not None and _TOPOLOGY.search(text) is not None


class ScenarioFile(pytest.File):
    """One item for each cell of its matrix."""

    def collect(self) -> Iterator[pytest.Item]:
        from edge.errors import ConfigError
        from scenarios.runner import check

        try:
            scripts = check(self._shown())
        except ConfigError as error:
            raise self.CollectError(str(error)) from None
        for script in scripts:
            values = ",".join(f"{name}={value}" for name, value in script.cell.items())
            name = f"{script.scenario.name}[{values}]" if values else script.scenario.name
            item: pytest.Item = ScenarioItem.from_parent(self, name=name, script=script)
            yield item

    def _shown(self) -> Path:
        """As one would type it."""
        here = Path.cwd()
        return self.path.relative_to(here) if self.path.is_relative_to(here) else self.path


class ScenarioFailed(Exception):
    """The run did not pass; the text is what the command says of it."""


class ScenarioItem(pytest.Item):
    """A run."""

    def __init__(self, *, script: Script, **rest: Any) -> None:
        super().__init__(**rest)
        self.script = script
        self.add_marker("poplab")

    def runtest(self) -> None:
        from edge.errors import FabricUnavailable
        from scenarios.fabric import FABRICS
        from scenarios.lab import run_file
        from scenarios.live import PlainLines
        from scenarios.report import State, findings

        scenario, fabric = self.script.scenario, self.config.getoption("--poplab-fabric")
        if fabric is not None and fabric not in FABRICS:
            raise pytest.UsageError(f"there is no fabric {fabric!r}; known: {', '.join(FABRICS)}")
        if fabric is not None and fabric not in scenario.fabrics:
            pytest.skip(f"runs on {', '.join(scenario.fabrics)}, not on {fabric}")
        lines: list[str] = []
        try:
            record = run_file(
                self.script,
                fabric=fabric,
                seed=self.config.getoption("--poplab-seed"),
                observer=PlainLines(lines.append),
            )
        except FabricUnavailable as error:
            pytest.skip(str(error))
        self.user_properties += [("seed", record.seed), ("fabric", record.fabric), ("repeat", record.repeat)]
        if record.state is not State.PASSED:
            first = findings(record)[0]  # readers of junit.xml, and people in a hurry, see only one line
            summary = f"{first.where}: {first.text}"
            raise ScenarioFailed("\n".join([summary, *lines, f"again: {record.repeat}"]))
        self.add_report_section("call", "poplab", "\n".join(lines))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, ScenarioFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, f"{self.script.file}: {self.name}"


@pytest.fixture
def poplab_world(request: pytest.FixtureRequest) -> WorldMaker:
    """``async with poplab_world(scenario, seed=..., fabric="sim") as world:`` in a trio test, in virtual time.

    In a test without trio: ``poplab_world.run(scenario, main)``, with ``async def main(world)``.
    """
    from scenarios.lab.fixture import WorldMaker

    return WorldMaker(request.path.parent)


@pytest.fixture
def poplab_run(request: pytest.FixtureRequest) -> Callable[..., RunRecord]:
    """``record = poplab_run(scenario, seed=..., fabric=..., cell={...})``: all of it, as ``poplab run`` does."""
    from functools import partial

    from scenarios.lab import run_file

    return partial(run_file, folder=request.path.parent)
