"""Robust heads for deep models: the last layers of a classifier, retrained by convex adversarial training."""

from .headed import HeadedModel
from .tap import Tap, find_tap

__all__ = [
    "HeadedModel",
    "Tap",
    "find_tap",
]
