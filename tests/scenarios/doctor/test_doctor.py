"""What is said of machines that lack this or that: the state, and the way out."""

from __future__ import annotations

import errno
import shlex
import sys

import pytest

from scenarios import doctor
from scenarios.doctor import Attempt, Finding, Group, State
from scenarios.doctor.distribution import Distribution, Packager
from scenarios.doctor.namespaces import (
    ALLOW_APPARMOR,
    ALLOW_CLONE,
    ALLOW_NETWORKS,
    ALLOW_SOME,
    CLONE,
    LIMIT,
    NETWORK_LIMIT,
    STATUS,
)
from scenarios.doctor.programs import PROGRAMS
from tests.scenarios.doctor.machines import (
    INSIDE,
    NO_CAPABILITY,
    Imagined,
    bare,
    ubuntu,
    without_namespaces,
)

MACHINES = {
    "full": Imagined(),
    "root": Imagined(root=True),
    "bare": bare(),
    "ubuntu": ubuntu(),
    "ubuntu-root": ubuntu(root=True),
    "mac": Imagined(system="Darwin"),
    "unstartable": Imagined(startable=False),
}


def look(name: str, machine: doctor.Machine) -> Finding:
    (finding,) = doctor.examine([name], machine=machine)
    return finding


def test_where_everything_is_there_everything_is_said_to_be_there() -> None:
    assert [finding.sentence for finding in doctor.examine(machine=Imagined()) if finding.fix] == []
    assert {finding.state for finding in doctor.examine(machine=Imagined())} == {State.YES}


def test_packages_go_into_the_python_that_asks() -> None:
    for name in ("xray", "aioquic"):
        assert look(name, bare()).fix.startswith(f"{shlex.quote(sys.executable)} -m pip install ")


@pytest.mark.parametrize(
    ("uid_map", "fix"),
    [
        ("         0       1000          1", "sudo chmod 0666 /dev/net/tun"),
        ("         0          0 4294967295", "chmod 0666 /dev/net/tun"),
        ("0 1000 1\n1 100000 65536", "chmod 0666 /dev/net/tun"),  # a container, whose root is all there is
    ],
)
def test_root_of_a_user_namespace_of_its_own_needs_sudo(uid_map: str, fix: str) -> None:
    refused = Attempt("no", "/dev/net/tun: Permission denied", errno.EACCES)
    machine = Imagined(root=True, attempts={"tun": refused}, files={"/proc/self/uid_map": uid_map})
    assert look("tun", machine).fix == fix


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_what_is_not_there_has_a_remedy_or_is_not_needed(machine: Imagined) -> None:
    for finding in doctor.examine(machine=machine):
        assert finding.detail, finding.name
        if finding.state is not State.YES:
            assert finding.fix or not finding.needed_by, finding.sentence
            assert not finding.fix.endswith("."), finding.sentence


def test_the_bare_machine_has_next_to_nothing() -> None:
    there = {finding.name for finding in doctor.examine(machine=bare()) if finding.state is State.YES}
    assert there == {"python-version", "apparmor-userns", "userns-clone", "userns-limit"}


def test_a_sentence_says_what_is_missing_why_and_the_way_out() -> None:
    machine = Imagined(
        attempts={"tun": Attempt("no", "/dev/net/tun: No such file or directory", errno.ENOENT)}
    )
    (finding,) = doctor.missing("tun", machine=machine)
    assert finding.sentence == "no TUN device: /dev/net/tun is missing. Fix: sudo modprobe tun"
    assert look("netns", machine).there  # it does without


def test_a_finding_that_follows_from_another_has_its_words_and_its_way_out() -> None:
    machine = Imagined(attempts={"veth": Attempt("no", "Operation not supported", errno.EOPNOTSUPP)})
    (finding,) = doctor.missing("veth", machine=machine)
    assert look("netns", machine).sentence == f"no netns fabric: {finding.sentence}"


# -- namespaces --


def test_on_ubuntu_apparmor_is_named_with_its_switch() -> None:
    for name in ("netns", "user-namespace", "network-namespace", "apparmor-userns", "capabilities", "veth"):
        finding = look(name, ubuntu())
        assert (finding.state, finding.fix) == (State.NO, f"sudo {ALLOW_APPARMOR}"), name
    assert "uid_map: Operation not permitted" in look("netns", ubuntu()).detail


def test_a_consequence_names_its_cause() -> None:
    found = {finding.name: finding.because for finding in doctor.examine(machine=ubuntu())}
    consequences = {name for name, cause in found.items() if cause}
    assert consequences == {
        "netns",
        "network-namespace",
        "mount-namespace",
        "pid-namespace",
        "capabilities",
        *INSIDE,
    }
    assert {found[name] for name in consequences} == {"user-namespace"}


def test_on_ubuntu_root_may_and_is_told_that_others_may_not() -> None:
    machine = ubuntu(root=True)
    assert look("netns", machine).state is State.YES
    for name in ("user-namespace", "apparmor-userns"):
        finding = look(name, machine)
        assert (finding.state, finding.fix) == (State.LIMITED, ALLOW_APPARMOR)
        assert finding.there


