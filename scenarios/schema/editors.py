"""The JSON Schema of scenario files as editors take it: draft-07, with templates and the values of a matrix."""

from __future__ import annotations

from typing import Any

IDENTITY = "https://poplab.invalid/schemas/scenario.v1.json"
MATRIX = {"type": "string", "pattern": r"\$\{\s*matrix\.[A-Za-z0-9_-]+\s*\}"}
"""Stands for any value."""

TEMPLATED = ("Host", "Client", "Site", "Connector", "Step")

_TEXTS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}


def draft_07(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` is what msgspec makes of the language: draft 2020-12, one definition for each part."""
    definitions: dict[str, Any] = schema["$defs"]
    for name in TEMPLATED:
        part = definitions[name]
        about = "templates of this file whose keys hold where none is given"
        part["properties"]["use"] = {**_TEXTS, "description": about}
        required = part.pop("required", None)  # a template may have it
        if required:
            part["anyOf"] = [{"required": required}, {"required": ["use"]}]
    whole = definitions.pop("Scenario")
    required = whole.pop("required")
    whole["anyOf"] = [{"required": required}, {"required": ["include"]}]
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": IDENTITY,
        "title": "poplab scenario",
        **{key: value for key, value in _translated(whole).items() if key != "title"},
        "definitions": {name: _translated(part) for name, part in sorted(definitions.items())},
    }


def _translated(schema: Any, *, value: bool = False) -> Any:
    """Draft 2020-12 says `$defs`, draft-07 `definitions`; a `$ref` there has no neighbours.

    `value`: this describes a value, which the matrix may give.
    """
    if isinstance(schema, list):
        return [_translated(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    translated: dict[str, Any] = {}
    for key, part in schema.items():
        if key == "properties":
            translated[key] = {name: _translated(inner, value=True) for name, inner in part.items()}
        elif key in ("items", "additionalProperties"):
            translated[key] = _translated(part, value=True)
        elif key in ("default", "enum", "const"):
            translated[key] = part
        elif key == "$ref":
            translated[key] = part.replace("#/$defs/", "#/definitions/")
        else:
            translated[key] = _translated(part)
    about: dict[str, Any] = {
        key: translated.pop(key) for key in ("description", "default") if key in translated
    }
    if "$ref" not in translated:
        translated.update(about)
    elif about:
        translated = {"allOf": [translated], **about}
    if value and _is_plain(translated) and not _takes_text(translated):
        return _or_matrix(translated)
    return translated


def _is_plain(schema: dict[str, Any]) -> bool:
    """Whether it is about a single value: the matrix holds nothing else."""
    if "anyOf" in schema:
        return any(_is_plain(each) for each in schema["anyOf"])
    return (
        "enum" in schema or "const" in schema or schema.get("type") not in (None, "object", "array", "null")
    )


def _takes_text(schema: dict[str, Any]) -> bool:
    """Whether any text will do, or anything at all."""
    if schema.get("type") == "string":
        return "pattern" not in schema
    return not schema or any(_takes_text(each) for each in schema.get("anyOf", ()))


def _or_matrix(schema: dict[str, Any]) -> dict[str, Any]:
    about: dict[str, Any] = {key: schema.pop(key) for key in ("description", "default") if key in schema}
    several = schema["anyOf"] if list(schema) == ["anyOf"] else [schema]
    return {"anyOf": [*several, MATRIX], **about}
