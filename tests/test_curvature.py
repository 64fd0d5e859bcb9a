"""The preconditioners against dense matrices built by automatic differentiation and row by row from the formulas."""

import numpy as np
import pytest
import torch
from test_checkpoint import problem

import convexadv as ca
from convexadv.solvers.polynomial import ball_curvature, ball_curvature_inverse, columns, curvature, solver, sweeps
from convexadv.solvers.polynomial.model import ComponentModel, Neurons, Point, Smoothing
from convexadv.solvers.polynomial.requests import Evaluate, Margins, Price
from convexadv.solvers.polynomial.sweeps import Sweeps, side_by_side

SETTINGS = [
    {"loss": "hinge", "radius": 0.2},
    {"loss": "hinge", "radius": 0.0},
    {"loss": "squared_hinge", "radius": 0.2, "scale": np.linspace(0.2, 1.5, 5)},
    {"loss": "logistic", "radius": 0.1, "clean_weight": 0.4},
    {"loss": "squared", "radius": 0.1},
    {"loss": "hinge", "radius": 0.1, "multiclass": "joint"},
]


NU = 0.01
BALLS = [
    {"loss": "hinge", "radius": 0.2},
    {"loss": "hinge", "radius": np.linspace(0.0, 0.3, 40)},
    {"loss": "logistic", "radius": 0.1, "clean_weight": 0.4},
    {"loss": "squared", "radius": 0.1},
    {"loss": "squared_hinge", "radius": 0.2, "scale": np.linspace(0.2, 1.5, 5)},
]
WAYS = {"dense": (0.0, np.inf), "split": (np.inf, 0.0)}


def _point(settings, n=40, m=3, nu=0.0):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(n, 5))
    joint = settings.get("multiclass") == "joint"
    y = rng.normal(size=n) if settings["loss"] == "squared" else rng.integers(0, 3 if joint else 2, n)
    problem = ca.PolynomialProblem(X, y, **{"beta": 0.03, **settings})
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
    smoothing = Smoothing(centres, 0.7, 1.0, nu)
    ((_, _, multipliers),) = sweeps.serve([Evaluate(model, neurons, smoothing)])
    return sweeps, model, neurons, smoothing, multipliers


def _preconditioner(sweeps, model, neurons, smoothing, multipliers, whole=True, moment=None):
    found = []

    def job():
        found.append((yield from curvature.preconditioner(model, neurons, smoothing, multipliers, whole, moment)))

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


def _moment(sweeps, model, neurons, smoothing, multipliers):
    (((moment,), _, _),) = sweeps.serve([Price(model, Point(neurons, smoothing.nu, multipliers))])
    return moment


def _multiplier(eigenvalues, pull, radius):
    """The root t of r^2 = sum g^2/(B+t)^2 + nu sum 1/(B+t) + nu/t, by bisection."""
    low = max(0.0, -eigenvalues.min())
    high = low + 1e6
    for _ in range(200):
        t = 0.5 * (low + high)
        inverse = 1.0 / (eigenvalues + t)
        size = (pull**2 * inverse**2).sum() + NU * inverse.sum() + NU / t
        low, high = (t, high) if size > radius**2 else (low, t)
    return t


