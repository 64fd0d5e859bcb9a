"""Is an attack fooled? Checks that a model's gradients show what they should, with a verdict."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from .._arrays import Array, to_numpy
from .._atomic import write_json
from .._checks import number, positive_integer
from ..errors import InputError
from ..robustness import attack
from .black_box import BlackBox, broken_by_transfer
from .surface import MarginSurface, margin_surface

EFFORTS = (1, 2, 5)
GROWTH = (2, 4)
_WHITE = "pgd x5"


@dataclass(frozen=True, eq=False, repr=False)
class MaskingReport:
    """Result of :func:`check_masking`.

    Attributes
    ----------
    norm, radius, rows
        Ball and number of rows.
    settings : dict
        steps, restarts, queries, draws, allowance.
    accuracy : dict
        Accuracy after every attack, by name: clean, fgsm, "pgd x1", "pgd x2", "pgd x5" (so many times the steps and
        the starts), "pgd radius x2", "pgd radius x4", random, square (linf only), "transfer NAME".
    beyond : dict
        For every attack without gradients: the fraction of rows that it breaks and "pgd x5" does not.
    gradient_drop, random_drop : float
        Mean fall of the margin over a tenth of the radius, along the steepest and along a random direction.
    findings : list of str
        What speaks for masked gradients, a sentence each.
    surface : MarginSurface
        Margins along the two directions, for a plot.
    """

    norm: str
    radius: float
    rows: int
    settings: dict[str, Any]
    accuracy: dict[str, float]
    beyond: dict[str, float]
    gradient_drop: float
    random_drop: float
    findings: list[str]
    surface: MarginSurface

    @property
    def masked(self) -> bool:
        """Whether anything speaks for masked gradients."""
        return bool(self.findings)

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.findings:
            return f"The attack may be fooled: {'; '.join(self.findings)}."
        return (
            "No sign of masked gradients: more effort never hurts the attack, and nothing without gradients beats it."
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it as numbers, lists and text.

        Returns
        -------
        dict
        """
        found = asdict(self) | {"masked": self.masked, "verdict": self.verdict}
        found["surface"] = {name: np.asarray(value).tolist() for name, value in found["surface"].items()}
        return found

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write :meth:`to_dict` to a JSON file, which is replaced only when the new one is complete.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        InputError
            If the file cannot be created.
        """
        write_json(path, self.to_dict())

    def __str__(self) -> str:
        width = max(map(len, self.accuracy))
        lines = [f"{self.norm} balls of radius {self.radius:g}, {self.rows} rows; accuracy in %"]
        for name, value in self.accuracy.items():
            more = f"   breaks {100 * self.beyond[name]:.1f} % beyond {_WHITE}" if name in self.beyond else ""
            lines.append(f"{name:<{width}}  {100 * value:5.1f}{more}")
        drops = f"{self.gradient_drop:.3g} along the gradient, {self.random_drop:.3g} along a random direction"
        return "\n".join([*lines, f"fall of the margin over a tenth of the radius: {drops}", self.verdict])


def check_masking(
    model: torch.nn.Module,
    X: Array,
    y: Any,
    radius: float,
    norm: str = "linf",
    bounds: tuple[Any, Any] | None = None,
    *,
    steps: int = 20,
    restarts: int = 1,
    queries: int = 1000,
    draws: int = 100,
    transfer: Mapping[str, torch.nn.Module] | None = None,
    allowance: float = 0.005,
    batch_size: int = 256,
    random_state: int = 0,
) -> MaskingReport:
    """Check that a model is robust, and not only hard to attack by gradients.

    Signs of masked gradients (Athalye, Carlini, Wagner, ICML 2018, arXiv 1802.00420; Carlini et al., arXiv 1902.06705)
    that are looked for: more steps and starts break fewer rows; a larger ball is not easier to attack; one step breaks
    more than many; random points, the Square attack or points from other models break rows that gradients do not; the
    margin does not fall faster along the gradient than along a random direction. None of these proves robustness: a
    certificate does.

    Parameters
    ----------
    model : torch.nn.Module
        Any classifier, as of :func:`convexadv.attack`.
    X : array or tensor (n, ...)
        Inputs.
    y : array-like (n,)
        Labels.
    radius : float
        Of the balls, in the units of X; positive.
    norm : {"linf", "l2", "l1"}
        The Square attack is made in linf only.
    bounds : tuple (low, high), optional
        Box of the inputs.
    steps, restarts : int
        Of PGD at effort 1; both are doubled, and multiplied by 5.
    queries : int
        Of the Square attack, for each row.
    draws : int
        Random points of every ball.
    transfer : dict of torch.nn.Module, optional
        Other models for the same inputs and labels, by name, whose adversarial points are tried on this one.
    allowance : float
        Fraction of the rows that a comparison may be off by chance; at least one row.
    batch_size : int
        Rows at a time.
    random_state : int
        Seed of all that is random.

    Returns
    -------
    MaskingReport

    Raises
    ------
    InputError
        As :func:`convexadv.attack`; if the radius is not positive.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from convexadv.heads import check_masking
    >>> model = torch.nn.Linear(4, 3).requires_grad_(False)
    >>> _ = model.weight.copy_(torch.eye(3, 4)), model.bias.zero_()
    >>> X = np.random.default_rng(0).normal(size=(50, 4))
    >>> report = check_masking(model, X, X[:, :3].argmax(1), radius=0.2, queries=50, draws=10)
    >>> print(report.verdict)
    No sign of masked gradients: more effort never hurts the attack, and nothing without gradients beats it.
    """
    size = number("radius", radius)
    if not size > 0:
        raise InputError("radius is 0; a positive one is needed, for there is nothing to attack.")
    draws, queries = positive_integer("draws", draws), positive_integer("queries", queries)
    options: dict[str, Any] = {"bounds": bounds, "batch_size": batch_size, "random_state": random_state}

    def pgd(times: float, effort: int) -> np.ndarray:
        budget: dict[str, Any] = {"steps": effort * steps, "restarts": effort * restarts}
        return to_numpy(attack(model, X, y, times * size, norm, **budget, **options).success)

    broken = {
        "clean": to_numpy(attack(model, X, y, 0.0, norm, "fgsm", **options).success),
        "fgsm": to_numpy(attack(model, X, y, size, norm, "fgsm", **options).success),
        **{f"pgd x{effort}": pgd(1, effort) for effort in EFFORTS},
        **{f"pgd radius x{times}": pgd(times, 1) for times in GROWTH},
    }
    box = BlackBox(model, X, y, size, norm, bounds, batch_size, random_state)
    without = {"random": box.random(draws)}
    if norm == "linf":
        without["square"] = box.square(queries)
    for name, source in (transfer or {}).items():
        budget = {"steps": EFFORTS[-1] * steps, "restarts": restarts}
        without[f"transfer {name}"] = broken_by_transfer(model, source, X, y, size, norm, **budget, **options)
    beyond = {name: float((found & ~broken[_WHITE]).mean()) for name, found in without.items()}
    surface = margin_surface(model, X, y, size, norm, bounds, random_state=random_state)
    accuracy = {name: float(1.0 - found.mean()) for name, found in {**broken, **without}.items()}
    n = len(broken["clean"])
    slack = max(1.5 / n, number("allowance", allowance) + 1e-12)
    settings = {"steps": steps, "restarts": restarts, "queries": queries, "draws": draws, "allowance": allowance}
    findings = _findings(accuracy, beyond, surface, slack)
    drops = surface.gradient_drop, surface.random_drop
    return MaskingReport(norm, size, n, settings, accuracy, beyond, *drops, findings, surface)


def _findings(accuracy: dict[str, float], beyond: dict[str, float], surface: MarginSurface, slack: float) -> list[str]:
    """Comparisons that should not come out as they did."""
    orders = [
        ("pgd x1", "pgd x2", "twice the steps and starts break fewer rows"),
        ("pgd x2", "pgd x5", "five times the steps and starts break fewer rows than twice"),
        ("fgsm", "pgd x1", "one step breaks more rows than many"),
        ("pgd x1", "pgd radius x2", "a ball of twice the radius is harder to attack"),
        ("pgd radius x2", "pgd radius x4", "a ball of four times the radius is harder to attack than of twice"),
    ]
    found = [text for weak, strong, text in orders if accuracy[strong] > accuracy[weak] + slack]
    found += [
        f"{name} breaks rows that {_WHITE} does not, {100 * share:.1f} % of all"
        for name, share in beyond.items()
        if share > slack
    ]
    if surface.flat > slack:
        found.append(f"the gradient is zero at {100 * surface.flat:.1f} % of the rows")
    if not surface.gradient_drop > max(surface.random_drop, 0.0):
        found.append("the margin does not fall faster along the gradient than along a random direction")
    return found
