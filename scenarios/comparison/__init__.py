"""Differential runs: the same file on several fabrics, and everything in which they are not alike."""

from scenarios.comparison.compare import between, compared
from scenarios.comparison.facts import Fact, facts
from scenarios.comparison.quantity import Quantity, alike

__all__ = ["Fact", "Quantity", "alike", "between", "compared", "facts"]
