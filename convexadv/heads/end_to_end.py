"""A certificate for inputs of a whole model: its backbone's Lipschitz bound and its head's worst-case margins."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .._arrays import Array, to_numpy
from .._checks import number
from ..balls import check_norm
from ..errors import InputError
from ..robustness import worst_case_margin
from ..robustness.arguments import evaluation_mode, float_rows
from .features import on_model
from .headed import HeadedModel
from .lipschitz import LipschitzBound, lipschitz_bound


@dataclass(frozen=True, eq=False, repr=False)
class ModelCertificate:
    """Result of :func:`certify_model`.

    Attributes
    ----------
    certified : (n,) bool
        Whether no perturbation of the input within the radius can change the prediction from its label.
    lower_bound : (n,)
        Of the margins over the balls of the features.
    radius, norm
        Of the balls around the inputs.
    input_radius : float
        Radius of the l2 ball that holds such a ball: ``radius sqrt(D)`` for linf and D entries of an input.
    feature_radius : float
        Radius of the l2 ball that holds the features of all these inputs: ``lipschitz.value * input_radius``.
    lipschitz : LipschitzBound
        Of the backbone.
    """

    certified: np.ndarray
    lower_bound: np.ndarray
    radius: float
    norm: str
    input_radius: float
    feature_radius: float
    lipschitz: LipschitzBound

    @property
    def note(self) -> str:
        """What the certificate is worth, in words."""
        layers = len(self.lipschitz.layers)
        if layers <= 1:
            loose = "the bound of the backbone is that of one layer"
        else:
            loose = f"the bound of the backbone is a product over {layers} layers, far above what any input shows"
        if self.norm == "linf":
            factor = self.input_radius / self.radius if self.radius else 1.0
            loose += f", and the l2 ball around the linf ball is {factor:.3g} times as large"
        return f"sound, and loose: {loose}"

    def __repr__(self) -> str:
        return (
            f"ModelCertificate({int(self.certified.sum())} of {len(self.certified)} rows, {self.norm} {self.radius:g})"
        )

    def __str__(self) -> str:
        rows = f"{int(self.certified.sum())} of {len(self.certified)} rows certified in {self.norm} balls of {self.radius:g}"
        return f"{rows}; features move by at most {self.feature_radius:.3g} (l2); {self.note}"


def certify_model(model: HeadedModel, X: Array, y: Any, radius: float, norm: str = "l2") -> ModelCertificate:
    """Prove that inputs keep their labels under all perturbations, as far as a Lipschitz bound reaches.

    Inputs within the radius have features within ``L radius`` of the features of the row, L the bound of
    :func:`lipschitz_bound`; over that ball the head's margins are bounded by :func:`convexadv.worst_case_margin`, exactly
    for polynomial heads of two classes. The proof is for exact arithmetic: features are computed in float64 here, and
    their rounding is not part of it.

    Parameters
    ----------
    model : HeadedModel
        Of :func:`convexadv.robustify`; its head has classes.
    X : array or tensor (n, ...)
        Inputs.
    y : (n,)
        Labels out of ``model.head.classes``.
    radius : float
        In the units of X.
    norm : {"l2", "linf", "l1"}
        Of the balls around the inputs.

    Returns
    -------
    ModelCertificate

    Raises
    ------
    InputError
        If the model is no HeadedModel, or its backbone has a layer without a known bound.

    Examples
    --------
    >>> import numpy as np, torch
    >>> import convexadv as ca
    >>> from convexadv.heads import certify_model
    >>> _ = torch.manual_seed(0)
    >>> X = np.random.default_rng(0).normal(size=(100, 2)).astype("float32")
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    >>> made = ca.robustify(model, (X, (X[:, 0] > 0).astype(int)), at="1", validation=None)
    >>> found = certify_model(made.model, [[2.0, 0.0], [-0.3, 0.0]], [1, 1], radius=0.1)
    >>> found.certified
    array([ True, False])
    """
    if not isinstance(model, HeadedModel):
        raise InputError(f"model is a {type(model).__name__}; a HeadedModel, as of robustify, is needed.")
    check_norm(norm)
    size, inputs = number("radius", radius), float_rows(X)
    bound = lipschitz_bound(model.backbone, on_model(model, inputs[:2]))
    entries = inputs[0].numel()
    input_radius = size * (math.sqrt(entries) if norm == "linf" else 1.0)
    feature_radius = bound.value * input_radius
    features = _features(model, inputs)
    head = model.head._with().cpu().double()
    result = worst_case_margin(head, features, y, feature_radius, "l2")
    lower = to_numpy(result.lower_bound)
    return ModelCertificate(lower > 0, lower, size, norm, input_radius, feature_radius, bound)


def _features(model: HeadedModel, inputs: torch.Tensor, size: int = 256) -> np.ndarray:
    """Features (n, d) in float64."""
    backbone = copy.deepcopy(model.backbone).cpu().double()
    with evaluation_mode(backbone), torch.no_grad():
        blocks = [backbone(inputs[k : k + size].cpu().double()) for k in range(0, len(inputs), size)]
    return to_numpy(torch.cat(blocks))
