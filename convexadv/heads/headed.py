"""A deep model whose last layers are a convex head: the same inputs, the same kind of scores."""

from __future__ import annotations

import torch

from ..errors import InputError
from ..networks import Network
from .backbone import Backbone
from .tap import Tap


class HeadedModel(torch.nn.Module):
    """A classifier made of a backbone and a two-layer network on its features.

    ``model(x) = head(backbone(x))``, of the shape and the precision of the scores of the model that the backbone comes
    from. A head with one output f for two classes gives ``(-f/2, f/2)`` where that model gave two scores, so that their
    difference is f. An ordinary module: it trains, moves, copies, saves its ``state_dict``, and is differentiable.

    Parameters
    ----------
    model : torch.nn.Module
        A classifier; copied, never changed.
    head : PolynomialNetwork, ReLUNetwork or GatedReLUNetwork
        On the features of the tap; copied, in float64 if the features are, else in float32.
    tap : Tap
        Of :func:`find_tap`.
    x : tensor (n, ...)
        A batch of inputs to probe the copy with.

    Attributes
    ----------
    backbone : Backbone
    head : Network
    classes : ndarray or None
        ``model.classes``, where the model has them.

    Raises
    ------
    InputError
        If the head does not fit the features or the scores.

    Examples
    --------
    >>> import torch
    >>> import convexadv as ca
    >>> from convexadv.heads import HeadedModel, find_tap
    >>> model, x = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU(), torch.nn.Linear(2, 2)), torch.ones(4, 3)
    >>> tap = find_tap(model, x, at="1")
    >>> headed = HeadedModel(model, ca.ReLUNetwork([[1.0, 0.0]], [1.0], classes=[0, 1]), tap, x)
    >>> headed(x).shape, headed.backbone.removed
    (torch.Size([4, 2]), ('2',))
    """

    def __init__(self, model: torch.nn.Module, head: Network, tap: Tap, x: torch.Tensor) -> None:
        super().__init__()
        self.backbone = Backbone(model, tap, x)
        self.set_head(head)
        self.classes = getattr(model, "classes", None)
        self.train(model.training)

    def set_head(self, head: Network) -> None:
        """Put another head in the place of this one.

        Parameters
        ----------
        head : PolynomialNetwork, ReLUNetwork or GatedReLUNetwork
            Copied to the device and the precision of the features.

        Raises
        ------
        InputError
            If the head does not fit the features or the scores.
        """
        tap = self.backbone.tap
        if not isinstance(head, Network):
            raise InputError(f"head is a {type(head).__name__}; a network of convexadv is needed.")
        if head.n_features != tap.n_features:
            raise InputError(f"the head takes {head.n_features} features, and the {tap}; as many are needed.")
        if head.n_outputs != tap.n_outputs and (head.n_outputs, tap.n_outputs) != (1, 2):
            raise InputError(
                f"the head has {head.n_outputs} outputs, and the model gives {tap.n_outputs} scores; as many are "
                "needed."
            )
        weights = next((weight for weight in self.backbone.parameters()), None)
        dtype = torch.float64 if self.backbone.dtype == torch.float64 else torch.float32
        self.head = head._with().to(None if weights is None else weights.device, dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the scores of inputs.

        Parameters
        ----------
        x : tensor (n, ...)
            As the original model takes them.

        Returns
        -------
        tensor (n,), (n, 1) or (n, C)
            As the original model gave them.
        """
        features = self.backbone(x)
        scores = self.head(features).to(features.dtype)
        shape = self.backbone.tap.score_shape
        if shape == (2,) and scores.ndim == 1:
            return torch.stack([-scores / 2, scores / 2], 1)
        return scores[:, None] if shape == (1,) else scores
