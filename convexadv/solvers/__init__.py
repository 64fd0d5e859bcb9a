"""Solvers: how a problem is solved. Each returns a :class:`Solution` with a certificate and stops on the certified gap."""

from .api import available_solvers, solve
from .growth import Growth, grow_patterns
from .solution import Record, Solution, Status

__all__ = ["Growth", "Record", "Solution", "Status", "available_solvers", "grow_patterns", "solve"]
