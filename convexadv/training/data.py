"""Labelled images in memory, in a random order that depends on seed and epoch only; shifts and mirrors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .._arrays import check_dense, plain_array
from ..errors import InputError

Augmentation = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Images:
    """Inputs and class numbers.

    Attributes
    ----------
    x : tensor (n, ...)
        Inputs, finite; images (n, c, h, w) in [0, 1].
    y : tensor (n,) of int64
        Class numbers 0..C-1.

    Examples
    --------
    >>> import numpy as np
    >>> from convexadv.training import Images
    >>> images = Images.of(np.zeros((4, 1, 2, 2)), [0, 1, 1, 0])
    >>> len(images), images.n_classes
    (4, 2)
    """

    x: torch.Tensor
    y: torch.Tensor

    @classmethod
    def of(cls, X: Any, y: Any) -> Images:
        """Check arrays or tensors.

        Parameters
        ----------
        X : array or tensor (n, ...)
            Finite numbers; kept in float32.
        y : array-like (n,)
            Class numbers 0..C-1.

        Returns
        -------
        Images

        Raises
        ------
        InputError
            If the lengths differ, there is no row, a value is not finite or a label is no class number.
        """
        x, labels = _tensor(X, "X", "biuf").float(), _tensor(y, "y", "biufc")
        if not x.ndim:
            raise InputError("X is a single value; inputs of shape (n, ...) are needed.")
        if labels.ndim != 1 or len(x) != len(labels) or not len(x):
            raise InputError(
                f"X holds {len(x)} inputs, y has shape {tuple(labels.shape)}; one label an input is needed."
            )
        if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool or int(labels.min()) < 0:
            raise InputError("y must hold class numbers 0, 1, ... for training.")
        if not bool(torch.isfinite(x).all()):
            raise InputError("X must be finite: it holds NaN or infinite values.")
        return cls(x, labels.long())

    def __len__(self) -> int:
        return len(self.x)

    @property
    def n_classes(self) -> int:
        """Number of classes, by the largest label."""
        return int(self.y.max()) + 1

    def take(self, index: Any) -> Images:
        """Choose rows.

        Parameters
        ----------
        index : array-like of int or bool

        Returns
        -------
        Images
        """
        index = torch.as_tensor(index)
        return Images(self.x[index], self.y[index])

    def batches(self, size: int, seed: int, first: int = 0) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        """Go through all rows once in a random order.

        Parameters
        ----------
        size : int
            Rows of a batch.
        seed : int
            Of the order.
        first : int
            Number of the first batch wanted.

        Yields
        ------
        number : int
            Of the batch.
        x, y : tensors
        """
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        for number in range(first, self.n_batches(size)):
            index = order[number * size : (number + 1) * size]
            yield number, self.x[index], self.y[index]

    def n_batches(self, size: int) -> int:
        """Count the full batches of an epoch; one if there are fewer rows than ``size``.

        Parameters
        ----------
        size : int

        Returns
        -------
        int
        """
        return max(1, len(self) // size)


def _tensor(values: Any, name: str, kinds: str) -> torch.Tensor:
    """Values as a dense tensor, without a copy where none is needed."""
    if isinstance(values, torch.Tensor):
        check_dense(values)
        if values.is_complex():
            raise InputError(f"{name} holds complex numbers; real ones are needed.")
        return values.detach()
    array = plain_array(values, name)
    if array.dtype.kind not in kinds:
        raise InputError(f"{name} holds values of type {array.dtype}; numbers are needed.")
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # infinite values are refused
            array = array.astype(np.float32, copy=False)
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def augmentation(name: str | None, padding: int = 4) -> Augmentation | None:
    """Choose how images are varied.

    Parameters
    ----------
    name : None, "shift", "mirror" or "shift+mirror"
        Nothing; a shift by up to ``padding`` pixels, zeros moving in; a mirror image half of the time; or both.
    padding : int
        Largest shift in pixels.

    Returns
    -------
    callable or None
        Of images (n, c, h, w) and a generator.

    Raises
    ------
    InputError
        If the name is another one.

    Examples
    --------
    >>> import torch
    >>> from convexadv.training import augmentation
    >>> augmentation("shift")(torch.ones(2, 1, 8, 8), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 1, 8, 8])
    """
    if name is None:
        return None
    parts = name.split("+")
    if parts not in (["shift"], ["mirror"], ["shift", "mirror"]):
        raise InputError(f'augmentation must be None, "shift", "mirror" or "shift+mirror", got {name!r}.')

    def vary(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        if "mirror" in parts:
            x = _mirrored(x, generator)
        return _shifted(x, padding, generator) if "shift" in parts else x

    return vary


def _mirrored(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    chosen = torch.rand(len(x), generator=generator) < 0.5
    return torch.where(chosen.to(x.device)[:, None, None, None], x.flip(-1), x)


def _shifted(x: torch.Tensor, padding: int, generator: torch.Generator) -> torch.Tensor:
    """Cut a window of the old size out of every padded image."""
    n, _, h, w = x.shape
    down, right = (torch.randint(0, 2 * padding + 1, (n, 1), generator=generator).to(x.device) for _ in range(2))
    padded = torch.nn.functional.pad(x, (padding,) * 4)
    rows, columns = (offset + torch.arange(side, device=x.device) for offset, side in ((down, h), (right, w)))
    images = torch.arange(n, device=x.device)
    # advanced indices on both sides of a slice put the channels last
    return padded[images[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
