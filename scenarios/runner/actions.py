"""Which action does which verb."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from scenarios.runner.calling import Calling
from scenarios.runner.executing import Executing
from scenarios.runner.faulting import Faulting
from scenarios.runner.joining import Joining
from scenarios.runner.measuring import MeasuringMtu
from scenarios.runner.posting import Posting
from scenarios.runner.probing import Probing
from scenarios.runner.pushing import Pushing
from scenarios.runner.registering import Registering
from scenarios.runner.requesting import Requesting
from scenarios.runner.resolving import Resolving
from scenarios.runner.route_checking import RouteChecking
from scenarios.runner.serving import Starting, Stopping
from scenarios.runner.stage import Action, Stage
from scenarios.runner.streaming import Streaming
from scenarios.runner.waiting import Waiting
from scenarios.schema import programs, verbs
from scenarios.schema.verbs import Verb

ACTIONS: Mapping[type[Any], type[Action]] = MappingProxyType(
    {
        verbs.Wait: Waiting,
        verbs.SipRegister: Registering,
        verbs.SipCall: Calling,
        verbs.PbxDial: Calling,
        verbs.UdpSend: Probing,
        verbs.Ping: Probing,
        verbs.ProbeMtu: MeasuringMtu,
        verbs.RouteCheck: RouteChecking,
        verbs.HttpRequest: Requesting,
        verbs.WebhookPost: Posting,
        verbs.DnsQuery: Resolving,
        verbs.TrafficRun: Streaming,
        verbs.DirectoryBind: Joining,
        verbs.DirectoryPush: Pushing,
        programs.ExecRun: Executing,
        programs.ExecStart: Starting,
        programs.ExecStop: Stopping,
        **dict.fromkeys(verbs.FAULTS, Faulting),
    }
)


def action(stage: Stage, verb: Verb, running: Callable[[str], bool]) -> Action:
    """The action for `verb`; `running` tells whether a background step still runs."""
    if isinstance(verb, verbs.Wait):
        return Waiting(stage, verb, running)
    make: Any = ACTIONS[type(verb)]
    acting: Action = make(stage, verb)
    return acting
