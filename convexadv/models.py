"""Deep classifiers of images: backbones for convex heads, compression and the notebooks.

Both residual networks take pixels in [0, 1] and normalise them inside, so that an attack is measured in pixels. Their
last part, ``head``, is one linear layer or, with ``hidden``, the two fully connected layers that convex heads replace.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from ._checks import positive_integer
from .errors import InputError

STATISTICS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "mnist": ((0.1307,), (0.3081,)),
    "fashion_mnist": ((0.2860,), (0.3530,)),
}
"""Means and deviations of the channels of the training images; CIFAR-10 as in [KLP24]."""


class Normalise(nn.Module):
    """Shift and scale every channel: (x - mean) / std.

    Parameters
    ----------
    mean, std : sequence of float, one a channel
        In the units of the pixels; std positive.

    Raises
    ------
    InputError
        If the lengths differ or a deviation is not positive.

    Examples
    --------
    >>> import torch
    >>> from convexadv.models import Normalise
    >>> Normalise([0.5], [0.25])(torch.ones(1, 1, 1, 1)).item()
    2.0
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        if len(mean) != len(std) or not all(value > 0 for value in std):
            raise InputError(
                f"mean and std need one entry a channel, std positive; got {tuple(mean)} and {tuple(std)}."
            )
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32)[:, None, None])
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32)[:, None, None])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise images (n, c, h, w)."""
        return (x - self.mean) / self.std


class PreActivationBlock(nn.Module):
    """Batch norm, ReLU and 3 x 3 convolution, twice, beside a shortcut (He et al., ECCV 2016, arXiv 1603.05027).

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    stride : int
        Of the first convolution and of the shortcut.
    """

    def __init__(self, n_in: int, n_out: int, stride: int = 1):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(n_in), nn.BatchNorm2d(n_out)
        self.conv1, self.conv2 = _conv3(n_in, n_out, stride), _conv3(n_out, n_out)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        self.shortcut = nn.Identity() if _same(n_in, n_out, stride) else nn.Conv2d(n_in, n_out, 1, stride, bias=False)
        self.moves = not _same(n_in, n_out, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, n_in, h, w) to (n, n_out, h / stride, w / stride)."""
        active = self.relu1(self.norm1(x))
        kept = self.shortcut(active if self.moves else x)
        return self.conv2(self.relu2(self.norm2(self.conv1(active)))) + kept


class Block(nn.Module):
    """3 x 3 convolution, batch norm and ReLU, twice, beside a shortcut (He et al., CVPR 2016, arXiv 1512.03385).

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    stride : int
        Of the first convolution and of the shortcut.
    """

    def __init__(self, n_in: int, n_out: int, stride: int = 1):
        super().__init__()
        self.conv1, self.conv2 = _conv3(n_in, n_out, stride), _conv3(n_out, n_out)
        self.norm1, self.norm2 = nn.BatchNorm2d(n_out), nn.BatchNorm2d(n_out)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        self.shortcut = (
            nn.Identity()
            if _same(n_in, n_out, stride)
            else nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, n_in, h, w) to (n, n_out, h / stride, w / stride)."""
        return self.relu2(self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(x))))) + self.shortcut(x))


class ResidualNetwork(nn.Module):
    """A residual network for small images: ``features`` maps pixels to a vector, ``head`` the vector to scores.

    Parameters
    ----------
    block : type
        :class:`PreActivationBlock` or :class:`Block`.
    blocks : sequence of int
        Blocks of every stage; the stages double the channels and, after the first, halve the sides.
    width : int
        Channels of the first stage; 64 is the published network.
    n_classes : int
        Number of scores.
    channels : int
        Of the images.
    hidden : int, optional
        Neurons of a hidden layer between features and scores; none by default.
    mean, std : sequences of float, optional
        Normalisation of the channels; none by default.

    Raises
    ------
    InputError
        If a size is not a positive whole number.

    Examples
    --------
    >>> import torch
    >>> from convexadv.models import Block, ResidualNetwork
    >>> model = ResidualNetwork(Block, (1, 1), width=4, n_classes=3, channels=1)
    >>> model(torch.zeros(2, 1, 8, 8)).shape, model.features(torch.zeros(2, 1, 8, 8)).shape
    (torch.Size([2, 3]), torch.Size([2, 8]))
    """

    def __init__(
        self,
        block: type[nn.Module],
        blocks: Sequence[int] = (2, 2, 2, 2),
        width: int = 64,
        n_classes: int = 10,
        channels: int = 3,
        hidden: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ):
        super().__init__()
        _check_sizes(width=width, n_classes=n_classes, channels=channels, hidden=1 if hidden is None else hidden)
        early = block is PreActivationBlock
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        if mean is not None and std is not None:
            parts["normalise"] = Normalise(mean, std)
        parts["stem"] = _conv3(channels, width)
        if not early:
            parts["stem_norm"], parts["stem_relu"] = nn.BatchNorm2d(width), nn.ReLU()
        n_in = width
        for stage, count in enumerate(blocks):
            n_out, stride = width << stage, 1 if stage == 0 else 2
            sequence = [block(n_in if k == 0 else n_out, n_out, stride if k == 0 else 1) for k in range(count)]
            parts[f"stage{stage + 1}"], n_in = nn.Sequential(*sequence), n_out
        if early:
            parts["norm"], parts["relu"] = nn.BatchNorm2d(n_in), nn.ReLU()
        parts["pool"], parts["flatten"] = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.features = nn.Sequential(parts)
        self.head: nn.Module = _head(n_in, n_classes, hidden)
        _initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores (n, n_classes) of images (n, channels, h, w) in [0, 1]."""
        return self.head(self.features(x))


