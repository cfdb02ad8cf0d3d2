"""What all parts of the language share."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

Name = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$",
        description="a name",
        extra={"write": "use letters, digits, `.`, `_` and `-`, at most 63, a letter or digit first"},
    ),
]
Identifier = Annotated[
    str,
    msgspec.Meta(
        pattern="^[a-z][a-z0-9_]{0,62}$",
        description="a name that conditions can use",
        extra={"write": "use small letters, digits and `_`, at most 63, a letter first"},
    ),
]
Actor = Annotated[
    str, msgspec.Meta(description="a client, such as alice, or a host of a site, such as hq/pbx")
]
Actors = Annotated[
    tuple[Actor, ...] | Actor,
    msgspec.Meta(description="one or several clients or hosts; the name of a counted group means all of it"),
]
Condition = Annotated[str, msgspec.Meta(description="such as: setup_time < 2s and status == 200")]
UrlPath = Annotated[
    str,
    msgspec.Meta(
        pattern="^/[!-~]*$", max_length=2000, description="a path from / on, such as /deploy or /search?q=1"
    ),
]
DomainName = Annotated[
    str,
    msgspec.Meta(pattern=r"^([A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?$", max_length=253),
]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Copies = Annotated[
    int, msgspec.Meta(ge=1, le=100_000, description="that many of it, called NAME-0, NAME-1, ...")
]


def written(value: object) -> Any:
    """A default of a type that JSON Schema does not know; msgspec would try to write it there."""
    return msgspec.field(default_factory=lambda: value)


def many(names: tuple[str, ...] | str | None) -> tuple[str, ...]:
    """A word or a list of words, as a list."""
    if names is None:
        return ()
    return (names,) if isinstance(names, str) else names


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mapping with fixed keys."""
