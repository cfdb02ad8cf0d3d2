"""What happened in a run, packet by packet: one stream of events, and captures for Wireshark."""

from scenarios.trace.difference import Difference, first_difference
from scenarios.trace.digest import Digest
from scenarios.trace.event import EDGE, Event, Kind
from scenarios.trace.pcapng import Capture
from scenarios.trace.place import OutputFile
from scenarios.trace.recorder import Recorder
from scenarios.trace.stream import StreamWriter, Trace, TraceError

__all__ = [
    "EDGE",
    "Capture",
    "Difference",
    "Digest",
    "Event",
    "Kind",
    "OutputFile",
    "Recorder",
    "StreamWriter",
    "Trace",
    "TraceError",
    "first_difference",
]
