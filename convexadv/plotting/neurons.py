"""Neurons as pictures, and the spectrum that they were decomposed from."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays import to_numpy
from ..errors import InputError
from .style import BLUE, VERMILION, axes_or_new, require_matplotlib, tidy

_COLUMNS = 6


def plot_neurons(network: Any, shape: tuple[int, int], axes: Any = None, *, output: int = 0, count: int = 12) -> Any:
    """The neurons of an image model as pictures, those of the largest share of an output first.

    The share of neuron j is abs(alpha_j) ||u_j||_2. Every picture has its own scale, symmetric about zero; blue entries are
    negative, red ones positive, and the title is the neuron's sign and share.

    Parameters
    ----------
    network : PolynomialNetwork or ReLUNetwork
        With height * width features.
    shape : (height, width)
        Of the images.
    axes : array of matplotlib Axes, optional
        Where to draw, at most one neuron each; a new figure if not given.
    output : int
        Output whose coefficients rank the neurons.
    count : int
        Most neurons that a new figure shows.

    Returns
    -------
    array of matplotlib Axes

    Raises
    ------
    InputError
        If the network has no neurons of that many features, or no such output.

    Examples
    --------
    >>> import numpy as np
    >>> import convexadv as ca
    >>> from convexadv.plotting import plot_neurons
    >>> network = ca.ReLUNetwork(np.eye(3, 4), [1.0, -2.0, 0.5])  # three neurons of pictures of 2 x 2 pixels
    >>> [ax.get_title() for ax in plot_neurons(network, shape=(2, 2)).ravel()]
    ['-2', '+1', '+0.5']
    """
    if not hasattr(network, "neurons"):
        raise InputError(f"plot_neurons takes polynomial and ReLU networks, got a {type(network).__name__}.")
    neurons, coefficients = to_numpy(network.neurons), to_numpy(network.coefficients)
    height, width = shape
    if neurons.shape[1] != height * width:
        raise InputError(
            f"shape is {height} x {width}, but the neurons have {neurons.shape[1]} features; their product must be as "
            "many."
        )
    if not 0 <= output < coefficients.shape[1]:
        raise _no_output(output, coefficients)
    if not len(neurons):
        raise InputError("the network has no neurons; at least one is needed.")
    alpha = coefficients[:, output]
    share = np.abs(alpha) * np.linalg.norm(neurons, axis=1)
    order = np.argsort(-share, kind="stable")
    axes = _new_axes(min(count, len(order))) if axes is None else np.atleast_1d(axes)
    flat = axes.ravel()
    for ax in flat:
        ax.set_axis_off()
    for ax, j in zip(flat, order, strict=False):
        picture = neurons[j].reshape(height, width)
        largest = max(float(np.abs(picture).max()), 1e-300)
        ax.imshow(picture, cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="nearest")
        ax.set_title(f"{'+' if alpha[j] >= 0 else '-'}{share[j]:.3g}", fontsize="small")
    return axes


def _new_axes(count: int) -> np.ndarray:
    require_matplotlib()
    from matplotlib import pyplot

    columns = min(count, _COLUMNS)
    rows = -(-count // columns)
    return pyplot.subplots(rows, columns, figsize=(1.3 * columns, 1.5 * rows), squeeze=False, layout="constrained")[1]


def plot_spectrum(network: Any, ax: Any = None, *, output: int = 0, floor: float = 1e-10) -> Any:
    """Eigenvalues of Z and Z' of a polynomial network, and the neurons that they decompose into.

    Z = sum over positive alpha_j of alpha_j [u_j; 1][u_j; 1]', Z' the same of the negative ones. Every neuron adds 2
    abs(alpha_j) to the trace, which is drawn beside the eigenvalues, both in falling order.

    Parameters
    ----------
    network : PolynomialNetwork
    ax : matplotlib Axes, optional
        Where to draw; a new figure if not given.
    output : int
        Which output.
    floor : float
        Eigenvalues below this share of the largest one are rounding and left out.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InputError
        If the network is of another kind, has no such output, or is zero there.

    Examples
    --------
    >>> import convexadv as ca
    >>> X, y = [[1, 1], [-1, -1], [1, -1], [-1, 1]], [1, 1, 0, 0]  # exclusive or
    >>> from convexadv.plotting import plot_spectrum
    >>> network = ca.solve(ca.PolynomialProblem(X, y, beta=0.01)).network
    >>> plot_spectrum(network).get_yscale()
    'log'
    """
    if not hasattr(network, "activation"):
        raise InputError(f"plot_spectrum takes polynomial networks, got a {type(network).__name__}.")
    neurons, coefficients = to_numpy(network.neurons), to_numpy(network.coefficients)
    if not 0 <= output < coefficients.shape[1]:
        raise _no_output(output, coefficients)
    alpha = coefficients[:, output].astype(np.float64)
    if not alpha.any():
        raise InputError(f"output {output} of the network is zero; choose another one.")
    lifted = np.column_stack([neurons.astype(np.float64), np.ones(len(neurons))])
    ax = axes_or_new(ax, (6.4, 4.0))
    tidy(ax)
    for name, part, colour, marker in (("Z", alpha > 0, BLUE, "o"), ("Z'", alpha < 0, VERMILION, "s")):
        if not part.any():
            continue
        scaled = lifted[part] * np.sqrt(np.abs(alpha[part]))[:, None]
        values = np.linalg.svd(scaled, compute_uv=False) ** 2
        values = values[values > floor * values[0]]
        traces = np.sort(2.0 * np.abs(alpha[part]))[::-1]
        style = {"color": colour, "marker": marker, "linewidth": 1.4}
        where = np.arange(1, len(traces) + 1)
        own = f"neurons of {name}: 2 |alpha|"
        ax.plot(where, traces, **style, linestyle=":", markerfacecolor="white", markersize=9, label=own)
        ax.plot(np.arange(1, len(values) + 1), values, **style, markersize=4, label=f"eigenvalues of {name}")
    ax.set_yscale("log")
    ax.set(xlabel="number, largest first", ylabel="eigenvalue, share of the trace")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(frameon=False, fontsize="small")
    return ax


def _no_output(output: int, coefficients: np.ndarray) -> InputError:
    return InputError(
        f"output={output} was given; the network has the outputs 0 to {coefficients.shape[1] - 1}: use one."
    )
