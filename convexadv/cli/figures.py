"""Figures of the command line: plots arranged in files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..networks import Network
from ..plotting import (
    new_figure,
    plot_accuracy,
    plot_boundary,
    plot_convergence,
    plot_growth,
    plot_patterns,
    save_figure,
)
from ..robustness import RobustAccuracy
from .measure import AccuracyCurve


def convergence_figure(solutions: Sequence[tuple[str, Any]], tol: float, path: str) -> None:
    """Bounds over time of one solve or of several, side by side."""
    figure, axes = new_figure(len(solutions), (6.2 * len(solutions), 4.6))
    for ax, (title, solution) in zip(axes, solutions, strict=True):
        plot_convergence(solution, ax, tol)
        ax.set_title(title)
    save_figure(figure, path)


def patterns_figure(solution: Any, growth: Any, tol: float, path: str) -> None:
    """Active blocks and gap of a solve over time, beside the growth of the patterns if there was any."""
    panels = 1 if growth is None else 2
    figure, axes = new_figure(panels, (6.2 * panels, 4.6))
    if solution.history:
        plot_patterns(solution, axes[0], tol)
        axes[0].set_title("the last solve")
    if growth is not None:
        plot_growth(growth, axes[-1])
        axes[-1].set_title("growing the patterns")
    save_figure(figure, path)


def accuracy_figure(curves: dict[str, dict[str, AccuracyCurve]], path: str) -> None:
    """Accuracy against the radius, one panel a norm."""
    figure, axes = new_figure(len(curves), (5.4 * len(curves), 4.6))
    for ax, (norm, parts) in zip(axes, curves.items(), strict=True):
        plot_accuracy(parts, ax, f"{norm} radius, in the units of the scaled rows")
        ax.set_title(f"{norm} balls")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    save_figure(figure, path)


def radii_figure(result: RobustAccuracy, path: str, xlabel: str) -> None:
    """Accuracy of one network against the radius, with what is unknown."""
    figure, (ax,) = new_figure(1, (6.4, 4.6))
    plot_accuracy({"": result}, ax, xlabel)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    save_figure(figure, path)


def boundary_figure(
    networks: Sequence[tuple[str, Network]],
    X: np.ndarray,
    y: np.ndarray,
    radius: float,
    norm: str,
    names: Sequence[str],
    path: str,
) -> None:
    """Decision boundaries of networks on the same rows, radius in their scaled units."""
    figure, axes = new_figure(len(networks), (5.2 * len(networks) + 0.6, 5.2))
    for ax, (title, network) in zip(axes, networks, strict=True):
        plot_boundary(network, X, y, radius, ax, scale=network.scale, norm=norm, names=names)
        ax.set_title(f"{title}\n{ax.get_title()}" if title else ax.get_title())
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=len(labels) if len(networks) > 1 else 2,
        frameon=False,
    )
    save_figure(figure, path)
