"""What the documentation says is run."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import connectors.profile
from connectors.profile.yaml_file import ProfileFile, WireGuardFile
from edge import enrol
from edge.config import MasqueFile, load
from edge.document import Document
from edge.metrics import Snapshot, families
from edge.proto.forwarding import Action, Flow, Party, Verdict

ROOT = Path(__file__).parents[1]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_the_readmes_commands_work_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "library").symlink_to(ROOT / "scenarios" / "library")
    commands = [line[2:] for block in blocks("README.md", "console") for line in block.splitlines()]
    assert len(commands) >= 8
    scenarios = [c for c in commands if c.startswith("poplab run")]
    with ThreadPoolExecutor(
        1
    ) as pool:  # the others go on meanwhile; calls beside calls would disturb their sound
        running = pool.map(lambda c: (c, run(c, tmp_path)), scenarios)
        done = [(c, run(c, tmp_path)) for c in commands if c not in scenarios]
        done += running
    assert [(c, r.stdout + r.stderr) for c, r in done if r.returncode] == []
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "report.html",
        "junit.xml",
        "results.json",
        "events.jsonl",
    }
    assert "PrivateKey" in (tmp_path / "alice.conf").read_text()


def test_the_example_scenario_passes(tmp_path: Path) -> None:
    (tmp_path / "first.yaml").write_text(blocks("docs/scenarios.md", "yaml")[0])
    result = run("poplab run first.yaml", tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_readmes_policy_fits_into_the_readmes_pop(tmp_path: Path) -> None:
    commands = [line[2:] for block in blocks("README.md", "console") for line in block.splitlines()]
    for command in [c for c in commands if c.startswith("poplab edge")]:
        assert run(command, tmp_path).returncode == 0
    config = tmp_path / "lab" / "edge.yaml"
    (vnets,) = blocks("README.md", "yaml")
    text, replaced = re.subn(
        r"^vnets:.*?\n\n", lambda _: vnets + "\n", config.read_text(), count=1, flags=re.DOTALL | re.MULTILINE
    )
    assert replaced
    config.write_text(text)
    result = run("poplab edge check --config lab/edge.yaml", tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr + text
    for command in ("add-client carol --tag guest", "add-connector branch --route 10.0.60.0/24"):
        assert run(f"poplab edge --config lab/edge.yaml {command}", tmp_path).returncode == 0


def test_the_example_hook_does_what_it_says() -> None:
    names: dict[str, object] = {}
    exec(blocks("docs/edge.md", "python")[0], names)  # our own page
    hook = names["no_telnet"]
    for port, verdict in ((23, Verdict(Action.REJECT)), (22, None)):
        flow = Flow("acme", 6, bytes(4), bytes(4), 1, port, -1, -1, Party("a"), Party("b"))
        assert hook(flow) == verdict  # type: ignore[operator]


def test_the_commands_about_masque_work_in_their_order(tmp_path: Path) -> None:
    commands = [line[2:] for block in blocks("docs/edge.md", "console") for line in block.splitlines()]
    done = [(command, run(command, tmp_path)) for command in commands]
    assert [(c, r.stdout + r.stderr) for c, r in done if r.returncode] == []
    assert "good: 1 vnet, 5 tunnels, 1 route" in done[-1][1].stdout
    assert {p.name for p in tmp_path.iterdir()} == {
        "lab", "alice.yaml", "bob.json", "carol.json", "dave.yaml", "hq.yaml",
    }  # fmt: skip


def test_the_example_of_a_tunnel_by_both_fits_into_a_new_pop(tmp_path: Path) -> None:
    config = enrol.init(tmp_path / "lab")
    (example,) = [block for block in blocks("docs/edge.md", "yaml") if "tunnel: auto" in block]
    (tmp_path / "lab" / "tunnels.d" / "dora.yaml").write_text(example)
    dora = load(config).tunnels["dora"]
    assert dora.by_masque and dora.by_wireguard


def test_the_example_of_a_far_ends_file_is_one(tmp_path: Path) -> None:
    (example,) = blocks("docs/connector.md", "yaml")
    key, authority = base64.b64encode(bytes(32)).decode(), example[example.index("certificate_authority") :]
    whole = example.replace(authority[: authority.index("wireguard:")], "")
    for name in ("public_key", "private_key", "preshared_key"):
        whole = whole.replace(f'{name}: "..."', f'{name}: "{key}"')
    (tmp_path / "dora.yaml").write_text(whole)
    dora = connectors.profile.read(tmp_path / "dora.yaml")
    assert dora.tunnel == "auto" and dora.masque is not None and dora.wireguard is not None
    fields = {*ProfileFile.__struct_fields__, *WireGuardFile.__struct_fields__}
    assert all(f"{field}:" in example for field in fields - {"serves"}) and "`serves: " in example


def test_every_setting_of_masque_is_in_the_page() -> None:
    page = (ROOT / "docs" / "edge.md").read_text()
    assert all(f"`{name}`" in page for name in MasqueFile.__struct_fields__)


@pytest.mark.parametrize("family", [f.name for f in families(Snapshot())])
def test_every_metric_is_in_the_page(family: str) -> None:
    assert f"`{family}`" in (ROOT / "docs" / "edge.md").read_text()


def test_the_commands_about_traces_work_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "library").symlink_to(ROOT / "scenarios" / "library")
    commands = [line[2:] for block in blocks("docs/trace.md", "console") for line in block.splitlines()]
    said = ""
    for command in commands:
        result = run(command, tmp_path)
        assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
        said += result.stdout
    assert "policy_blocked rule" in said
    assert "sequenceDiagram" in said
    assert "deterministic: " in said


def test_the_python_of_the_page_about_ci_works(tmp_path: Path) -> None:
    (tmp_path / "test_page.py").write_text(blocks("docs/ci.md", "python")[0])
    result = run("python -m pytest -q test_page.py", tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_workflow_of_the_page_about_ci_is_one() -> None:
    workflow = Document(blocks("docs/ci.md", "yaml")[0], "ci.md").data
    steps = workflow["jobs"]["scenarios"]["steps"]
    assert all(("run" in step) is not ("uses" in step) for step in steps)
    assert [step["run"].split()[0] for step in steps if "run" in step] == ["pip", "poplab", "pytest"]


def test_the_page_about_interoperability_names_the_tests_that_there_are() -> None:
    page = (ROOT / "docs" / "interop.md").read_text()
    there = {path.name for path in (ROOT / "tests" / "interop").glob("test_*.py")}
    assert set(re.findall(r"T/(test_\w+\.py)", page)) == there - {"test_wgquick.py"}
    for name, word in re.findall(r"T/(test_\w+\.py) -k (\w+)`", page):
        assert re.search(rf"def test_\w*{word}", (ROOT / "tests" / "interop" / name).read_text()), (
            name,
            word,
        )
