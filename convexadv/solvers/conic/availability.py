"""Which conic solvers can be used here, and why not."""

from __future__ import annotations

import functools
from importlib.util import find_spec

from ...errors import SolverUnavailableError

AVAILABLE = "available"
_PACKAGES = {"SCS": "scs", "CLARABEL": "clarabel"}


def solver_states() -> dict[str, str]:
    """Name of every conic solver, with the word "available" or the reason why it cannot be used."""
    states = {name: _installed(package) for name, package in _PACKAGES.items()}
    return {**states, "MOSEK": mosek_state()}


def require(solver: str) -> None:
    """Raise SolverUnavailableError if the solver cannot be used."""
    state = mosek_state() if solver == "MOSEK" else _installed(_PACKAGES[solver])
    if state != AVAILABLE:
        raise SolverUnavailableError(f'solver="{solver}" cannot be used: {state}; use solver="CLARABEL" or "torch".')


def _installed(package: str) -> str:
    return AVAILABLE if find_spec(package) is not None else f"the package {package} is not installed"


@functools.cache
def mosek_state() -> str:
    """Whether MOSEK is installed and licensed; the licence is asked for once in a process."""
    if find_spec("mosek") is None:
        return "the package mosek is not installed (pip install 'convexadv[mosek]')"
    import mosek

    try:
        with mosek.Env() as environment:
            environment.checkoutlicense(mosek.feature.pton)
    except mosek.Error as error:  # 1008 and its neighbours; cvxpy does not turn them into SolverError
        return f"MOSEK is installed but has no valid licence ({error})".replace(": )", ")")
    return AVAILABLE
