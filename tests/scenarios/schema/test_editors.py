"""The schema that editors complete and check with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from jsonschema import Draft7Validator

from edge.document import Document
from edge.errors import ConfigError
from scenarios.cli import poplab
from scenarios.schema import json_schema

ROOT = Path(__file__).parents[3]
LIBRARY = sorted((ROOT / "scenarios/library").glob("*.yaml"))
BAD = ROOT / "tests/scenarios/bad"

WRONG_BY_SHAPE = (
    "agents", "captures", "deploy-form",
    "differences", "durations", "empty", "empty-values", "exec", "faults", "links", "missing-keys",
    "not-a-mapping", "policy",
    "rates-of-events", "template-circle", "unknown-key", "wrong-types", "wrong-values", "yaml-booleans",
)  # fmt: skip


@pytest.fixture(scope="module")
def validator() -> Draft7Validator:
    return Draft7Validator(json_schema())


def mistakes(validator: Draft7Validator, data: Any) -> list[str]:
    return [f"{list(error.path)}: {error.message}" for error in validator.iter_errors(data)]


def test_the_command_prints_it_and_the_docs_have_it() -> None:
    """Made by: poplab schema > docs/scenario.v1.json"""
    printed = CliRunner().invoke(poplab, ["schema"]).output
    assert (ROOT / "docs/scenario.v1.json").read_text() == printed, "poplab schema > docs/scenario.v1.json"


def test_it_is_draft_07() -> None:
    schema = json_schema()
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    Draft7Validator.check_schema(schema)
    text = json.dumps(schema)
    assert "$defs" not in text and "prefixItems" not in text
    references = {part.split('"')[0] for part in text.split('"$ref": "')[1:]}
    assert references <= {f"#/definitions/{name}" for name in schema["definitions"]}


def test_it_knows_every_verb() -> None:
    step = json_schema()["definitions"]["Step"]
    assert {"wait", "sip.register", "sip.call", "ping", "fault.kill", "use"} <= set(step["properties"])
    assert step["additionalProperties"] is False


@pytest.mark.parametrize("file", LIBRARY, ids=lambda file: file.stem)
def test_the_library_is_good(file: Path, validator: Draft7Validator) -> None:
    assert mistakes(validator, Document.read(file).data) == []


@pytest.mark.parametrize("name", WRONG_BY_SHAPE)
def test_what_is_wrong_by_shape_is_refused(name: str, validator: Draft7Validator) -> None:
    assert mistakes(validator, Document.read(BAD / f"{name}.yaml").data)


def test_what_is_good_for_the_loader_is_not_refused(validator: Draft7Validator) -> None:
    """Of the bad files, those that are wrong only in what they mean."""
    refused = set()
    for file in BAD.glob("*.yaml"):
        try:
            data = Document.read(file).data
        except ConfigError:
            continue
        if mistakes(validator, data):
            refused.add(file.stem)
    assert refused == {*WRONG_BY_SHAPE, "matrix-unknown", "template-unknown"}


def test_templates_includes_and_the_matrix_are_let_in(validator: Draft7Validator) -> None:
    good = {
        "version": 1,
        "name": "all",
        "templates": {"device": {"vnet": "acme"}},
        "matrix": {"codec": ["PCMU", "PCMA"], "count": [1, 2], "exclude": [{"codec": "PCMA"}]},
        "vnets": {"acme": {}},
        "topology": {
            "clients": {"alice": {"use": "device", "app": {"sip.phone": {"codec": "${matrix.codec}"}}}}
        },
        "steps": [{"ping": {"from": "alice", "to": "alice", "count": "${matrix.count}"}}],
    }
    assert mistakes(validator, good) == []
    assert mistakes(validator, {"include": "whole.yaml", "name": "more", "version": 1}) == []
    assert mistakes(validator, {"name": "more", "version": 1})
    bare: dict[str, Any] = {**good, "topology": {"clients": {"alice": {}}}}
    assert mistakes(validator, bare)
