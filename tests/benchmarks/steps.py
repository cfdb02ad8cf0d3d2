"""What a voice packet costs in bytecodes and in calls of Python functions: no other load on the machine moves these.

``python -m tests.benchmarks.steps`` runs the world of 40 phones twice, the second time for two seconds more of talk.
The difference, divided by the packets that the PoP forwarded, is printed by function.
"""

from __future__ import annotations

import sys
from collections import Counter
from functools import partial
from types import CodeType, FrameType
from typing import Any

from scenarios.fabric import FABRICS
from scenarios.runner import check, run
from tests.benchmarks.worlds import CALLS

SHOWN = 40  # functions


class Steps:
    """Counts by code object, and the packets that were forwarded meanwhile."""

    def __init__(self, talk: str) -> None:
        self.bytecodes: Counter[CodeType] = Counter()
        self.calls: Counter[CodeType] = Counter()
        (script,) = check(CALLS.replace("hold: 60s", f"hold: {talk}"))
        where = FABRICS["sim"]
        sys.settrace(self._enter)
        try:
            record = where.execute(partial(run, script, where), seed=7)
        finally:
            sys.settrace(None)
        self.packets = sum(account.packets_out for account in record.accounts)

    def _enter(self, frame: FrameType, event: str, argument: object) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        self.calls[frame.f_code] += 1
        return self._step

    def _step(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "opcode":
            self.bytecodes[frame.f_code] += 1
        return self._step


def main() -> None:
    short, long = Steps("1s"), Steps("3s")
    packets = long.packets - short.packets
    bytecodes, calls = long.bytecodes - short.bytecodes, long.calls - short.calls
    print(f"{bytecodes.total() / packets:.0f} bytecodes and {calls.total() / packets:.0f} calls per packet")
    for code, count in bytecodes.most_common(SHOWN):
        place = "/".join(code.co_filename.rsplit("/", 2)[-2:])
        print(f"{count / packets:7.1f} {calls[code] / packets:6.2f}  {place} {code.co_qualname}")


if __name__ == "__main__":
    main()
