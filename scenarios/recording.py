"""The files that one run writes while it goes on: trace.msgpack and capture.pcapng."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Self

from scenarios.schema import Script
from scenarios.trace import EDGE, Capture, OutputFile, Recorder, StreamWriter, pcapng

TRACE, CAPTURE = "trace.msgpack", "capture.pcapng"
TRACE_MODE = 0o644


class Recording:
    """What is wanted of `script`, in `folder`; nothing without one. A trace goes to `twin` in any case.

    `recorder` is None if nothing is wanted.
    """

    def __init__(
        self,
        script: Script,
        folder: Path | None,
        *,
        fabric: str,
        seed: int,
        trace: bool = False,
        twin: Path | None = None,
    ) -> None:
        outputs = script.scenario.outputs
        self.capture: Capture | None = None
        about = {
            "poplab": version("poplab"),
            "file": script.file,
            "cell": {name: str(value) for name, value in dict(script.cell).items()},
            "fabric": fabric,
            "seed": seed,
        }
        wanted = folder if trace or "trace" in outputs.report else None
        self.streams = [
            StreamWriter(OutputFile(place, TRACE, mode=TRACE_MODE), about)
            for place in (wanted, twin)
            if place is not None
        ]
        if folder is not None and outputs.captures is not None:
            cast = script.cast
            names = cast.vantage_points(outputs.captures.at)
            self.capture = Capture(
                OutputFile(folder, CAPTURE, mode=pcapng.MODE),
                edges=script.scenario.vnets if EDGE in names else (),
                connectors={
                    name: script.scenario.topology.sites[site].vnet
                    for name in names
                    if (site := cast.tunnels.get(name)) is not None
                },
                hosts={name: cast.actors[name].vnet for name in names if name in cast.actors},
                program=f"poplab {about['poplab']}",
                most_packets=outputs.captures.packets,
            )
        watched = self.streams or self.capture is not None
        self.recorder = Recorder(self.streams, self.capture) if watched else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for stream in self.streams:
            stream.close()
        if self.capture is not None:
            self.capture.close()

    @property
    def complaints(self) -> list[str]:
        """What is missing in the files, and why; after ``close``."""
        said = [f"the trace is not complete: {stream.why}" for stream in self.streams if stream.why]
        if self.capture is not None and self.capture.why:
            said.append(
                f"the capture is not complete: {self.capture.why}; {self.capture.left_out:,} packets are left out"
            )
        if self.capture is not None and self.capture.unseen:
            said.append(
                f"the capture is not complete: the kernel had no room for {self.capture.unseen:,} packets"
            )
        return said
