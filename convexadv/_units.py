"""A polynomial network in other units of its inputs."""

from __future__ import annotations

from typing import Any

from .networks import PolynomialNetwork


def with_inputs(network: PolynomialNetwork, shift: Any, scale: Any) -> PolynomialNetwork:
    """The network with another input scaling: x -> f((x - shift) / scale), f that of its weights alone.

    Parameters
    ----------
    network : PolynomialNetwork
        Its own shift and scale are not used.
    shift, scale : (d,)
        In the units of the inputs that the result takes.

    Returns
    -------
    PolynomialNetwork
        A copy, with the classes and the metadata of ``network``.
    """
    copy = PolynomialNetwork(
        network.neurons,
        network.coefficients,
        network.activation,
        shift,
        scale,
        network.classes,
        unit_tolerance=1e-6,  # the rows were checked when the network was built
    )
    copy.metadata = dict(network.metadata)
    return copy


def in_units(network: PolynomialNetwork, shift: Any, scale: Any) -> PolynomialNetwork:
    """The network as a function of z = (x - shift) / scale, so that in_units(f)(z) = f(x).

    With the network's own shift and scale the result takes the rows that its weights see. An ellipsoid
    ||delta / scale|| <= r around x is a ball of radius r around z.

    Parameters
    ----------
    network : PolynomialNetwork
    shift, scale : tensor (d,)
        In the units of x.

    Returns
    -------
    PolynomialNetwork
    """
    return with_inputs(network, (network.shift - shift) / scale, network.scale / scale)
