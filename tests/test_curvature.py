"""The Gauss-Newton preconditioner against dense matrices built by automatic differentiation."""

import numpy as np
import pytest
import torch

import convexadv as ca
from convexadv.solvers import curvature
from convexadv.solvers.model import ComponentModel, Neurons, Smoothing
from convexadv.solvers.sweeps import Sweeps, side_by_side
from convexadv.solvers.works import Evaluate, Margins

SETTINGS = [
    {"loss": "hinge", "radius": 0.2},
    {"loss": "hinge", "radius": 0.0},
    {"loss": "squared_hinge", "radius": 0.2, "scale": np.linspace(0.2, 1.5, 5)},
    {"loss": "logistic", "radius": 0.1, "clean_weight": 0.4},
    {"loss": "squared", "radius": 0.1},
    {"loss": "hinge", "radius": 0.1, "multiclass": "joint"},
]


def _point(settings, n=40, m=3):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(n, 5))
    joint = settings.get("multiclass") == "joint"
    y = rng.normal(size=n) if settings["loss"] == "squared" else rng.integers(0, 3 if joint else 2, n)
    problem = ca.PolynomialProblem(X, y, beta=0.03, **settings)
    sweeps = Sweeps(problem, torch.device("cpu"), torch.float64)
    model = ComponentModel(problem, 0, torch.device("cpu"))
    outputs = torch.as_tensor(rng.integers(0, len(model.component.outputs), m))
    neurons = Neurons(torch.as_tensor(rng.normal(size=(m, 5))), torch.as_tensor([1.0, -1.0, 1.0])[:m], outputs)
    centres = [
        [
            torch.full((terms.k, terms.g), 0.3, dtype=torch.float64) if kind.centred else None
            for kind, terms in zip(model.kinds, chunk.terms[0], strict=True)
        ]
        for chunk in sweeps.chunks
    ]
    smoothing = Smoothing(centres, 0.7, 1.0, 0.0)
    ((_, _, multipliers),) = sweeps.serve([Evaluate(model, neurons, smoothing)])
    return sweeps, model, neurons, smoothing, multipliers


def _preconditioner(sweeps, model, neurons, smoothing, multipliers):
    found = []

    def job():
        found.append((yield from curvature.preconditioner(model, neurons, smoothing, multipliers)))

    side_by_side(sweeps, [job()])
    return found[0]


def _dense(sweeps, model, neurons, smoothing, _):
    """sum_g p dz/du J J' + 2 beta I, J by automatic differentiation, dz/du by central differences."""
    a, b, c = model.problem.activation
    X = torch.as_tensor(model.problem.rows.whole())
    total = 2.0 * model.problem.beta * torch.eye(neurons.vectors.numel(), dtype=torch.float64)
    (margins,) = sweeps.serve([Margins(model, neurons)])
    forms, _ = model.forms(neurons)
    for number, terms in sweeps.chunks[0].present(0):
        centre, margin = smoothing.centres[0][number], margins[0][number]
        rows = torch.arange(terms.g) if terms.row is None else terms.row
        for k in range(terms.k):
            shift = torch.zeros(terms.g, X.shape[1], dtype=torch.float64)
            for part in forms.worst_case(X @ forms.neurons.T, terms).samples:
                groups = slice(None) if part.groups is None else part.groups
                shift[groups] = part.coordinates[0, k] @ part.basis
            x = X[rows] + (shift if model.scale is None else shift * model.scale)
            directions = model.directions[terms.direction[k]]

            def margin_of(vectors, x=x, k=k, terms=terms, directions=directions):
                lengths = vectors.norm(dim=1)
                p = x @ vectors.T
                values = neurons.signs * (a * p * p + b * lengths * p + c * lengths**2)
                return terms.sign[k] * (values * directions[:, neurons.outputs]).sum(1)

            J = torch.autograd.functional.jacobian(margin_of, neurons.vectors).flatten(1)
            u, step = terms.offset - margin, 1e-6
            mu = smoothing.weight(model.kinds[number])
            moved = torch.zeros_like(u)
            moved[k] = step
            high, low = (terms.loss.multipliers(u + side * moved, centre, mu)[1][k] for side in (1, -1))
            total = total + J.T @ ((terms.weight * (high - low) / (2 * step))[:, None] * J)
    return total


@pytest.mark.parametrize("settings", SETTINGS[:4] + SETTINGS[5:], ids=str)
@pytest.mark.parametrize("rows_first", [True, False])
def test_inverts_the_gauss_newton_matrix(settings, rows_first, monkeypatch):
    point = _point(settings)
    dense = _dense(*point)
    ways = {True: curvature._through_rows, False: curvature._through_neurons}
    for name in ("_through_rows", "_through_neurons"):
        monkeypatch.setattr(curvature, name, ways[rows_first])
    apply = _preconditioner(*point)
    r = torch.as_tensor(np.random.default_rng(1).normal(size=dense.shape[0]))
    assert torch.allclose(dense @ apply(r), r, atol=1e-6)


def test_is_symmetric_and_positive_for_regression():
    point = _point(SETTINGS[4])
    apply = _preconditioner(*point)
    columns = torch.stack([apply(e) for e in torch.eye(15, dtype=torch.float64)])
    assert torch.allclose(columns, columns.T, atol=1e-10)
    assert float(torch.linalg.eigvalsh(columns).min()) > 0


def test_without_curved_rows_the_penalty_remains():
    *point, multipliers = _point(SETTINGS[0])
    ones = [[torch.ones_like(z) for z in chunk] for chunk in multipliers]
    r = torch.ones(15, dtype=torch.float64)
    assert torch.allclose(_preconditioner(*point, ones)(r), r / 0.06)


def test_refuses_what_costs_more_than_it_saves(monkeypatch):
    point = _point(SETTINGS[0])
    monkeypatch.setattr(curvature, "_FREE", 0.0)
    monkeypatch.setattr(curvature, "_WORTH", 1e-6)
    assert _preconditioner(*point) is None
