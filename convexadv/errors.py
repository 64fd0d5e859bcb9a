"""Errors of the package: each message is a sentence that says what was given and what is needed.

Sentences that several rooms need are made here.
"""

from __future__ import annotations

import os
from typing import Any


class InputError(ValueError):
    """An argument or a data set that cannot be used as given.

    Examples
    --------
    >>> import convexadv as ca
    >>> try:
    ...     ca.PolynomialProblem([[1.0], [2.0]], [0, 1], radius=-1.0)
    ... except ca.InputError as error:
    ...     print(error)
    radius contains -1; finite values of zero or more are needed.
    """


class FileFormatError(InputError):
    """A file that is truncated, of another kind, or from a newer version.

    Examples
    --------
    >>> import pathlib
    >>> import convexadv as ca
    >>> _ = pathlib.Path("network.safetensors").write_text("no network")
    >>> try:
    ...     ca.load("network.safetensors")
    ... except ca.FileFormatError as error:
    ...     print(str(error)[:59])
    network.safetensors is truncated or not a safetensors file:
    """


class CertificateError(ValueError):
    """A certificate that does not belong to the problem or breaks its own conditions.

    Examples
    --------
    >>> import convexadv as ca
    >>> X, y = [[1, 1], [-1, -1], [1, -1], [-1, 1]], [1, 1, 0, 0]  # exclusive or
    >>> certificate = ca.solve(ca.PolynomialProblem(X, y, beta=0.01)).certificate
    >>> try:
    ...     ca.PolynomialProblem(X[:3], y[:3], beta=0.01).lower_bound(certificate)
    ... except ca.CertificateError as error:
    ...     print(error)
    multipliers have shape (1, 1, 4); (samples, 1, 3) is needed.
    """


class SolverUnavailableError(RuntimeError):
    """A solver that is not installed, not licensed, or cannot hold the problem.

    Examples
    --------
    >>> import numpy as np
    >>> import convexadv as ca
    >>> X, y = np.random.default_rng(0).normal(size=(3000, 500)), np.arange(3000) % 2
    >>> try:
    ...     ca.solve(ca.PolynomialProblem(X, y, radius=0.1), "CLARABEL")
    ... except ca.SolverUnavailableError as error:
    ...     print("needs far more memory than there is" if "GB" in str(error) else error)
    needs far more memory than there is
    """


class ProcessError(RuntimeError):
    """One of several processes was lost, or they no longer agree.

    Examples
    --------
    >>> import convexadv as ca
    >>> issubclass(ca.ProcessError, RuntimeError)
    True
    """


class TrainingError(RuntimeError):
    """A training that cannot go on, for a loss or a weight is not finite, or that ends without a network.

    Examples
    --------
    >>> import convexadv as ca
    >>> issubclass(ca.TrainingError, RuntimeError)
    True
    """


def reason(error: Any) -> str:
    """The words of another error for the end of a sentence: on one line, without a full stop; its kind if it has none."""
    if isinstance(error, KeyError) and error.args:
        return f"{error.args[0]!r} is missing"
    words = getattr(error, "strerror", None) or str(error)
    return " ".join(words.split()).rstrip(".") or type(error).__name__


def unreadable(path: str | os.PathLike[str], error: OSError) -> InputError:
    """The error of a file or folder that the system does not let us read."""
    return InputError(f"{os.fspath(path)} cannot be read: {reason(error)}.")


def unwritable(path: str | os.PathLike[str], why: str) -> InputError:
    """The error of a file that cannot be made."""
    return InputError(f"{os.fspath(path)} cannot be written: {why}.")


def not_safetensors(path: str | os.PathLike[str], error: Exception) -> FileFormatError:
    """The error of a file that the reader of safetensors refuses."""
    return FileFormatError(f"{os.fspath(path)} is truncated or not a safetensors file: {reason(error)}.")


def wrong_kind(given: Any, needed: str) -> InputError:
    """The error of an object of another kind."""
    return InputError(f"a {type(given).__name__} was given; {needed} is needed.")


def needs_checkpoint() -> InputError:
    """The error of ``resume=True`` without a path."""
    return InputError("resume=True was given without a checkpoint; the path of one is needed: checkpoint=PATH.")


def checkpoint_exists(path: str | os.PathLike[str]) -> InputError:
    """The error of a checkpoint that would be replaced."""
    return InputError(
        f"{os.fspath(path)} exists; give resume=True to continue from it, or another path, or delete it to start anew."
    )
