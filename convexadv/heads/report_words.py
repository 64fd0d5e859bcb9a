"""What a report of a head says of its rows, its scaling and its ball."""

from __future__ import annotations

from .perturbed import InputAttack
from .setup import Setup

SCALINGS = {
    "standard": "mean 0, equal deviations, root mean square norm 1",
    "norm": "mean 0, one factor, root mean square norm 1",
    None: "none",
}
"""Scalings of features in words."""


def sizes_of(setup: Setup, training_rows: int, all_rows: int, neurons: int) -> dict[str, int]:
    """How many there are of everything that is counted."""
    return {
        "features": setup.tap.n_features,
        "classes": len(setup.classes),
        "available_rows": len(setup.training),
        "training_rows": training_rows,
        "extra_rows": all_rows - training_rows,
        "validation_rows": 0 if setup.validation is None else len(setup.validation),
        "neurons": neurons,
    }


def ball_in_words(ball: str, norm: str, attack: InputAttack | None) -> str:
    """The ball of a head, with the units of its radius."""
    if ball == "sphere" or attack is None:
        return f"{norm}, radius in units of the scaled features"
    return (
        f"{norm}, axes as features move under {attack.norm} attacks of {attack.radius:g}; radius 1 is the root mean square "
        "movement"
    )
