"""Conic backend: the convex programme in full, for SCS, CLARABEL and MOSEK."""

from .availability import solver_states
from .patterns import solve_patterns
from .solve import solve_conic

__all__ = ["solve_conic", "solve_patterns", "solver_states"]
