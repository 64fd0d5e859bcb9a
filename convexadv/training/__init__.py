"""Training of deep classifiers by stochastic gradients: clean, sharpness-aware, adversarial; resumable to the same bits."""

from .data import Images, augmentation
from .loop import History, train
from .objectives import TRADES, Clean, Mixed
from .points import Adversarial, OneStep
from .settings import Settings
from .tuning import tune

__all__ = [
    "TRADES",
    "Adversarial",
    "Clean",
    "History",
    "Images",
    "Mixed",
    "OneStep",
    "Settings",
    "augmentation",
    "train",
    "tune",
]
