"""Bounds of quadratics over boxes (the l_inf ball): a convex restriction, solved row by row."""

from .relaxation import BoxRelaxation, box_relaxation_minimum

__all__ = ["BoxRelaxation", "box_relaxation_minimum"]
