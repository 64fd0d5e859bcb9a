"""Robust heads for deep models: the last layers of a classifier, retrained by convex adversarial training."""

from .headed import HeadedModel
from .masking import MaskingReport, check_masking
from .report import HeadReport
from .robustify import Robustified, robustify
from .surface import MarginSurface, margin_surface
from .tap import Tap, find_tap

__all__ = [
    "HeadReport",
    "HeadedModel",
    "MarginSurface",
    "MaskingReport",
    "Robustified",
    "Tap",
    "check_masking",
    "find_tap",
    "margin_surface",
    "robustify",
]
