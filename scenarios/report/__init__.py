"""What came of a run: the record itself, and the files that other programs read."""

from scenarios.report.events import events_jsonl
from scenarios.report.files import folders, prepare, results_json, write
from scenarios.report.findings import Finding, exceeded, explain, findings
from scenarios.report.groups import Clients, Several, Site, clients, sites
from scenarios.report.html import index_html, report_html
from scenarios.report.junit import junit_xml
from scenarios.report.record import (
    FORMAT,
    AccountRecord,
    CallRecord,
    CheckRecord,
    DirectionRecord,
    FaultRecord,
    InvariantRecord,
    LoadRecord,
    MemberRecord,
    ResultsRecord,
    RunRecord,
    SampleRecord,
    SightingRecord,
    State,
    StepRecord,
    ThresholdRecord,
    VnetRecord,
    WindowRecord,
)
from scenarios.report.summary import figures, step_summary, took

__all__ = [
    "FORMAT",
    "AccountRecord",
    "CallRecord",
    "CheckRecord",
    "Clients",
    "DirectionRecord",
    "FaultRecord",
    "Finding",
    "InvariantRecord",
    "LoadRecord",
    "MemberRecord",
    "ResultsRecord",
    "RunRecord",
    "SampleRecord",
    "Several",
    "SightingRecord",
    "Site",
    "State",
    "StepRecord",
    "ThresholdRecord",
    "VnetRecord",
    "WindowRecord",
    "clients",
    "events_jsonl",
    "exceeded",
    "explain",
    "figures",
    "findings",
    "folders",
    "index_html",
    "junit_xml",
    "prepare",
    "report_html",
    "results_json",
    "sites",
    "step_summary",
    "took",
    "write",
]
