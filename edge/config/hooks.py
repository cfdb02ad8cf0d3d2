"""Hooks by name: ``package.module:callable``, or an entry point of the group ``poplab.hooks``."""

from __future__ import annotations

import importlib
import inspect
from importlib.metadata import entry_points
from typing import cast

from edge.document import did_you_mean
from edge.proto.forwarding.policy import Hook

GROUP = "poplab.hooks"


class BadHook(Exception):
    """Why a hook cannot be had, and the fix."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix


def find_hook(name: str) -> Hook:
    """The callable called `name`. BadHook whatever its import does."""
    module_name, colon, attribute = name.partition(":")
    try:
        found: object
        if colon:
            found = importlib.import_module(module_name)
            for part in attribute.split("."):
                found = getattr(found, part)
        else:
            found = _entry_point(name)
    except BadHook:
        raise
    except AttributeError as error:
        raise BadHook(f"hook {name!r}: {error}", "name a callable of that module") from error
    except (Exception, SystemExit) as error:  # a module that exits on import does not end the PoP
        raise BadHook(
            f"hook {name!r}: {type(error).__name__}: {error}", "is it installed, or on PYTHONPATH?"
        ) from error
    if not callable(found):
        raise BadHook(f"hook {name!r} is not callable", "name a function that takes a Flow")
    if inspect.iscoroutinefunction(found) or inspect.iscoroutinefunction(type(found).__call__):
        raise BadHook(f"hook {name!r} is async", "write a plain function: nothing can wait for it")
    return cast("Hook", found)


def _entry_point(name: str) -> object:
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        raise BadHook(
            f"no hook is installed under the name {name!r}", did_you_mean(name, points) or "write module:name"
        )
    return points[name].load()