def PreActResNet18(**settings: Any) -> ResidualNetwork:
    """Build a pre-activation ResNet-18 for small images (He et al., ECCV 2016, arXiv 1603.05027).

    Parameters
    ----------
    **settings
        Of :class:`ResidualNetwork`: width (64; 16 trains on a CPU), n_classes, channels, hidden, mean, std.

    Returns
    -------
    ResidualNetwork

    Examples
    --------
    >>> from convexadv.models import STATISTICS, PreActResNet18
    >>> mean, std = STATISTICS["cifar10"]
    >>> sum(p.numel() for p in PreActResNet18(mean=mean, std=std).parameters())
    11172170
    """
    return ResidualNetwork(PreActivationBlock, **settings)


def ResNet18(**settings: Any) -> ResidualNetwork:
    """Build a ResNet-18 for small images (He et al., CVPR 2016, arXiv 1512.03385).

    Parameters
    ----------
    **settings
        Of :class:`ResidualNetwork`: width (64; 16 trains on a CPU), n_classes, channels, hidden, mean, std.

    Returns
    -------
    ResidualNetwork

    Examples
    --------
    >>> from convexadv.models import ResNet18
    >>> sum(p.numel() for p in ResNet18().parameters())
    11173962
    """
    return ResidualNetwork(Block, **settings)


class SmallCNN(nn.Module):
    """Two strided convolutions and two fully connected layers: a network that trains within seconds.

    Parameters
    ----------
    width : int
        Channels of the first convolution; the second has twice as many.
    n_classes : int
        Number of scores.
    channels, side : int
        Of the images, side x side pixels.
    hidden : int
        Neurons of the hidden layer.

    Raises
    ------
    InputError
        If a size is not a positive whole number.

    Examples
    --------
    >>> import torch
    >>> from convexadv.models import SmallCNN
    >>> SmallCNN(width=4, n_classes=3, channels=1, side=8)(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 3])
    """

    def __init__(self, width: int = 16, n_classes: int = 10, channels: int = 1, side: int = 28, hidden: int = 64):
        super().__init__()
        _check_sizes(width=width, n_classes=n_classes, channels=channels, side=side, hidden=hidden)
        small = (side + 3) // 4  # two strides of two, each rounded up
        self.features = nn.Sequential(
            nn.Conv2d(channels, width, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.head = _head(2 * width * small * small, n_classes, hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores (n, n_classes) of images (n, channels, side, side)."""
        return self.head(self.features(x))


MODELS: dict[str, Callable[..., nn.Module]] = {
    "preactresnet18": PreActResNet18,
    "resnet18": ResNet18,
    "smallcnn": SmallCNN,
}
"""Architectures by name, for commands."""


def _same(n_in: int, n_out: int, stride: int) -> bool:
    return n_in == n_out and stride == 1


def _conv3(n_in: int, n_out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)


def _head(n_in: int, n_classes: int, hidden: int | None) -> nn.Module:
    if hidden is None:
        return nn.Linear(n_in, n_classes)
    return nn.Sequential(nn.Linear(n_in, hidden), nn.ReLU(), nn.Linear(hidden, n_classes))


def _initialise(model: nn.Module) -> None:
    """Normal weights with variance 2 / fan-out for convolutions (He et al., ICCV 2015, arXiv 1502.01852)."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _check_sizes(**sizes: int) -> None:
    for name, value in sizes.items():
        positive_integer(name, value)
