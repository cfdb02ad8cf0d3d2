"""What is shown of the doctor's findings: for people, for pipes, for programs."""

from __future__ import annotations

import io
import json

import jsonschema
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from scenarios import doctor
from scenarios.cli import poplab
from scenarios.doctor import Attempt, State
from scenarios.live import findings
from tests.scenarios.doctor.machines import Imagined, bare, ubuntu

SCHEMA = {
    "type": "object",
    "required": ["version", "findings"],
    "additionalProperties": False,
    "properties": {
        "version": {"const": 1},
        "findings": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": [
                    *("name", "group", "state", "there", "detail", "needed_by", "fix", "because"),
                    *("lack", "sentence"),
                ],
                "properties": {
                    "name": {"enum": [*doctor.NAMES]},
                    "group": {"enum": [*doctor.Group]},
                    "state": {"enum": [*State]},
                    "there": {"type": "boolean"},
                    "detail": {"type": "string", "minLength": 1},
                    "needed_by": {"type": "string"},
                    "fix": {"type": "string"},
                    "because": {"enum": ["", *doctor.NAMES]},
                    "lack": {"type": "string", "minLength": 1},
                    "sentence": {"type": "string", "minLength": 1},
                },
            },
        },
    },
}


def shown(machine: doctor.Machine, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(findings.table(doctor.examine(machine=machine), width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(poplab, ["doctor", *arguments])


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@pytest.mark.parametrize("machine", [Imagined(), bare(), ubuntu(), Imagined(startable=False)])
def test_the_table_fits_and_says_its_states_in_words(machine: Imagined, width: int) -> None:
    text = shown(machine, width)
    assert max(map(len, text.splitlines())) <= width
    for finding in doctor.examine(machine=machine):
        assert any(finding.name in line and f" {finding.state}" in line for line in text.splitlines())


def test_what_needs_a_thing_has_room_beside_it() -> None:
    too_long = [f for f in doctor.examine(machine=bare()) if len(f.needed_by) > findings.NEED]
    assert too_long == []


def test_remedies_stand_where_something_is_missing() -> None:
    assert "fix:" not in shown(Imagined(), 100)
    assert "sudo apt-get install kamailio" in shown(bare(), 80)
    assert "fix: sudo apt-get install kamailio" in shown(bare(), 120)


def test_only_what_is_needed_is_alarming() -> None:
    signs = {finding.name: findings.sign(finding)[0] for finding in doctor.examine(machine=bare())}
    assert [signs[name] for name in ("python-version", "veth", "netem", "sipp", "open-files")] == list(
        "✓✗––!"
    )


def test_a_pipe_gets_one_line_for_each() -> None:
    found = doctor.examine(machine=bare())
    lines = list(findings.lines(found))
    assert len(lines) == len(doctor.NAMES) and all(line.isascii() for line in lines)
    assert lines[2].split()[:3] == ["fabrics", "no", "netns"]


def test_json_has_the_shape_that_is_promised() -> None:
    for machine in (Imagined(), bare()):
        jsonschema.validate(json.loads(findings.as_json(doctor.examine(machine=machine))), SCHEMA)


def test_the_last_words_are_about_fabrics_and_what_to_type() -> None:
    full = doctor.examine(machine=Imagined())
    assert findings.in_words(full) == ["sim, loopback and netns run here."]
    assert findings.next_command(full, "poplab run x.yaml") == "poplab run x.yaml"
    refused = doctor.examine(machine=ubuntu())
    first, second = findings.in_words(refused)
    assert first == "sim and loopback run here."
    assert second.startswith("netns does not: no network namespace can be made: write to /proc/self/uid_map")
    assert findings.next_command(refused, "") == (
        "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    )
    assert findings.in_words(doctor.examine(machine=bare()))[0] == "No fabric runs here."


def test_what_could_not_be_tried_is_not_said_to_be_missing() -> None:
    found = doctor.examine(machine=Imagined(startable=False))
    assert findings.in_words(found) == [
        "sim runs here.",
        "loopback and netns could not be tried: /root/venv/bin/python3: Permission denied.",
    ]
    assert findings.next_command(found, "").startswith("make the venv with a Python that everybody can read")
    remedies = [line for line in findings.lines(found) if "make the venv" in line]
    assert len(remedies) == 3  # of both fabrics, and of Python: the others point there


@pytest.mark.parametrize(
    ("names", "code"), [(["kernel"], 0), (["kernel", "vrf"], 3), (["vrf"], 3), (["fabrics"], 0)]
)
def test_what_nothing_needs_counts_only_if_it_is_asked_for(
    names: list[str], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = doctor.examine(names, machine=Imagined(attempts={"vrf": Attempt("no", "not supported")}))
    monkeypatch.setattr(doctor, "examine", lambda _: found)
    assert invoke(*names).exit_code == code


def test_the_command_is_content_where_sim_and_loopback_run() -> None:
    result = invoke()
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1].startswith("next: ")


def test_a_name_is_the_question_and_the_exit_code_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert invoke("sim", "python-version").exit_code == 0
    monkeypatch.setenv("PATH", "/nonexistent")
    result = invoke("sim", "kamailio")
    assert (result.exit_code, len(result.output.splitlines())) == (3, 2)
    assert invoke("nonsense").exit_code == 2


def test_the_command_prints_json_and_nothing_else() -> None:
    result = invoke("fabrics", "--json")
    document = json.loads(result.output)
    jsonschema.validate(document, SCHEMA)
    assert [finding["name"] for finding in document["findings"]] == ["sim", "loopback", "netns"]


def test_what_is_known_is_wrapped_between_names() -> None:
    lines = CliRunner().invoke(poplab, ["doctor", "netnss"]).output.splitlines()
    assert max(map(len, lines)) <= 100
    names = " ".join(lines[1:]).replace("known:", "").replace(",", " ").split()
    assert set(doctor.NAMES) <= set(names)
