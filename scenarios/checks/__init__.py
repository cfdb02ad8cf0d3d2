"""Does the run fulfil what its file expects, and what must hold in every run?"""

from scenarios.checks.expression import Expression, ExpressionError, Outcome, parse
from scenarios.checks.values import Plain, Ratio, Seconds, show

__all__ = ["Expression", "ExpressionError", "Outcome", "Plain", "Ratio", "Seconds", "parse", "show"]
