"""What was done to make a robust head, what came out, and how long it took."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from typing import Any

from .._atomic import write_json
from .._json import plain


@dataclass(frozen=True, eq=False, repr=False)
class HeadReport:
    """Report of :func:`convexadv.robustify`.

    Attributes
    ----------
    head : str
        "polynomial", "relu" or "gated-relu".
    tap : str
        Which feature of the model the head works on.
    tail : str
        What was done with the layers behind the feature.
    sizes : dict
        features, classes, available_rows (training inputs), training_rows (those whose features the head was trained
        on), extra_rows (attacked and augmented ones beside them), validation_rows, neurons.
    scaling : str
        Of the features, in words.
    ball : str
        Of the head, in words, with the units of its radius.
    chosen : dict
        The candidate that was chosen.
    candidates : list of dict
        All that were tried: n_gates, radius, beta_share, beta, objective, lower_bound, gap, status, neurons, seconds
        (of the solve), clean, attacked (accuracies on the validation inputs, None where these were not measured).
    gap : float
        Certified relative gap of the chosen head.
    class_gaps : list of float or None
        That of every output of a one-vs-rest head.
    attack : dict or None
        Of the validation inputs: radius (in units of the inputs), norm, bounds, method, steps, restarts, random_state,
        batch_size.
    before, after : dict
        clean and attacked accuracy on the validation inputs of the model that was given, and with the new head.
    seconds : dict
        extraction (of features), perturbation (attacks on training inputs, augmentation, and the features of these),
        solve (all candidates, thresholds included), selection (attacks on the validation inputs), total.

    Examples
    --------
    >>> import numpy as np, torch
    >>> import convexadv as ca
    >>> X = np.random.default_rng(0).normal(size=(60, 2)).astype("float32")
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 9), torch.nn.Tanh(), torch.nn.Linear(9, 2))
    >>> report = ca.robustify(model, (X, (X[:, 0] > 0).astype(int)), validation=None, at="1").report
    >>> report.tail, report.sizes["features"], report.gap <= 1e-3
    ('removed from the copy of the model: 2', 9, True)
    """

    head: str
    tap: str
    tail: str
    sizes: dict[str, int]
    scaling: str
    ball: str
    chosen: dict[str, Any]
    candidates: list[dict[str, Any]]
    gap: float
    class_gaps: list[float] | None
    attack: dict[str, Any] | None
    before: dict[str, float | None]
    after: dict[str, float | None]
    seconds: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """All of it as numbers, lists and text; numbers that are not finite become None.

        Returns
        -------
        dict
        """
        return dict(plain(asdict(self)))

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

    def __repr__(self) -> str:
        return f"HeadReport(head={self.head!r}, gap={self.gap:.1e}, candidates={len(self.candidates)})"

    def __str__(self) -> str:
        sizes = self.sizes
        extra = f" and {sizes['extra_rows']} extra rows" if sizes["extra_rows"] else ""
        subset = "" if sizes["training_rows"] == sizes["available_rows"] else f" of {sizes['available_rows']}"
        worst = "" if self.class_gaps is None else f", of the worst class {max(self.class_gaps):.1e}"
        lines = [
            ("head", f"{self.head}, {sizes['neurons']} neurons, {sizes['classes']} classes"),
            ("feature", self.tap),
            ("tail", self.tail),
            ("trained on", f"{sizes['training_rows']}{subset} rows{extra}"),
            ("scaling", self.scaling),
            ("ball", self.ball),
            ("gap", f"{self.gap:.1e}{worst}"),
            ("accuracy", f"before {_accuracies(self.before)}; after {_accuracies(self.after)}"),
            ("seconds", ", ".join(f"{name} {value:.3g}" for name, value in self.seconds.items())),
        ]
        if self.attack is not None:
            attack = f"{self.attack['method']}, {self.attack['norm']} {self.attack['radius']:g}, {self.attack['steps']} steps"
            lines.append(("attack", f"{attack}, {sizes['validation_rows']} validation rows"))
        return "\n".join([*(f"{name:<11} {text}" for name, text in lines), self._table()])

    def _table(self) -> str:
        head = ["", "gates", "radius", "beta", "gap", "neurons", "status", "seconds", "clean", "attacked"]
        body = [
            [
                "*" if row is self.chosen else "",
                "-" if row["n_gates"] is None else str(row["n_gates"]),
                f"{row['radius']:g}",
                f"{row['beta']:.3g}",
                f"{row['gap']:.1e}",
                str(row["neurons"]),
                row["status"],
                f"{row['seconds']:.3g}",
                _percent(row["clean"]),
                _percent(row["attacked"]),
            ]
            for row in self.candidates
        ]
        lines = [head, *body]
        widths = [max(len(line[j]) for line in lines) for j in range(len(head))]
        return "\n".join("  ".join(map(str.rjust, line, widths)) for line in lines)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _accuracies(values: dict[str, float | None]) -> str:
    return ", ".join(f"{name} {_percent(value)}{'' if value is None else ' %'}" for name, value in values.items())
