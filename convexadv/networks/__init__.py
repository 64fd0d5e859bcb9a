"""Two-layer networks as torch modules: raw inputs in, scores out, with labels and input scaling inside."""

from .gated import GatedReLUNetwork
from .network import Network
from .polynomial import PolynomialNetwork
from .relu import ReLUNetwork

__all__ = ["GatedReLUNetwork", "Network", "PolynomialNetwork", "ReLUNetwork"]
