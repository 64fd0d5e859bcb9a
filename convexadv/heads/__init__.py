"""Robust heads for deep models: the last layers of a classifier, retrained by convex adversarial training."""

from .headed import HeadedModel
from .report import HeadReport
from .robustify import Robustified, robustify
from .tap import Tap, find_tap

__all__ = [
    "HeadReport",
    "HeadedModel",
    "Robustified",
    "Tap",
    "find_tap",
    "robustify",
]
