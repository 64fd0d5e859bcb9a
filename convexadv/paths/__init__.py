"""Paths of solutions over beta and radius, from the zero network down, each solve starting from the one before."""

from .path import PathPoint, RegularisationPath
from .regularisation import regularisation_path

__all__ = ["PathPoint", "RegularisationPath", "regularisation_path"]
