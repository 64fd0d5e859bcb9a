"""Problems: what is solved. Data, loss, penalty and ball; objective values and dual bounds; no solver inside."""

from .certificate import AtomSet, OptimalityCertificate
from .polynomial import PolynomialProblem

__all__ = ["AtomSet", "OptimalityCertificate", "PolynomialProblem"]
