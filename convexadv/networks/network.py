"""What every network of the package shares: labels, input scaling, evaluation, copies and parts of a file."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

import numpy as np
import torch

from .._arrays import Array, is_tensor, to_numpy
from ..errors import InputError
from . import labels
from .evaluation import check_scores, evaluate
from .weights import DTYPES, weight_tensor

AnyNetwork = TypeVar("AnyNetwork", bound="Network")


class Network(torch.nn.Module):
    """What the networks of the package share: labels, input scaling, evaluation of arrays, copies and files.

    A subclass registers its weights under the names of its constructor's arguments, lists them in
    ``_TENSORS``, then calls :meth:`_set_inputs` and :meth:`_set_classes`. It defines ``forward``, the
    properties ``n_neurons``, ``n_features`` and ``n_outputs``, and, if its constructor takes more than
    tensors and classes, ``_settings`` and ``_from_settings``. Not to be used by itself.
    """

    _TENSORS: ClassVar[frozenset[str]]
    """Names of the parameters and buffers, which are arguments of the constructor."""

    shift: torch.Tensor
    scale: torch.Tensor
    classes: np.ndarray | None

    casts_inputs = True
    """``forward`` takes inputs of any real dtype."""

    def __init__(self) -> None:
        super().__init__()
        self.metadata: dict[str, Any] = {}

    @property
    def n_neurons(self) -> int:
        """Number of neurons m."""
        raise NotImplementedError

    @property
    def n_features(self) -> int:
        """Number of input features d."""
        raise NotImplementedError

    @property
    def n_outputs(self) -> int:
        """Number of outputs C: 1 for two classes or one target."""
        raise NotImplementedError

    def _set_inputs(self, shift: Any, scale: Any, like: torch.Tensor) -> None:
        """Register the buffers of the input scaling, in the dtype and on the device of ``like``."""
        d = self.n_features
        for name, value, default in (("shift", shift, 0.0), ("scale", scale, 1.0)):
            value = np.full(d, default) if value is None else value
            tensor = weight_tensor(value, name, 1, like.dtype, like.device)
            if len(tensor) != d:
                raise InputError(f"{name} must have one entry a feature: got {len(tensor)} for {d} features.")
            self.register_buffer(name, tensor)
        if not bool((self.scale > 0).all()):
            raise InputError("scale must be positive in every entry; use 1 for a feature that is not scaled.")

    def _set_classes(self, classes: Any) -> None:
        self.classes = None if classes is None else labels.as_classes(classes)
        if self.classes is None:
            return
        count, outputs = len(self.classes), self.n_outputs
        if count != outputs and (count, outputs) != (2, 1):
            raise InputError(
                f"classes holds {count} labels, which need {count} outputs (or one for two labels), but "
                f"this network has {outputs}."
            )

    def scores(self, X: Array) -> Array:
        """Evaluate f(x) on the rows, in blocks of rows and without autograd.

        ``forward`` does without the last check, as every torch module: there a score that overflows is infinite or NaN.

        Parameters
        ----------
        X : array or tensor (n, d)
            Raw inputs.

        Returns
        -------
        array or tensor (n,) or (n, C)
            Of the kind of X, in the precision of the network. With two classes and one output, a positive
            score speaks for the second class.

        Raises
        ------
        InputError
            If X has another shape, is not numeric, or holds NaN or infinite values; if a score overflows.
        """
        scores = evaluate(self, X)
        check_scores(scores, self.shift.dtype)
        return scores

    def predict(self, X: Array) -> Array:
        """Predict the label of each row, or its value for regression.

        Parameters
        ----------
        X : array or tensor (n, d)
            Raw inputs.

        Returns
        -------
        array or tensor
            (n,) labels; (n,) or (n, C) values if ``classes`` is None. Of the kind of X, but text labels are
            always a NumPy array. A two-class score of zero gives the first class.

        Raises
        ------
        InputError
            As :meth:`scores`.
        """
        scores = self.scores(X)
        if self.classes is None:
            return scores
        index = (scores > 0) * 1 if scores.ndim == 1 else scores.argmax(1)
        if not is_tensor(index):
            return self.classes[index]
        kind = self.classes.dtype.kind
        if kind == "U":
            return self.classes[to_numpy(index)]
        labels = self.classes.astype(np.int64) if kind == "u" else self.classes
        return torch.from_numpy(labels.copy()).to(index.device)[index]

    def margins(self, X: Array, y: Any) -> Array:
        """Compute the margin of each row: positive where the label is the one predicted.

        ``y f(x)`` with y = -1 for the first and +1 for the second class, or
        ``f_y(x) - max over c != y of f_c(x)``.

        Parameters
        ----------
        X : array or tensor (n, d)
            Raw inputs.
        y : array-like (n,)
            Labels out of ``classes``.

        Returns
        -------
        array or tensor (n,)
            Of the kind of X.

        Raises
        ------
        InputError
            As :meth:`scores`; if a label is unknown; for a regression network.
        """
        classes = self.known_classes()
        scores = self.scores(X)
        index = labels.label_indices(y, classes, len(scores))
        result = class_margins(torch.as_tensor(scores), torch.as_tensor(index))
        return result if is_tensor(X) else to_numpy(result)

    def known_classes(self) -> np.ndarray:
        """The labels in sorted order.

        Returns
        -------
        ndarray (K,)

        Raises
        ------
        InputError
            If there are none.
        """
        if self.classes is None:
            raise InputError("margins need classes, and this network has none (it predicts values).")
        return self.classes

    def check_width(self, shape: tuple[int, ...]) -> None:
        """Check that inputs have the features of this network.

        Parameters
        ----------
        shape : tuple of int
            Of the inputs.

        Raises
        ------
        InputError
            If it is not (n, d).
        """
        if len(shape) != 2 or shape[1] != self.n_features:
            raise InputError(f"X must have shape (n, {self.n_features}), got {shape}.")

    @property
    def entries_of_a_row(self) -> int:
        """Entries of the largest array that the evaluation of one row needs."""
        return self.n_features

    def _scaled(self, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Check raw inputs (n, d) and scale them: ``z = (x - shift) / scale``, in ``dtype``."""
        if not isinstance(x, torch.Tensor):
            raise InputError("forward takes a torch tensor; scores(X) and predict(X) take NumPy arrays too.")
        if x.ndim == 0 or x.shape[-1] != self.n_features:
            raise InputError(f"x must have shape (n, {self.n_features}), got {tuple(x.shape)}.")
        x = x if x.is_floating_point() else x.to(self.shift.dtype)
        # Shifted in the precision of x, then rounded to that of the weights.
        return ((x - self.shift) / self.scale).to(dtype)

    def _squeezed(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores (n, C) in the shape that callers see: (n,) for one output."""
        return scores.squeeze(-1) if self.n_outputs == 1 else scores

    def _with(self: AnyNetwork, **changes: Any) -> AnyNetwork:
        """Copy the network, metadata included, with other values of some arguments of its constructor."""
        tensors, settings = self._to_parts()
        arguments = {**tensors, "classes": self.classes, **self._from_settings(settings), **changes}
        copy = type(self)(**arguments)
        copy.metadata = dict(self.metadata)
        return copy

    def _to_parts(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Tensors and settings for a file."""
        return dict(self.state_dict()), self._settings()

    @classmethod
    def _from_parts(
        cls: type[AnyNetwork], tensors: dict[str, torch.Tensor], settings: dict[str, Any], classes: np.ndarray | None
    ) -> AnyNetwork:
        """Rebuild the network from a file, with copies of the tensors; InputError if a part is wrong."""
        if set(tensors) != cls._TENSORS:
            raise InputError(f"it holds the tensors {sorted(tensors)}; {sorted(cls._TENSORS)} are needed.")
        dtypes = {tensor.dtype for tensor in tensors.values()}
        if len(dtypes) > 1 or not dtypes <= set(DTYPES):
            raise InputError("its tensors must be all float32 or all float64.")
        arguments = {**tensors, "classes": classes, **cls._from_settings(settings)}
        return cls(**arguments)

    def _settings(self) -> dict[str, Any]:
        """What the constructor needs beside tensors and classes, as JSON."""
        return {}

    @classmethod
    def _from_settings(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """Arguments of the constructor out of the settings; KeyError if one is missing."""
        return {}

    def extra_repr(self) -> str:
        """Describe sizes and labels for ``repr``.

        Returns
        -------
        str
        """
        sizes = f"neurons={self.n_neurons}, features={self.n_features}, outputs={self.n_outputs}"
        return sizes if self.classes is None else f"{sizes}, classes={labels.summary(self.classes)}"


def class_margins(scores: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Compute the margins of scores: ``y f`` for one output, else ``f_y - max over c != y of f_c``.

    Parameters
    ----------
    scores : tensor (n,) or (n, C)
        Outputs of a network.
    index : tensor (n,) of int64
        Position of each label in the sorted classes; 0 and 1 are y = -1 and y = +1.

    Returns
    -------
    tensor (n,)
    """
    index = index.to(scores.device)
    if scores.ndim == 1:
        return (2 * index - 1).to(scores.dtype) * scores
    own = scores.gather(1, index[:, None])
    return own[:, 0] - scores.scatter(1, index[:, None], -torch.inf).amax(1)
