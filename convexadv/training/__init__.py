"""Training of deep classifiers by stochastic gradients: clean, sharpness-aware, adversarial; resumable to the same bits."""

from .data import Images, augmentation
from .loop import History, train
from .objectives import TRADES, Adversarial, Clean, OneStep
from .settings import Settings

__all__ = ["TRADES", "Adversarial", "Clean", "History", "Images", "OneStep", "Settings", "augmentation", "train"]
