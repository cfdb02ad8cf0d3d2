"""HTML and SVG by construction: text is escaped where it enters, so no name of a stranger can act."""

from __future__ import annotations

import re
from html import escape
from typing import TypeAlias

_NOT_TEXT = re.compile(
    "[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\u202a-\u202e\u2066-\u2069]"
)
_EMPTY = frozenset({"meta", "br", "hr", "col"})


class Markup(str):
    """Text that is markup already; made by `element` and `join` only."""

    __slots__ = ()


Child: TypeAlias = "str | Markup | None"


def text(value: str) -> Markup:
    """`value` as it reads, without control characters and without those that turn the direction of writing."""
    return Markup(escape(_NOT_TEXT.sub("\ufffd", value), quote=True))


def join(*children: Child) -> Markup:
    """One after the other; None is nothing."""
    return Markup(
        "".join(
            child if isinstance(child, Markup) else text(child) for child in children if child is not None
        )
    )


def element(tag: str, *children: Child, **attributes: str | float | None) -> Markup:
    """`<tag attributes>children</tag>`.

    `class_` is written class, `stroke_width` stroke-width; None leaves an attribute out.
    """
    written = "".join(
        f' {_name(name)}="{text(_value(value))}"' for name, value in attributes.items() if value is not None
    )
    if tag in _EMPTY:
        return Markup(f"<{tag}{written}>")
    return Markup(f"<{tag}{written}>{join(*children)}</{tag}>")


def raw_style(css: str) -> Markup:
    """A style sheet of ours."""
    assert "</" not in css
    return Markup(f"<style>{css}</style>")


def document(title: str, css: str, body: Markup) -> bytes:
    """A page that needs nothing but itself: no script, no font, no image from anywhere."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        raw_style(css),
    )
    return f"<!doctype html>\n{element('html', head, element('body', body), lang='en')}\n".encode()


def _name(name: str) -> str:
    if name in ("viewBox", "preserveAspectRatio", "gradientUnits"):
        return name
    return name.rstrip("_").replace("_", "-")


def _value(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.2f}".rstrip("0").rstrip(".")
