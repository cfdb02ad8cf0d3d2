"""``probe.mtu``: packets of many sizes, and what became of each."""

from __future__ import annotations

from ipaddress import ip_address
from itertools import product
from typing import ClassVar

from scenarios.checks import Plain
from scenarios.proto.mtu_probe import TCP_HEADERS, Fate, MtuProbe
from scenarios.runner.stage import Quiet, Stage
from scenarios.schema.verbs import ProbeMtu


class MeasuringMtu(Quiet):
    FIELDS: ClassVar[tuple[str, ...]] = (
        "mtu",
        "mss",
        "told",
        "told_by",
        "lost",
        "agree",
        "whole",
        "cut",
        "df",
        "free",
    )
    DEFAULT: ClassVar[tuple[str, ...]] = ("lost == []",)

    def __init__(self, stage: Stage, verb: ProbeMtu) -> None:
        self._stage = stage
        self._verb = verb
        self._sender = stage.member(verb.sender)
        target = stage.member(verb.to)
        version = 4 if len(self._sender.host.packed) == 4 else 6
        self._headers = TCP_HEADERS[version]
        keeps = (True, False) if version == 4 else (True,)
        kinds = product(verb.protocols, sorted(set(verb.sizes)), keeps)
        self._probes = [
            MtuProbe(
                self._sender.host,
                target.host,
                protocol,
                size,
                dont_fragment=keep,
                port=verb.port,
                number=number,
            )
            for number, (protocol, size, keep) in enumerate(kinds)
        ]
        self._done: list[MtuProbe] = []

    async def run(self) -> None:
        for probe in self._probes:
            probe.send(self._stage.now())
            try:
                self._stage.wake(self._sender)
                await self._stage.until(probe.look, at_most=self._verb.patience)
            finally:
                probe.close()
            self._done.append(probe)

    def results(self) -> dict[str, Plain]:
        kept = [probe for probe in self._done if probe.dont_fragment]
        told = sorted({probe.mtu for probe in kept if probe.mtu is not None})
        fits = [self._fits(protocol) for protocol in self._verb.protocols]
        mtu = min(fits)
        return {
            "mtu": mtu,  # the largest size that arrived as it was sent, whatever the protocol
            "mss": max(mtu - self._headers, 0),
            "told": told[0] if told else None,
            "told_by": sorted({probe.told_by for probe in kept if probe.told_by}),
            "lost": sorted({probe.size for probe in self._done if probe.fate is Fate.LOST}),
            "agree": len(set(fits)) == 1,
            "whole": sorted({probe.size for probe in self._done if probe.fate is Fate.WHOLE}),
            "cut": sorted({probe.size for probe in self._done if probe.fate is Fate.PIECES}),
            "df": self._fates(keep=True),
            "free": self._fates(keep=False),
        }

    def _fits(self, protocol: str) -> int:
        sizes = (
            probe.size
            for probe in self._done
            if probe.dont_fragment and probe.protocol == protocol and probe.fate is Fate.WHOLE
        )
        return max(sizes, default=0)

    def _fates(self, *, keep: bool) -> Plain:
        """By protocol and size, as text."""
        fates: dict[str, dict[str, Plain]] = {protocol: {} for protocol in self._verb.protocols}
        for probe in self._done:
            if probe.dont_fragment is keep:
                fates[probe.protocol][str(probe.size)] = probe.fate.value
        return {**fates}

    def table(self) -> list[list[str]]:
        """A row for each size, a column for each protocol with and without DF."""
        columns = list(dict.fromkeys((probe.protocol, probe.dont_fragment) for probe in self._done))
        head = ["bytes", *(f"{protocol}{' DF' if keep else ''}" for protocol, keep in columns)]
        rows: dict[int, dict[tuple[str, bool], str]] = {}
        for probe in self._done:
            rows.setdefault(probe.size, {})[probe.protocol, probe.dont_fragment] = _said(probe)
        return [
            head,
            *([str(size), *(row.get(key, "") for key in columns)] for size, row in sorted(rows.items())),
        ]

    def summary(self) -> str:
        values = self.results()
        text = f"{values['mtu']} bytes fit, MSS {values['mss']}"
        if values["told"] is not None:
            text += f"; MTU {values['told']} named by {', '.join(_names(self._stage, self._done))}"
        lost = values["lost"]
        return f"{text}; lost without a word: {lost}" if lost else text

    def waiting(self) -> str:
        return f"waiting for packet {len(self._done) + 1} of {len(self._probes)}"


def _said(probe: MtuProbe) -> str:
    return f"MTU {probe.mtu}" if probe.fate is Fate.TOLD else probe.fate.value


def _names(stage: Stage, probes: list[MtuProbe]) -> list[str]:
    """Who named an MTU."""
    known = _routers(stage, probes[0].vnet) if probes else {}
    names: dict[str, None] = {}
    for probe in probes:
        if probe.fate is Fate.REFUSED:
            names["its own interface"] = None
        elif probe.fate is Fate.TOLD:
            names[known.get(probe.told_by, probe.told_by)] = None
    return list(names)


def _routers(stage: Stage, vnet: str) -> dict[str, str]:
    """Who has which address between the hosts of a network."""
    known = {str(ip_address(each)): "the PoP" for each in stage.world.config.vnets[vnet].gateways}
    for end in stage.world.ends:
        if end.vnet == vnet:
            known |= dict.fromkeys(
                (str(ip_address(each)) for each in end.on_lan), f"the connector {end.name}"
            )
    return known
