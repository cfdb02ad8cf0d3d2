"""Forwarding inside virtual networks: routes, flows, policy, hooks. Start with ``forwarder.Forwarder``."""

from edge.proto.forwarding.attachment import Attachment
from edge.proto.forwarding.fib import Fib
from edge.proto.forwarding.forwarder import Forwarder
from edge.proto.forwarding.policy import Action, Flow, Party, Policy, Verdict
from edge.proto.forwarding.prober import Prober
from edge.proto.forwarding.replica import ProbeSettings, ReplicaState
from edge.proto.forwarding.site import ReplicaChanged, Site
from edge.proto.forwarding.vnet import VirtualNetwork
from edge.proto.forwarding.watch import Fate, Observer, Passage, Watch

__all__ = [
    "Action",
    "Attachment",
    "Fate",
    "Fib",
    "Flow",
    "Forwarder",
    "Observer",
    "Party",
    "Passage",
    "Policy",
    "ProbeSettings",
    "Prober",
    "ReplicaChanged",
    "ReplicaState",
    "Site",
    "Verdict",
    "VirtualNetwork",
    "Watch",
]
