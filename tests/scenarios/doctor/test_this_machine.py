"""The doctor on the machine that runs the tests, whatever that can do: it hangs nowhere and leaves nothing."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from scenarios import doctor
from scenarios.doctor import Group, Machine, State

ROOT = Path(__file__).parents[3]
TRIES = (Group.FABRICS, Group.KERNEL, Group.RESTRICTIONS)
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


def run(*arguments: str) -> str:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=20, check=False).stdout


def children() -> str:
    """Of all threads of this process, of which one may end meanwhile: a pool of threads keeps idle ones for a while."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += (task / "children").read_text().split()
    return " ".join(sorted(found))


def surroundings() -> dict[str, object]:
    """What an attempt in the wrong place would change."""
    me = Path("/proc/self")
    ip = shutil.which("ip")
    return {
        "interfaces": sorted(re.findall(r"^ *(\S+):", (me / "net/dev").read_text(), re.MULTILINE)),
        "mounts": (me / "mountinfo").read_text(),
        "namespaces": sorted(os.readlink(path) for path in (me / "ns").iterdir()),
        "files": len(os.listdir(me / "fd")),
        "children": children(),
        "rules": [run(ip, family, "rule") for family in ("-4", "-6")] if ip else [],
        "addresses": re.findall(r"inet6? \S+", run(ip, "address", "show", "lo")) if ip else [],
    }


def test_a_simulated_world_runs_wherever_the_tests_do() -> None:
    assert doctor.missing("sim", "python-version", "openssl", "aioquic") == []


@linux
def test_nothing_is_left_and_nothing_is_changed() -> None:
    before = surroundings()
    found = doctor.examine(TRIES)
    assert surroundings() == before
    assert {finding.group for finding in found} == set(TRIES)


@linux
def test_what_a_namespace_is_for_works_in_it() -> None:
    if refused := doctor.missing("network-namespace"):
        pytest.skip(refused[0].sentence)
    assert doctor.missing("raw-sockets", "packet-sockets") == []


@linux
def test_an_ordinary_user_gets_answers_too(tmp_path: Path) -> None:
    if os.geteuid() or not shutil.which("setpriv"):
        pytest.skip("needs root, which then gives it up, and setpriv")
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "env", "HOME=/nonexistent"]
    pythons = (sys.executable, "/usr/bin/python3")
    good = "import sys; assert sys.version_info >= (3, 11)"
    python = next(
        (
            python
            for python in pythons
            if subprocess.run([*nobody, python, "-c", good], capture_output=True, check=False).returncode == 0
        ),
        None,
    )
    if python is None:
        pytest.skip("no Python that an ordinary user may run")
    code = (
        f"import json, sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from scenarios import doctor\n"
        "found = doctor.examine(['kernel', 'restrictions'])\n"
        "print(json.dumps([[f.name, f.state, f.detail, f.fix] for f in found]))"
    )
    done = subprocess.run(
        [*nobody, python, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    if "No module named 'scenarios'" in done.stderr or "Permission denied" in done.stderr:
        pytest.skip("an ordinary user may not read this checkout")
    found = {name: (state, detail, fix) for name, state, detail, fix in json.loads(done.stdout)}
    assert "root" not in found["user-namespace"][1].split() or found["user-namespace"][1] == "without root"
    state, detail, fix = found["network-namespace"]
    assert (state, detail) == ("yes", "made in a user namespace") or (state == "no" and fix)
    if not os.stat("/dev/net/tun").st_mode & stat.S_IWOTH:
        assert found["tun-device"] == (
            "no",
            f"{stat.filemode(os.stat('/dev/net/tun').st_mode)}: not for this user",
            "sudo chmod 0666 /dev/net/tun",
        )


def test_attempts_that_give_no_answer_are_given_up(tmp_path: Path) -> None:
    found = doctor.examine(["loopback"], machine=Machine(trial_timeout=0.0))
    assert [finding.detail for finding in found] == ["no answer within 0 s"]


def test_a_program_that_does_not_tell_its_version_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, script in (("wg", "exec sleep 60"), ("curl", "echo curl 8.7.1 here"), ("sipp", "exit 1")):
        file = tmp_path / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = doctor.examine(["wg", "curl", "sipp"], machine=Machine(version_timeout=0.5))
    assert [(finding.state, finding.detail) for finding in found] == [
        (State.YES, "installed"),
        (State.YES, "8.7.1"),
        (State.YES, "installed"),
    ]


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("ip utility, iproute2-6.1.0, libbpf 1.1.0", "6.1.0"),
        ("OpenSSH_9.2p1 Debian-2+deb12u7, OpenSSL 3.0.17 1 Jul 2025", "9.2p1"),
        (" SIPp v3.6.1-TLS-SCTP-PCAP-SHA256.", "3.6.1"),
        ("DiG 9.18.28-1~deb12u2-Debian", "9.18.28"),
        ("nothing to see", None),
    ],
)
def test_versions_are_read_out_of_what_programs_say(tmp_path: Path, said: str, version: str | None) -> None:
    file = tmp_path / "program"
    file.write_text(f"#!/bin/sh\necho '{said}' >&2\n")
    file.chmod(0o755)
    found = Machine(version_timeout=5.0).versions({"program": [str(file)]})
    assert found == ({"program": version} if version else {})


@linux
def test_an_interpreter_that_may_not_be_started_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python3"
    python.write_text("")
    python.chmod(0o644)
    monkeypatch.setattr(sys, "executable", str(python))
    found = {finding.name: finding for finding in doctor.examine(["python-version", "loopback"])}
    assert (found["loopback"].state, found["loopback"].because) == (State.UNKNOWN, "python-version")
    assert found["loopback"].detail == f"{python}: Permission denied"
    assert str(python) in found["python-version"].detail