@pytest.mark.parametrize(
    ("files", "existing", "root", "code", "fix"),
    [
        ({CLONE: "0"}, (), False, errno.EPERM, f"sudo {ALLOW_CLONE}"),
        ({LIMIT: "0"}, (), False, errno.ENOSPC, f"sudo {ALLOW_SOME}"),
        ({LIMIT: "0"}, (), True, errno.ENOSPC, ALLOW_SOME),
        ({NETWORK_LIMIT: "0"}, (), True, errno.ENOSPC, ALLOW_NETWORKS),
        ({}, (), False, errno.EINVAL, "use a kernel with CONFIG_NET_NS"),
        ({}, (), False, errno.EPERM, "run it as root"),
        ({}, ("/.dockerenv",), False, errno.EPERM, "--cap-add SYS_ADMIN"),
        ({}, ("/run/.containerenv",), False, errno.EPERM, "--device /dev/net/tun"),
        ({STATUS: NO_CAPABILITY}, (), True, errno.EPERM, "--security-opt seccomp=unconfined"),
    ],
)
def test_what_keeps_namespaces_from_being_made_has_its_own_remedy(
    files: dict[str, str], existing: tuple[str, ...], root: bool, code: int, fix: str
) -> None:
    why = Attempt("no", "unshare(CLONE_NEWNET): no", code, "unshare(CLONE_NEWNET)")
    machine = Imagined(root=root, files=files, existing=existing, attempts=without_namespaces(why))
    (finding,) = doctor.missing("network-namespace", machine=machine)
    assert fix in finding.fix
    assert look("netns", machine).fix == finding.fix


def test_root_in_a_container_that_may_use_a_user_namespace_has_the_fabric() -> None:
    machine = Imagined(root=True, files={STATUS: NO_CAPABILITY})
    assert look("capabilities", machine).state is State.YES
    assert look("netns", machine).state is State.YES


# -- kernel --


def test_a_kernel_without_a_module_is_told_which() -> None:
    no = Attempt("no", "Operation not supported", errno.EOPNOTSUPP)
    finding = look("netns", Imagined(attempts={"bridge": no}))
    assert finding.detail == "no bridge: Operation not supported"
    assert finding.fix == "sudo modprobe bridge, or use a kernel with CONFIG_BRIDGE"


@pytest.mark.parametrize(
    ("code", "existing", "fix"),
    [
        (errno.EACCES, (), "sudo chmod 0666 /dev/net/tun"),
        (errno.EPERM, (), "run it as root"),
        (errno.EPERM, ("/.dockerenv",), "--device /dev/net/tun"),
        (errno.ENOENT, ("/.dockerenv",), "--device /dev/net/tun"),
        (errno.ENODEV, (), "CONFIG_TUN"),
    ],
)
def test_a_tun_device_that_cannot_be_had(code: int, existing: tuple[str, ...], fix: str) -> None:
    machine = Imagined(existing=existing, attempts={"tun": Attempt("no", "/dev/net/tun: no", code)})
    assert fix in look("tun", machine).fix


def test_what_some_worlds_need_limits_the_fabric() -> None:
    finding = look("netns", Imagined(attempts={"ipv6": Attempt("no", "Address family not supported")}))
    assert (finding.state, finding.there) == (State.LIMITED, True)
    assert "Address family not supported" in finding.sentence


def test_every_world_needs_rules_for_one_protocol() -> None:
    limited = Attempt("limited", "rules, and none for one protocol (Linux 4.17)")
    finding = look("netns", Imagined(attempts={"policy-routing": limited}))
    assert not finding.there
    assert "none for one protocol" in finding.sentence


def test_tun_devices_that_are_roots_alone_are_a_limit_for_root_and_missing_for_others() -> None:
    for root, state, sudo in ((True, State.LIMITED, ""), (False, State.NO, "sudo ")):
        finding = look("tun-device", Imagined(root=root, tun="crw-------"))
        assert (finding.state, finding.fix) == (state, f"{sudo}chmod 0666 /dev/net/tun")
        assert look("netns", Imagined(root=root, tun="crw-------")).state is State.YES


def test_nothing_about_tun_devices_is_said_to_be_for_the_netns_fabric() -> None:
    found = doctor.examine(["tun", "tun-device", "tun-offload"], machine=Imagined())
    assert not [finding.name for finding in found if "netns" in finding.needed_by]


def test_few_open_files_and_small_buffers_are_limits_and_no_obstacles() -> None:
    small = Attempt("limited", "212,992 bytes: bursts are lost at high load")
    machine = Imagined(soft=1024, attempts={"udp-buffers": small})
    assert look("open-files", machine).fix == "ulimit -n 65536"
    assert look("udp-buffers", machine).fix.startswith("sudo sysctl -w net.core.rmem_max=")
    assert doctor.missing("open-files", "udp-buffers", machine=machine) == []


