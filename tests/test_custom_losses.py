"""A loss of one's own: solved where the solver takes it, refused in one sentence where the solver knows losses by name."""

import cvxpy as cp
import numpy as np
import pytest

from convexadv import GatedReLUProblem, InputError, PolynomialProblem, ReLUProblem, solve
from convexadv._arrays import namespace
from convexadv.losses import NAMES, Loss
from convexadv.solvers.interior import shapes


class SmoothedHinge(Loss):
    """psi(u) = u^2/2 on [0, 1], u - 1/2 above, at u = 1 - margin; psi*(z) = z^2/2 on [0, 1]."""

    def value(self, u):
        near = namespace(u).clip(u, 0.0, 1.0)
        return 0.5 * near * near + namespace(u).clip(u - 1.0, 0.0, None)

    def derivative(self, u):
        return namespace(u).clip(u, 0.0, 1.0)

    def conjugate(self, z):
        return 0.5 * z * z

    def conjugate_derivative(self, z):
        return z

    def conjugate_curvature(self, z):
        return 1.0 + 0.0 * z


LOSS = SmoothedHinge("smoothed_hinge", offset=1.0, upper=1.0)


def data(classes, n=40):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 3)), rng.permutation(n) % classes


def refused(problem, solver):
    """The sentence of the refusal."""
    with pytest.raises(InputError, match="'smoothed_hinge'") as caught:
        solve(problem, solver)
    return str(caught.value)


@pytest.mark.parametrize("radius", [0.0, 0.1])
@pytest.mark.parametrize("classes", [2, 3])
def test_interior_point_method_refuses_the_loss_in_a_sentence(radius, classes):
    X, y = data(classes)
    sentence = refused(ReLUProblem(X, y, n_gates=6, radius=radius, beta=0.02, loss=LOSS), "torch")
    assert all(f"'{name}'" in sentence for name in NAMES)
    assert "GatedReLUProblem or PolynomialProblem" in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


@pytest.mark.parametrize("solver", ["SCS", "CLARABEL"])
@pytest.mark.parametrize("kind", [PolynomialProblem, ReLUProblem, GatedReLUProblem])
@pytest.mark.parametrize("radius", [0.0, 0.1])
def test_conic_solvers_refuse_the_loss_in_a_sentence(kind, solver, radius):
    X, y = data(2)
    gates = {} if kind is PolynomialProblem else {"n_gates": 6}
    sentence = refused(kind(X, y, radius=radius, beta=0.02, loss=LOSS, **gates), solver)
    assert all(f"'{name}'" in sentence for name in NAMES)
    assert sentence.endswith(".")


def test_every_named_loss_is_known():
    for name in NAMES:
        X, y = data(2, n=12)
        problem = ReLUProblem(X, y.astype(float), n_gates=3, beta=0.05, loss=name)
        shapes.require_known(problem.loss)
        assert all(shapes.knows(terms.loss) for component in problem.components for terms in component.terms)


def test_gated_networks_are_solved_with_the_loss():
    """Without balls, against a model in cvxpy."""
    X, y = data(2)
    problem = GatedReLUProblem(X, y, n_gates=6, beta=0.02, loss=LOSS, random_state=0)
    weights = [cp.Variable(3) for _ in range(6)]
    active = (X @ problem.gates >= 0).astype(float)
    margin = cp.multiply(2.0 * y - 1.0, sum(cp.multiply(active[:, k], X @ v) for k, v in enumerate(weights)))
    losses = 0.5 * cp.huber(cp.pos(1 - margin), 1.0)
    model = cp.Problem(cp.Minimize(cp.sum(losses) / len(y) + 0.02 * sum(cp.norm(v) for v in weights)))
    assert solve(problem, tol=1e-5).objective == pytest.approx(model.solve(solver="CLARABEL"), rel=2e-5)


@pytest.mark.parametrize("classes", [2, 3])
def test_robust_gated_networks_are_solved_by_gradient_steps_alone(classes, monkeypatch):
    """Also where the interior-point method would be begun for a loss that it knows, as for these three classes."""
    X, y = data(classes)
    begun = []
    own = shapes.group_shape
    monkeypatch.setattr(
        "convexadv.solvers.gated.interior.group_shape", lambda *given: begun.append(given[0].name) or own(*given)
    )
    problem = GatedReLUProblem(X, y, n_gates=8, radius=0.1, beta=0.02, loss=LOSS)
    solution = solve(problem, tol=1e-3)
    assert solution.status.ok
    bound = problem.lower_bound(solution.certificate)
    assert 0 <= solution.objective - bound <= 1.001e-3 * solution.objective
    assert begun == []
