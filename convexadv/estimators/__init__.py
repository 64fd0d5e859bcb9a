"""scikit-learn estimators: thin over the problems and :func:`convexadv.solve`."""

from .gated import GatedReLUClassifier, GatedReLURegressor
from .polynomial import PolynomialClassifier, PolynomialRegressor
from .relu import ReLUClassifier, ReLURegressor

__all__ = [
    "GatedReLUClassifier",
    "GatedReLURegressor",
    "PolynomialClassifier",
    "PolynomialRegressor",
    "ReLUClassifier",
    "ReLURegressor",
]
