"""Problems: what is solved. Data, loss, penalty and ball; objective values and dual bounds; no solver inside."""

from .certificate import AtomSet, ConeMultipliers, GateShares, OptimalityCertificate
from .gated import GatedReLUProblem
from .polynomial import PolynomialProblem
from .relu import ReLUProblem

__all__ = [
    "AtomSet",
    "ConeMultipliers",
    "GateShares",
    "GatedReLUProblem",
    "OptimalityCertificate",
    "PolynomialProblem",
    "ReLUProblem",
]