def _balls(sweeps, model, neurons, _, multipliers):
    """sum p z (-d2w) and sum p dz/du J'J without the latter's weights: the formulas of ball_curvature row by row, in R^d."""
    a, b, _c = model.problem.activation
    V, s = neurons.vectors.numpy(), neurons.signs.numpy()
    m, d = V.shape
    X, D = model.problem.rows.whole(), np.ones(d) if model.scale is None else model.scale.numpy()
    L, total = np.linalg.norm(V, axis=1), np.zeros((m * d, m * d))
    form = a * (D * V).T @ (s[:, None] * (D * V))
    span = np.linalg.qr((D * V).T)[0]
    small, turn = np.linalg.eigh(span.T @ form @ span)
    basis = np.linalg.qr(np.hstack([span @ turn, np.eye(d)]))[0][:, :d]
    basis[:, :m] = span @ turn
    for chunk, parts in zip(sweeps.chunks, multipliers, strict=True):
        for number, terms in chunk.present(0):
            for k in range(terms.k):
                for g in range(terms.g):
                    radius, weight = float(terms.radius[g]), float(terms.weight[g] * parts[number][k, g])
                    if radius == 0 or weight <= 0:
                        continue
                    x = X[chunk.place][g if terms.row is None else int(terms.row[g])]
                    sign = float(terms.sign[k, g])
                    pull = 0.5 * sign * basis.T @ (D * (V.T @ (s * (2 * a * V @ x + b * L))))
                    t = _multiplier(sign * small, pull[:m], radius)
                    inverse = 1.0 / (np.append(sign * small, np.zeros(d - m)) + t)
                    e = -inverse * pull
                    moved = x + D * (basis @ e)
                    T, dA = np.zeros((d, m, d)), np.zeros((d, d, m, d))
                    for j in range(m):
                        slope = 2 * a * V[j] @ moved + b * L[j]
                        T[:, j] = 0.5 * s[j] * basis.T @ (slope * np.diag(D) + b * np.outer(D * V[j], V[j] / L[j]))
                        for f in range(d):
                            outer = np.outer(D * V[j], D * np.eye(d)[f])
                            dA[:, :, j, f] = a * s[j] * basis.T @ (outer + outer.T) @ basis
                    T, dA = T.reshape(d, -1), dA.reshape(d * d, -1)
                    kappa = NU * (inverse[:m] ** 2).sum() + NU / t**2
                    h = T.T @ (inverse * e)
                    own = 2 * T.T @ (inverse[:, None] * T) - 4 / (kappa + 2 * e @ (inverse * e)) * np.outer(h, h)
                    own += NU * dA.T @ (np.outer(inverse, inverse).reshape(-1, 1) * dA)
                    total += weight * own
    return torch.as_tensor(total)


def _gauss_newton(point, monkeypatch):
    """J'QJ: the dense inverse with nothing else in it, at the mean perturbations of the smoothed worst case."""
    found = []
    monkeypatch.setattr(curvature, "dense", lambda model, jacobian, q, *_: found.append(jacobian.squared(q)))
    monkeypatch.setattr(curvature, "operations", lambda *_: WAYS["dense"])
    _preconditioner(*point, False, _moment(*point))
    monkeypatch.undo()
    return found[0]


def _penalty(point, way):
    """S with raised eigenvalues: by automatic differentiation, and for the split way by projections."""
    _, model, neurons, *_ = point
    moment, beta = _moment(*point), model.problem.beta
    m, d = neurons.vectors.shape
    total = torch.zeros(m * d, m * d, dtype=torch.float64)
    span = torch.linalg.qr(neurons.vectors.T)[0]
    for j in range(m):

        def lagrangian(v, sign=neurons.signs[j]):
            form = v @ moment.matrix @ v + 2 * v.norm() * (v @ moment.vector) + v.norm() ** 2 * moment.constant
            return beta * v.norm() ** 2 - sign * form

        S = torch.autograd.functional.hessian(lagrangian, neurons.vectors[j])
        if way == "split":
            inner = span @ span.T @ S @ span @ span.T
            sigma = (S.trace() - inner.trace()) / (d - m)
            S = inner + sigma * (torch.eye(d, dtype=torch.float64) - span @ span.T)
        values, vectors = torch.linalg.eigh(S)
        raised = (vectors * values.clamp_min(ball_curvature_inverse.FLOOR * 2 * beta)) @ vectors.T
        total[j * d : (j + 1) * d, j * d : (j + 1) * d] = raised
    return total


@pytest.mark.parametrize("settings", BALLS, ids=lambda settings: settings["loss"])
@pytest.mark.parametrize("way", WAYS)
def test_inverts_the_curvature_with_balls(settings, way, monkeypatch):
    if way == "split" and "scale" in settings:
        pytest.skip("ellipsoids go the dense way")
    point = _point(settings, nu=NU)
    expected = _gauss_newton(point, monkeypatch) + _balls(*point) + _penalty(point, way)
    monkeypatch.setattr(curvature, "operations", lambda *_: WAYS[way])
    monkeypatch.setattr(ball_curvature, "_NUMBERS", 100)
    apply = _preconditioner(*point, False, _moment(*point))
    r = torch.as_tensor(np.random.default_rng(1).normal(size=len(expected)))
    assert torch.allclose(expected @ apply(r), r, atol=1e-6)
    columns = torch.stack([apply(e) for e in torch.eye(len(r), dtype=torch.float64)])
    assert torch.allclose(columns, columns.T, atol=1e-8)
    assert float(torch.linalg.eigvalsh(columns).min()) > 0


