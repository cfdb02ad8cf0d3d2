from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.config import EdgeFile, load, public_key
from edge.config.keys import BadKeyFile, read_key
from edge.document import schema
from edge.errors import ConfigError

PRIVATE = bytes([7] * 32)
SECRET = base64.b64encode(bytes([0xFB, 0xEF, 5] * 10 + [6, 7])).decode()  # with + and /
GOOD = f"""\
version: 1
name: lab
listen: {{wireguard: "127.0.0.1:51820", metrics: null}}
private_key_file: pop.key
vnets:
  acme: {{pool: 100.96.0.0/24}}
tunnels:
  alice:
    kind: client
    vnet: acme
    public_key: {base64.b64encode(public_key(bytes([1] * 32))).decode()}
    addresses: [100.96.0.12]
"""
Write = Callable[[str], Path]


def write_key(path: Path) -> None:
    path.write_text(base64.b64encode(PRIVATE).decode() + "\n")
    path.chmod(0o600)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        write_key(tmp_path / "pop.key")
        path = tmp_path / "edge.yaml"
        path.write_text(text)
        return path

    return write


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path)
    (problem,) = caught.value.problems
    assert problem.fix
    return str(problem)


def test_null_turns_metrics_off(write: Write) -> None:
    config = load(write(GOOD))
    assert config.metrics is None
    alice = config.tunnels["alice"]
    assert (alice.preshared_key, alice.keepalive, alice.endpoint) == (None, None, None)
    assert (alice.site, alice.user) == ("", "")
    assert (config.vnets["acme"].pool6, config.state, config.endpoint) == (None, None, "")


@pytest.mark.parametrize("null", ["", "null", "~"])
@pytest.mark.parametrize(
    "key",
    [
        "preshared_key_file",
        "keepalive",
        "site",
        "user",
        "endpoint",
        "routes",
        "groups",
        "tags",
        "default_route",
    ],
)
def test_a_key_of_a_tunnel_without_a_value_does_not_mean_none(write: Write, key: str, null: str) -> None:
    assert "no value" in refusal(write(f"{GOOD}    {key}: {null}\n"))


@pytest.mark.parametrize(
    "key", ["pool6", "mtu", "default", "policy", "hooks", "hook_budget", "nested_routes"]
)
def test_nor_does_one_of_a_network(write: Write, key: str) -> None:
    assert "no value" in refusal(write(GOOD.replace("0/24}", f"0/24, {key}: }}")))


@pytest.mark.parametrize("key", ["endpoint", "state"])
def test_nor_does_one_of_the_whole(write: Write, key: str) -> None:
    assert "no value" in refusal(write(f"{key}:\n{GOOD}"))


@pytest.mark.parametrize(
    "mangled",
    [
        SECRET,
        SECRET[:-1],  # without its =
        SECRET[:-3],  # cut short
        f" {SECRET}",
        f"{SECRET} ",
        f"{SECRET}\n",
        f"{SECRET[:20]}\n{SECRET[20:]}",
        f"{SECRET[:20]} {SECRET[20:-1]}",
        f"PrivateKey = {SECRET}",
        f"pop.key {SECRET}",
        f"keys.d/{SECRET}",
        base64.b64decode(SECRET).hex(),
    ],
)
@pytest.mark.parametrize("where", ["private_key_file", "preshared_key_file"])
def test_a_key_where_a_file_is_expected_is_never_repeated(write: Write, where: str, mangled: str) -> None:
    line = f"{where}: {json.dumps(mangled)}\n"
    if where == "private_key_file":
        said = refusal(write(GOOD.replace("private_key_file: pop.key\n", line)))
    else:
        said = refusal(write(f"{GOOD}    {line}"))
    assert "not the name of a file" in said
    for start in range(len(SECRET) - 12):
        assert SECRET[start : start + 12] not in said
    assert mangled.strip() not in said


def test_a_key_that_this_user_may_not_read(tmp_path: Path) -> None:
    path = tmp_path / "pop.key"
    write_key(path)
    path.chmod(0)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)
        with pytest.raises(BadKeyFile) as caught:
            read_key(path)
        assert f"not readable for this user (uid {os.geteuid()})" in caught.value.message
        assert "genkey" not in caught.value.fix and f"chown {os.geteuid()} {path}" in caught.value.fix
    finally:
        if root:
            os.seteuid(0)


def test_a_long_path_is_no_key(write: Write, tmp_path: Path) -> None:
    folder = tmp_path / "production" / "europe" / "west" / "keysofthepop"
    folder.mkdir(parents=True)
    write_key(folder / "privatekey")
    name = (folder / "privatekey").relative_to(tmp_path)
    assert len(str(name)) >= 40
    assert load(write(GOOD.replace("pop.key", str(name)))).private_key == PRIVATE


@pytest.mark.parametrize("name", ["pop\\0.key", "\\0"])
def test_a_name_that_no_file_can_have(write: Write, name: str) -> None:
    assert "not the name of a file" in refusal(write(GOOD.replace("pop.key", f'"{name}"')))


def test_the_form_of_the_file_has_a_json_schema() -> None:
    forms = json.loads(json.dumps(schema(EdgeFile)))["$defs"]
    for form in forms.values():
        for field in form.get("properties", {}).values():
            # A default that is shown is one that may be written.
            if field.get("type") == "string" and "default" in field:
                assert isinstance(field["default"], str)
    assert forms["VnetFile"]["properties"]["pool"]["pattern"]
    assert "default" not in forms["VnetFile"]["properties"]["pool"]
    assert "private_key_file" in forms["EdgeFile"]["required"]
    assert {"type": "null"} in forms["ListenFile"]["properties"]["metrics"]["anyOf"]
    assert "null" not in str(forms["TunnelFile"])


def test_a_hook_module_that_exits_is_a_mistake_like_any_other(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C8: a reload must survive whatever a module does on import."""
    (tmp_path / "quitting_hooks.py").write_text("raise SystemExit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    text = refusal(write(GOOD.replace("0/24}", "0/24, hooks: ['quitting_hooks:x']}")))
    assert "SystemExit" in text


def test_a_folder_of_tunnels_that_cannot_be_read_is_not_an_empty_one(write: Write, tmp_path: Path) -> None:
    """C8: else a reload would cut all of them off."""
    (tmp_path / "tunnels.d").write_text("not a folder; root may read every folder\n")
    assert "tunnels.d" in refusal(write(GOOD))


def test_files_beside_those_of_tunnels_are_left_alone(write: Write, tmp_path: Path) -> None:
    folder = tmp_path / "tunnels.d"
    folder.mkdir()
    for name in (".hidden.yaml", "alice.yaml~", "alice.psk"):
        (folder / name).write_text("]")
    assert set(load(write(GOOD)).tunnels) == {"alice"}


@pytest.mark.parametrize("name", ["''", r'"a\0b"'])
def test_a_state_without_a_name_is_no_state_in_memory(write: Write, name: str) -> None:
    """C9: an empty word must not quietly mean that nothing survives, nor a NUL end in a traceback."""
    assert ":4:8: " in refusal(write(GOOD.replace("private_key_file", f"state: {name}\nprivate_key_file")))


def test_a_number_with_a_point_is_not_a_whole_one(write: Write) -> None:
    assert "1420.0 is not a whole number" in refusal(write(GOOD.replace("0/24}", "0/24, mtu: 1420.0}")))
