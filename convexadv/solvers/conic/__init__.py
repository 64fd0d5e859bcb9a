"""Conic backend: the semidefinite programme in full, for SCS, CLARABEL and MOSEK."""

from .availability import solver_states
from .solve import solve_conic

__all__ = ["solve_conic", "solver_states"]
