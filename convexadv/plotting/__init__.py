"""Plots: axes in, axes out. matplotlib is imported when a plot is drawn.

Colours are those of Okabe and Ito, told apart with every kind of colour vision; line styles, markers and
hatches say the same without colour.
"""

from .accuracy import plot_accuracy
from .boundary import plot_boundary
from .candidates import plot_head_report
from .convergence import plot_convergence
from .figure import new_figure, save_figure
from .neurons import plot_neurons, plot_spectrum
from .paths import plot_path, plot_tradeoff
from .patterns import plot_growth, plot_patterns
from .surface import plot_margin_surface

__all__ = [
    "new_figure",
    "plot_accuracy",
    "plot_boundary",
    "plot_convergence",
    "plot_growth",
    "plot_head_report",
    "plot_margin_surface",
    "plot_neurons",
    "plot_path",
    "plot_patterns",
    "plot_spectrum",
    "plot_tradeoff",
    "save_figure",
]