def test_elsewhere_it_says_that_it_needs_linux() -> None:
    machine = Imagined(system="Darwin")
    assert look("netns", machine).sentence.startswith(
        "no netns fabric: needs Linux, and this is Darwin. Fix:"
    )
    assert [look(name, machine).state for name in ("sim", "loopback")] == [State.YES, State.YES]
    assert machine.asked == ["udp"]


@pytest.mark.parametrize(
    ("code", "fix"),
    [
        (errno.ETIMEDOUT, "try again when the machine is less busy"),
        (errno.EAGAIN, "try again when the machine is less busy"),
        (errno.EMFILE, "let it open more files, with `ulimit -n`"),
        (0, "see what `/root/venv/bin/python3 -c 'import json'` says"),
    ],
)
def test_what_got_no_answer_is_unknown(code: int, fix: str) -> None:
    silent = Attempt("unanswered", "no answer", code)
    finding = look("loopback", Imagined(attempts={"udp": silent}))
    assert (finding.state, finding.fix, finding.there) == (State.UNKNOWN, fix, False)


def test_where_python_cannot_be_started_nothing_that_has_to_be_tried_is_known() -> None:
    machine = Imagined(startable=False)
    python = look("python-version", machine)
    assert python.state is State.LIMITED
    assert "this user may not start /root/venv/bin/python3" in python.detail
    assert python.fix == "make the venv with a Python that everybody can read, such as /usr/bin/python3"
    found = doctor.examine(machine=machine)
    assert {each.because for each in found if each.state is State.UNKNOWN} == {"python-version"}
    assert not [each.name for each in found if each.state is State.NO]
    assert {"loopback", "netns", "veth", "capabilities"} <= {
        each.name for each in found if each.state is State.UNKNOWN
    }
    assert look("netns", machine).sentence.startswith(
        "netns could not be tried: /root/venv/bin/python3: Permission denied. Fix: make the venv"
    )


# -- programs --


@pytest.mark.parametrize(
    ("os_release", "packager"),
    [
        ('ID=debian\nVERSION_ID="12"', Packager.APT),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"', Packager.APT),
        ("ID=fedora", Packager.DNF),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"', Packager.DNF),
        ("ID=arch", Packager.PACMAN),
        ("ID=nixos", Packager.UNKNOWN),
        ("# nothing\nID='bro\"ken", Packager.UNKNOWN),
        ("", Packager.UNKNOWN),
    ],
)
def test_the_distribution_knows_its_packager(os_release: str, packager: Packager) -> None:
    assert Distribution.of(os_release, root=False).packager is packager


@pytest.mark.parametrize(
    ("os_release", "fix"),
    [
        ("ID=debian", "sudo apt-get install sip-tester"),
        ("ID=fedora", "sudo dnf install sipp"),
        ("ID=arch", "install sipp, and have it on PATH"),
        ("ID=nixos", "install sipp, and have it on PATH"),
    ],
)
def test_a_program_is_installed_by_the_name_of_its_package(os_release: str, fix: str) -> None:
    machine = Imagined(programs=False, files={"/etc/os-release": os_release})
    assert look("sipp", machine).fix == fix
    assert doctor.find_program("sipp", machine=machine).fix == fix


def test_a_program_that_path_lacks_is_found_all_the_same() -> None:
    finding = look("sshd", Imagined(programs=False))
    assert finding.sentence == ('no sshd: /usr/sbin/sshd is not on PATH. Fix: export PATH="$PATH:/usr/sbin"')


def test_any_program_can_be_asked_for() -> None:
    assert doctor.find_program("true", machine=Imagined()).state is State.YES
    finding = doctor.find_program("asterisk", machine=Imagined(programs=False))
    assert finding.sentence == "no asterisk: not installed. Fix: install asterisk, and have it on PATH"
    assert doctor.find_program("sim", machine=Imagined(programs=False)).lack == "no sim"


def test_every_program_has_a_package_or_words() -> None:
    assert [program.name for program in PROGRAMS if Packager.APT not in program.packages] == []


# -- names --


def test_only_what_was_asked_for_is_tried() -> None:
    machine = Imagined()
    assert doctor.missing("curl", "pyroute2", machine=machine) == []
    assert machine.asked == []
    doctor.missing("veth", machine=machine)
    assert machine.asked == ["veth", "network-namespace", "user-namespace"]


def test_a_group_stands_for_its_members() -> None:
    names = [finding.name for finding in doctor.examine(["fabrics", "netns", "veth"], machine=Imagined())]
    assert names == ["sim", "loopback", "netns", "veth"]


def test_a_name_that_nobody_knows_is_refused() -> None:
    with pytest.raises(doctor.UnknownName, match=r"bridges: did you mean bridge\?"):
        doctor.examine(["bridges"], machine=Imagined())
    assert set(INSIDE) < set(doctor.NAMES) and not set(Group) & set(doctor.NAMES)
