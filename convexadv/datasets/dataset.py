"""The one form in which every loader hands over its data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory.

    Attributes
    ----------
    name : str
        Name of the data set, or of the file it came from.
    X : ndarray of shape (n, d)
        Features: float64, or float32 for images (in [0, 1]) and for tables stored as float32.
    y : ndarray of shape (n,) or (n, C)
        Labels (integers or text, as published) or real targets.
    feature_names : tuple of str, length d
        Names of the columns of ``X``.
    target_names : tuple of str
        Names of the classes in the sorted order of their labels; empty for real targets.
    description : str
        What it is, where it comes from and what was done to it.

    Examples
    --------
    >>> from convexadv.datasets import load
    >>> data = load("iris")
    >>> data.X.shape, data.target_names
    ((150, 4), ('setosa', 'versicolor', 'virginica'))
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    feature_names: tuple[str, ...]
    target_names: tuple[str, ...]
    description: str

    def __repr__(self) -> str:
        kind = f"{len(self.target_names)} classes" if self.target_names else "real targets"
        return f"Dataset({self.name!r}, {self.X.shape[0]} rows, {self.X.shape[1]} features, {kind})"
