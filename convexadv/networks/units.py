"""A network in other units of its inputs."""

from __future__ import annotations

from typing import Any

from .network import AnyNetwork


def with_inputs(network: AnyNetwork, shift: Any, scale: Any) -> AnyNetwork:
    """The network with another input scaling: x -> f((x - shift) / scale), f that of its weights alone.

    Parameters
    ----------
    network : Network
        Of any kind. Its own shift and scale are not used.
    shift, scale : (d,)
        In the units of the inputs that the result takes.

    Returns
    -------
    Network
        A copy of the same kind, with the classes and the metadata of ``network``.
    """
    return network._with(shift=shift, scale=scale)


def in_units(network: AnyNetwork, shift: Any, scale: Any) -> AnyNetwork:
    """The network as a function of z = (x - shift) / scale, so that in_units(f)(z) = f(x).

    With the network's own shift and scale the result takes the rows that its weights see. An ellipsoid
    ||delta / scale|| <= r around x is a ball of radius r around z.

    Parameters
    ----------
    network : Network
        Of any kind.
    shift, scale : tensor (d,)
        In the units of x.

    Returns
    -------
    Network
        A copy of the same kind.
    """
    return with_inputs(network, (network.shift - shift) / scale, network.scale / scale)
