"""Hooks: callables of the operator that are asked about a flow before the rules.

A hook runs inside the process and cannot be stopped from outside: its budget is measured when it returns. If
it took longer, raised or gave no real answer, the flow is denied: a broken hook never opens what it guards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import iscoroutinefunction
from typing import TypeAlias

from edge.proto.forwarding.verdict import Action, Flow, Verdict, decided
from edge.proto.types import DropReason

Hook: TypeAlias = Callable[[Flow], Verdict | None]
"""Decides a flow, or None to leave it to the next hook and then to the rules."""

DEFAULT_BUDGET = 0.005
_LONGEST_MISTAKE = 200


class HookChain:
    """Hooks in order; the first with an opinion decides. `budget`, in seconds of `timer`, is for each."""

    __slots__ = ("_budget", "_hooks", "_timer", "mistakes")

    def __init__(self, hooks: Iterable[Hook], budget: float, timer: Callable[[], float]) -> None:
        self._hooks = tuple(_named(hooks))
        for name, hook in self._hooks:
            if iscoroutinefunction(hook) or iscoroutinefunction(type(hook).__call__):
                raise ValueError(f"{name} is async: nothing can wait for it here")
        self._budget = budget
        self._timer = timer
        self.mistakes: dict[str, str] = {}
        """The last one of each hook that made any, for people."""

    def ask(self, flow: Flow) -> Verdict | None:
        """Never raises, whatever a hook does."""
        timer = self._timer
        for name, hook in self._hooks:
            started = timer()
            try:
                answer = hook(flow)
                if answer is not None:
                    _check(answer)
            except KeyboardInterrupt:  # from the person at the terminal, not from the hook
                raise
            except BaseException as error:  # sys.exit() in a hook does not end the PoP either
                self.mistakes[name] = _describe(error)
                return Verdict(Action.BLOCK, name, DropReason.HOOK_FAILED)
            took = timer() - started
            if took > self._budget:
                self.mistakes[name] = f"took {took:.6f} s, may take {self._budget:.6f} s"
                return Verdict(Action.BLOCK, name, DropReason.HOOK_OVERRUN)
            if answer is not None:
                return decided(answer.action, name)
        return None


def _check(answer: object) -> None:
    if not isinstance(answer, Verdict):
        close = getattr(answer, "close", None)
        if close is not None:
            close()  # what an async function returns complains if it is dropped unawaited
        raise TypeError(f"returned {type(answer).__name__}, not Verdict or None")
    if not isinstance(answer.action, Action) or answer.action is Action.LOG:
        raise ValueError(f"decided {answer.action!r}, not allow, block or reject")


def _named(hooks: Iterable[Hook]) -> Iterable[tuple[str, Hook]]:
    """``hook:<name of the callable>``; names that come again are numbered."""
    seen: dict[str, int] = {}
    for hook in hooks:
        name = f"hook:{getattr(hook, '__name__', type(hook).__name__)}"
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name}#{seen[name]}"), hook


def _describe(error: BaseException) -> str:
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:  # an exception class of the hook's own may be broken as well
        text = type(error).__name__
    return text[:_LONGEST_MISTAKE]
