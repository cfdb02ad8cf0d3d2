"""docs/lab.md from its first command to its last: `$` is the machine of the lab, `laptop$` a device of the reader."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scenarios import doctor
from tests.interop.hubs import REPOSITORY
from tests.interop.namespaces import wait_for
from tests.interop.peers import WireguardGoPeer

if TYPE_CHECKING:
    from tests.interop.conftest import Star
    from tests.interop.namespaces import Namespace, Process

pytestmark = pytest.mark.interop

PAGE = REPOSITORY / "docs" / "lab.md"
START = 30.0  # seconds; a busy machine takes a few


class Reader:
    """Does what the page says."""

    def __init__(self, star: Star, folder: Path) -> None:
        self.star, self.folder = star, folder
        programs = folder / "bin"
        programs.mkdir()
        poplab = programs / "poplab"
        poplab.write_text(f'#!/bin/sh\nexec env PYTHONPATH={REPOSITORY} {sys.executable} -m scenarios "$@"\n')
        poplab.chmod(0o755)
        (folder / "scenarios").symlink_to(REPOSITORY / "scenarios")
        self.path = programs
        self.up: Process | None = None
        self.devices: dict[str, Namespace] = {}

    def shell(self, space: Namespace, command: str) -> str:
        return space.run("sh", "-ec", f'cd {self.folder}; PATH="{self.path}:$PATH"; {command}')

    def here(self, command: str) -> None:
        if not command.startswith("poplab up"):
            self.shell(self.star.middle, command)
            return
        self.end()
        log = self.folder / "up.log"
        log.unlink(missing_ok=True)
        line = f'cd {self.folder}; PATH="{self.path}:$PATH"; exec {command}'
        up = self.up = self.star.middle.start("sh", "-ec", line, log=log)

        def ready() -> bool:
            assert up.alive, up.output()
            return "desk registered" in up.output()

        wait_for(ready, command, timeout=START)

    def join(self, name: str, file: Path) -> None:
        space = self.devices[name] = self.star.outside(name)
        WireguardGoPeer(space, self.folder, file.read_text()).up()

    def on_the_laptop(self, command: str) -> str:
        if command.startswith("sudo wg-quick up ./"):
            self.join("phone", self.folder / "lab-keys" / "phone.conf")
            self.join("laptop", self.folder / "lab-keys" / command.removeprefix("sudo wg-quick up ./"))
            return ""
        return self.shell(self.devices["laptop"], command)

    def end(self) -> None:
        if self.up is not None:
            assert self.up.stop(signal.SIGINT, timeout=20.0) == 0, self.up.output()
            assert "FAIL" not in self.up.output()
            self.up = None


def test_the_page_leads_from_nothing_to_a_laptop_in_the_lab(star: Star, tmp_path: Path) -> None:
    lacking = [each for each in doctor.examine(["netns", "curl"]) if not each.there]
    if lacking:
        pytest.skip(lacking[0].sentence)
    reader = Reader(star, tmp_path)
    said = ""
    text = PAGE.read_text()
    commands = [
        line for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL) for line in block.splitlines()
    ]
    assert len(commands) >= 10
    for line in commands:
        if line.startswith("laptop$ "):
            said += reader.on_the_laptop(line.removeprefix("laptop$ "))
        else:
            assert line.startswith("$ "), line
            reader.here(line.removeprefix("$ "))
    assert "Hello from hq/web" in said
    assert said.count("0% packet loss") == 2
    again = reader.on_the_laptop("curl --retry 5 --retry-all-errors --max-time 10 http://10.0.50.80/")
    assert "Hello from hq/web" in again, "on netns, with the keys of before"
    reader.end()
    assert (tmp_path / "phone.conf").stat().st_mode & 0o777 == 0o600


def test_what_the_page_says_is_on_the_screen_is_what_is_said() -> None:
    """Words of the page that come from elsewhere are still there."""
    page = PAGE.read_text()
    sources = "".join(
        (REPOSITORY / file).read_text()
        for file in (
            "scenarios/live/keeping.py",
            "scenarios/runner/onlooker.py",
            "scenarios/labs/first-lab.yaml",
        )
    )
    for words in ("not here yet", "is here", "is gone", "dropped", "outside: true"):
        assert words in page
        assert words in sources
