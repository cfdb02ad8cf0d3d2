"""The TLS key log: private, appended to, and never a reason to stop."""

from __future__ import annotations

import errno
import os
from dataclasses import replace

import pytest

from edge.config import EdgeConfig, MasqueConfig, VnetConfig
from edge.errors import Refused
from edge.server.keylog import KeyLog

MASQUE = MasqueConfig(("127.0.0.1", 0), b"", b"")
CONFIG = EdgeConfig("pop", ("127.0.0.1", 0), bytes(32), {"lab": VnetConfig("lab")})


def with_log(path):
    return replace(CONFIG, masque=replace(MASQUE, keylog=path))


def test_lines_are_appended_for_the_owner_alone(tmp_path):
    path = tmp_path / "keys.log"
    path.write_text("before\n")
    path.chmod(0o644)
    with KeyLog.of(with_log(path)) as log:
        log("CLIENT_RANDOM a b\n")
        log("CLIENT_RANDOM c d")
    assert path.read_text() == "before\nCLIENT_RANDOM a b\nCLIENT_RANDOM c d\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_nothing_is_logged_unless_it_is_asked_for():
    for config in (CONFIG, replace(CONFIG, masque=MASQUE)):
        with KeyLog.of(config) as log:
            assert log is None


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "keys.log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused, match="lab"), KeyLog.of(with_log(tmp_path / "keys.log")):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_missing_folder_is_to_be_made(tmp_path):
    path = tmp_path / "a b" / "keys.log"
    with pytest.raises(Refused, match=f"mkdir -p '{path.parent}'"), KeyLog.of(with_log(path)):
        pass


def test_what_is_no_file_is_refused_and_stays_as_it_is(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path, 0o644)
    before = path.stat().st_mode
    with pytest.raises(Refused, match="lab"), KeyLog.of(with_log(path)):
        pass
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(Refused, match="lab"), KeyLog.of(with_log(path)):
            pass
    finally:
        os.close(reader)
    assert path.stat().st_mode == before


def test_a_full_disk_costs_the_line_only(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "no space left")

    with KeyLog.of(with_log(tmp_path / "keys.log")) as log:
        monkeypatch.setattr(os, "write", full)
        log("CLIENT_RANDOM a b")
