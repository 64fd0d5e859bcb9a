"""Solvers: how a problem is solved. Each returns a :class:`Solution` with a certificate and stops on the certified gap."""

from .api import available_solvers, solve
from .solution import Record, Solution, Status

__all__ = ["Record", "Solution", "Status", "available_solvers", "solve"]
