"""Networks of one layer of neurons and one of coefficients."""

from __future__ import annotations

import torch

from .network import Network


class TwoLayerNetwork(Network):
    """What polynomial and ReLU networks share: neurons (m, d) and coefficients (m, C), and so their sizes.

    Not to be used by itself.
    """

    neurons: torch.nn.Parameter
    coefficients: torch.nn.Parameter

    @property
    def n_neurons(self) -> int:
        """Number of neurons m."""
        return self.neurons.shape[0]

    @property
    def n_features(self) -> int:
        """Number of input features d."""
        return self.neurons.shape[1]

    @property
    def n_outputs(self) -> int:
        """Number of outputs C: 1 for two classes or one target."""
        return self.coefficients.shape[1]
