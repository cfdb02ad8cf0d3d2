"""What came of a run: the record itself, and the files that other programs read."""

from scenarios.report.files import explain, junit_xml, results_json, write
from scenarios.report.record import (
    FORMAT,
    AccountRecord,
    CallRecord,
    CheckRecord,
    DirectionRecord,
    InvariantRecord,
    MemberRecord,
    ResultsRecord,
    RunRecord,
    SightingRecord,
    State,
    StepRecord,
    VnetRecord,
)

__all__ = [
    "FORMAT",
    "AccountRecord",
    "CallRecord",
    "CheckRecord",
    "DirectionRecord",
    "InvariantRecord",
    "MemberRecord",
    "ResultsRecord",
    "RunRecord",
    "SightingRecord",
    "State",
    "StepRecord",
    "VnetRecord",
    "explain",
    "junit_xml",
    "results_json",
    "write",
]
