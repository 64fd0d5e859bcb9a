"""Robust heads for deep models: the last layers of a classifier, retrained by convex adversarial training."""

from .end_to_end import ModelCertificate, certify_model
from .headed import HeadedModel
from .lipschitz import LipschitzBound, lipschitz_bound
from .masking import MaskingReport, check_masking
from .report import HeadReport
from .robustify import Robustified, robustify
from .surface import MarginSurface, margin_surface
from .tap import Tap, find_tap

__all__ = [
    "HeadReport",
    "HeadedModel",
    "LipschitzBound",
    "MarginSurface",
    "MaskingReport",
    "ModelCertificate",
    "Robustified",
    "Tap",
    "certify_model",
    "check_masking",
    "find_tap",
    "lipschitz_bound",
    "margin_surface",
    "robustify",
]