@pytest.mark.parametrize("way", WAYS)
def test_chunks_add_up(way, monkeypatch):
    settings = {"loss": "hinge", "radius": 0.2}
    monkeypatch.setattr(curvature, "operations", lambda *_: WAYS[way])
    r, answers = torch.ones(15, dtype=torch.float64), []
    for size in (1, 1 << 22):
        monkeypatch.setattr(sweeps, "_BLOCK_BYTES", (size, size))
        point = _point(settings, n=600, nu=NU)
        assert len(point[0].chunks) == (3 if size == 1 else 1)
        answers.append(_preconditioner(*point, False, _moment(*point))(r))
    assert torch.allclose(*answers, rtol=1e-8)


def test_is_the_hessian_without_a_quadratic_term(monkeypatch):
    """For a = 0 nothing is left out; a large penalty keeps S above its floor."""
    settings = {"loss": "squared_hinge", "radius": 0.3, "activation": (1e-10, 0.5, 0.47), "beta": 40.0}
    model_sweeps, model, neurons, smoothing, _ = point = _point(settings, nu=NU)
    monkeypatch.setattr(curvature, "operations", lambda *_: WAYS["dense"])
    apply = _preconditioner(*point, False, _moment(*point))
    rng = np.random.default_rng(2)
    for _ in range(3):
        step = torch.as_tensor(rng.normal(size=neurons.vectors.shape))
        ends = [neurons._replace(vectors=neurons.vectors + side * 3e-4 * step) for side in (1, -1)]
        high, low = (gradient for _, gradient, _ in model_sweeps.serve([Evaluate(model, v, smoothing) for v in ends]))
        assert torch.allclose(apply(((high - low) / 6e-4).reshape(-1)), step.reshape(-1), atol=1e-4)


@pytest.mark.parametrize("settings", [SETTINGS[5], {"loss": "hinge", "radius": 0.1, "norm": "linf"}], ids=str)
def test_other_forms_keep_gauss_newton(settings):
    """Several directions and boxes have no such formula: Gauss-Newton where asked for the whole, else nothing."""
    point = _point(settings, nu=NU)
    assert not ball_curvature.has_balls(point[1], point[3])
    assert _preconditioner(*point) is not None
    assert _preconditioner(*point, False) is None


@pytest.mark.parametrize("name", ["dense", "split"])
def test_without_a_factor_gauss_newton_remains(name, monkeypatch):
    point = _point(SETTINGS[0], nu=NU)
    moment, r = _moment(*point), torch.ones(15, dtype=torch.float64)
    monkeypatch.setattr(curvature, "operations", lambda *_: WAYS[name])
    monkeypatch.setattr(ball_curvature_inverse, "FLOOR", -1e6)
    moment = moment._replace(matrix=moment.matrix + 1e3 * torch.eye(5, dtype=torch.float64))
    assert _preconditioner(*point, False, moment) is None
    assert torch.equal(_preconditioner(*point, True, moment)(r), _preconditioner(*point)(r))


def test_balls_that_cost_more_than_they_save(monkeypatch):
    point = _point(SETTINGS[0], nu=NU)
    assert _preconditioner(*point, False, _moment(*point)) is not None
    monkeypatch.setattr(curvature, "_FREE", 0.0)
    monkeypatch.setattr(curvature, "_WORTH", 1e-6)
    assert _preconditioner(*point, False, _moment(*point)) is None


def test_halves_the_evaluations(monkeypatch):
    monkeypatch.setattr(solver, "worth_while", lambda column: False)  # column generation to the end
    with_balls = ca.solve(problem(), tol=1e-4)
    for module in (columns, curvature):
        monkeypatch.setattr(module, "has_balls", lambda *_: False)
    without = ca.solve(problem(), tol=1e-4)
    assert with_balls.status.ok
    assert without.status.ok
    assert 2 * with_balls.variables["evaluations"] < without.variables["evaluations"]
