r"""Exact extremes of quadratics on balls and spheres: the S-procedure oracle.

One scalar secular equation a row, all rows at once. The oracle serves training, certificates and distances, in NumPy and
in torch. Sources: More and Sorensen (1983) for the equation, [KLP24] for its use in adversarial training.
"""

from .ball import BallMinimum, ball_minimum
from .level import LevelDistance, level_distance
from .smooth import SmoothMinimum, smooth_ball_minimum
from .sphere import SphereMaximum, sphere_extremes

__all__ = [
    "BallMinimum",
    "LevelDistance",
    "SmoothMinimum",
    "SphereMaximum",
    "ball_minimum",
    "level_distance",
    "smooth_ball_minimum",
    "sphere_extremes",
]
