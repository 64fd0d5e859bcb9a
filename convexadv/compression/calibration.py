"""Batch norms after a change of the weights: their running statistics, measured anew on what training normalises."""

from __future__ import annotations

import torch
from torch import nn

from ..training import Images
from ..training.data import Augmentation
from ..training.objectives import Objective

BATCHES = 50


def calibrate(
    model: nn.Module,
    images: Images,
    objective: Objective,
    *,
    augment: Augmentation | None = None,
    batch_size: int = 128,
    batches: int = BATCHES,
    random_state: int = 0,
) -> None:
    """Replace the running statistics of all batch norms by the averages over some batches, attacked as in training.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place; left in evaluation mode. A model without batch norms is left as it is.
    images : convexadv.training.Images
        Training images.
    objective : callable
        Of :mod:`convexadv.training`; the points at which it takes its loss are what is normalised.
    augment : callable, optional
        Of :func:`convexadv.training.augmentation`.
    batch_size, batches : int
        Rows of a batch and number of batches, at most one pass over the images.
    random_state : int
        Of order, augmentation and attacks.

    Examples
    --------
    >>> import torch
    >>> from convexadv.compression import calibrate
    >>> from convexadv.training import Clean, Images
    >>> x = 3.0 + torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    >>> model = torch.nn.Sequential(torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    >>> calibrate(model, Images.of(x, torch.arange(64) % 2), Clean(), batch_size=32)
    >>> bool(torch.allclose(model[0].running_mean, x.mean(0), atol=1e-5))
    True
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    norms = [norm for norm in norms if norm.track_running_stats]
    if not norms:
        model.eval()
        return
    device = next(model.parameters()).device
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average over the batches
    model.train()
    generator = torch.Generator().manual_seed(random_state)
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(random_state)
            for number, x, y in images.batches(batch_size, random_state):
                if number == batches:
                    break
                x, y = x.to(device), y.to(device)
                objective(model, x if augment is None else augment(x, generator), y, generator)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        model.zero_grad(set_to_none=True)
        model.eval()
