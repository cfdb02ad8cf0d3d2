"""Everything the doctor knows about: a closed list, in the order in which it is shown."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from types import MappingProxyType

from scenarios.doctor.examination import PYTHON_VERSION, Examination, Item
from scenarios.doctor.finding import Group, State, Verdict
from scenarios.doctor.kernel import KERNEL, LIMITS
from scenarios.doctor.namespaces import NAMESPACES, RESTRICTIONS
from scenarios.doctor.programs import PROGRAMS, Program

PACKAGES = ("trio", "cryptography", "msgspec", "yaml", "aioquic", "h2", "h11", "dns", "msgpack", "structlog")
"""Modules without which no scenario runs."""
NETNS_NEEDS = (
    "network-namespace",
    "veth",
    "bridge",
    "raw-sockets",
    "packet-sockets",
    "policy-routing",
    "pyroute2",
)
NETNS_WANTS = ("mount-namespace", "pid-namespace", "ipv6")
"""Some worlds need them, as those with real programs do."""
READABLE_PYTHON = "make the venv with a Python that everybody can read, such as /usr/bin/python3"


def _pip(*words: str) -> str:
    """Into the Python that runs this: the `pip` of a shell may be another one's."""
    return shlex.join([sys.executable, "-m", "pip", "install", *words])


def _sim(look: Examination) -> Verdict:
    absent = [name for name in PACKAGES if not look.machine.has_module(name)]
    if absent:
        return Verdict(State.NO, f"Python cannot import {', '.join(absent)}", _pip("poplab"))
    return Verdict(State.YES, "virtual time: no socket, no privilege")


def _loopback(look: Examination) -> Verdict:
    attempt = look.attempt("udp")
    if attempt.state == "yes":
        return Verdict(State.YES, attempt.detail)
    return Verdict(State.NO, attempt.detail, look.as_root("ip link set lo up"))


def _netns(look: Examination) -> Verdict:
    for name in NETNS_NEEDS:
        need = look.finding(name)
        if need.state is not State.YES:
            return look.follows(name, f"{need.lack}: {need.detail}")
    how = look.finding("network-namespace").detail.removeprefix("made ")
    detail = how if look.machine.root and how == "as root" else f"without root, {how}"
    for name in NETNS_WANTS:
        if (want := look.finding(name)).state is not State.YES:
            return look.follows(name, f"{detail}; {want.lack}: {want.detail}", State.LIMITED)
    return Verdict(State.YES, detail)


def _python(look: Examination) -> Verdict:
    machine = look.machine
    if machine.startable:
        return Verdict(State.YES, machine.python)
    why = f"{machine.python}, but this user may not start {machine.interpreter}: nothing can be tried"
    return Verdict(State.LIMITED, why, READABLE_PYTHON)


def _package(name: str, needed_by: str) -> Item:
    def judge(look: Examination) -> Verdict:
        if version := look.machine.version(name):
            return Verdict(State.YES, version)
        return Verdict(State.NO, "not installed", _pip(name))

    return Item(name, Group.PYTHON, f"no {name}", needed_by, judge)


def _openssl(look: Examination) -> Verdict:
    try:
        return Verdict(State.YES, look.machine.openssl())
    except ImportError as error:
        return Verdict(State.NO, str(error), _pip("--force-reinstall", "cryptography"))


def _program(program: Program) -> Item:
    def judge(look: Examination) -> Verdict:
        name = program.name
        if look.which(name):
            return Verdict(State.YES, look.version(name) or "installed")
        beside = look.machine.which_beside_path(name)
        if beside is not None:
            folder = beside.rpartition("/")[0]
            return Verdict(State.NO, f"{beside} is not on PATH", f'export PATH="$PATH:{folder}"')
        return Verdict(State.NO, "not installed", program.install(look.distribution))

    needed_by = program.needed_by or "hosts with `exec`"
    return Item(program.name, Group.PROGRAMS, f"no {program.name}", needed_by, judge, program=program)


def _xray(look: Examination) -> Verdict:
    if look.machine.has_module("xray"):
        return Verdict(State.YES, look.machine.version("Xray-core") or "installed")
    return Verdict(State.NO, "the Xray-core wheel is not installed", _pip("Xray-core"))


ITEMS = (
    Item("sim", Group.FABRICS, "no sim fabric", "poplab run", _sim),
    Item(
        "loopback", Group.FABRICS, "no loopback fabric", "poplab run --fabric loopback", _loopback, ("udp",)
    ),
    Item(
        "netns",
        Group.FABRICS,
        "no netns fabric",
        "poplab run --fabric netns",
        _netns,
        after=(*NETNS_NEEDS, *NETNS_WANTS),
        linux=True,
    ),
    *NAMESPACES,
    *KERNEL,
    *RESTRICTIONS,
    *LIMITS,
    Item(PYTHON_VERSION, Group.PYTHON, "no Python", "everything", _python),
    _package("pyroute2", "netns"),
    _package("aioquic", "MASQUE over HTTP/3"),
    Item("openssl", Group.PYTHON, "no OpenSSL", "MASQUE", _openssl),
    *(_program(program) for program in PROGRAMS),
    Item("xray", Group.PROGRAMS, "no Xray", "tests/interop, `agent: xray`", _xray),
)

CATALOGUE: Mapping[str, Item] = MappingProxyType({item.name: item for item in ITEMS})


def any_program(program: Program) -> Item:
    """Also of one that is not listed."""
    return _program(program)
