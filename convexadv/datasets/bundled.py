"""Data sets that scikit-learn bundles: no files are needed."""

from __future__ import annotations

import numpy as np

from .dataset import Dataset

BUNDLED = {
    "breast_cancer": "Breast Cancer Wisconsin (Diagnostic), labels 0 (malignant) and 1 (benign)",
    "digits": "handwritten digits, 8 x 8 pixels from 0 to 16, labels 0 to 9",
    "wine": "chemical analysis of wines of three growers, labels 0, 1, 2",
    "iris": "measures of three species of iris, labels 0, 1, 2",
    "diabetes": "progression of diabetes after a year, a real target; features as scikit-learn scales them",
}


def load_bundled(name: str) -> Dataset:
    """Load a data set bundled with scikit-learn.

    Parameters
    ----------
    name : {"breast_cancer", "digits", "wine", "iris", "diabetes"}
        Name of the data set, as in ``sklearn.datasets.load_<name>``.

    Returns
    -------
    Dataset
        ``X`` (n, d) float64 as scikit-learn returns it; ``y`` (n,) integers, real for diabetes.
    """
    from sklearn import datasets  # slow to import, needed only here

    bunch = getattr(datasets, f"load_{name}")()
    targets = tuple(str(target) for target in bunch.get("target_names", ()))
    features = tuple(str(feature) for feature in bunch.feature_names)
    description = f"{BUNDLED[name][0].upper()}{BUNDLED[name][1:]} (bundled with scikit-learn)."
    X = np.asarray(bunch.data, dtype=np.float64)
    return Dataset(name, X, bunch.target, features, targets, description)
