"""Does the run fulfil what its file expects, and what must hold in every run?"""

from scenarios.checks.expression import Expression, ExpressionError, Outcome, parse
from scenarios.checks.metrics import Declared, Kind, Metrics
from scenarios.checks.threshold import Threshold, Verdict
from scenarios.checks.values import Plain, Ratio, Seconds, Secret, printable, show

__all__ = [
    "Declared",
    "Expression",
    "ExpressionError",
    "Kind",
    "Metrics",
    "Outcome",
    "Plain",
    "Ratio",
    "Seconds",
    "Secret",
    "Threshold",
    "Verdict",
    "parse",
    "printable",
    "show",
]
