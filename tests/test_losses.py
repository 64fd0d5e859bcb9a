"""Losses against formulas, finite differences, brute-force conjugates and smoothed values from cvxpy."""

import math

import cvxpy as cp
import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from convexadv.errors import InputError
from convexadv.losses import (
    HARD,
    HINGE,
    LOGISTIC,
    NAMES,
    SQUARED,
    SQUARED_HINGE,
    WORST_SQUARED,
    get_loss,
)

LOSSES = {
    "hinge": HINGE,
    "squared hinge": SQUARED_HINGE,
    "logistic": LOGISTIC,
    "squared": SQUARED,
    "worst squared": WORST_SQUARED,
    "hard": HARD,
}
SOFT = {name: loss for name, loss in LOSSES.items() if name != "hard"}
FORMULA = {
    "hinge": lambda u: max(0.0, u),
    "squared hinge": lambda u: max(0.0, u) ** 2,
    "logistic": lambda u: math.log1p(math.exp(u)) if u < 30 else u + math.exp(-u),
    "squared": lambda u: u * u / 2,
    "worst squared": lambda u: max(0.0, u) ** 2 / 2,
}
CONJUGATE = {
    "hinge": lambda s: (0.0, [s <= 1]),
    "squared hinge": lambda s: (cp.square(s) / 4, []),
    "logistic": lambda s: (-cp.entr(s) - cp.entr(1 - s), []),
    "worst squared": lambda s: (cp.square(s) / 2, []),
    "hard": lambda s: (0.0, []),
}
GRID = np.concatenate([np.linspace(-4, 4, 161), [-800.0, -40.0, 40.0, 800.0]])
soft = pytest.mark.parametrize("name", SOFT)


@soft
def test_values_are_those_of_the_formula(name):
    expected = [FORMULA[name](u) for u in GRID]
    np.testing.assert_allclose(LOSSES[name].value(GRID), expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("hinge", lambda m: np.maximum(0, 1 - m)),
        ("squared_hinge", lambda m: np.maximum(0, 1 - m) ** 2),
        ("logistic", lambda m: np.log1p(np.exp(-m))),
    ],
)
def test_offsets_make_losses_of_margins(name, formula):
    margin = np.linspace(-3, 3, 50)
    loss = get_loss(name)
    np.testing.assert_allclose(loss.value(loss.offset - margin), formula(margin), rtol=1e-14, atol=1e-16)


@soft
def test_derivatives_by_differences(name):
    loss, step = LOSSES[name], 1e-5
    u = GRID[np.abs(GRID) > 2 * step]
    difference = (loss.value(u + step) - loss.value(u - step)) / (2 * step)
    np.testing.assert_allclose(loss.derivative(u), difference, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "squared"])
def test_losses_are_convex_and_nondecreasing(name):
    u = np.sort(GRID)
    slope = LOSSES[name].derivative(u)
    assert (slope >= 0).all()
    assert (np.diff(slope[np.isfinite(slope)]) >= -1e-15).all()


def domain_points(loss):
    if loss.signed:
        return np.linspace(-5, 5, 21)
    return np.linspace(0, 1, 21) if loss.upper == 1.0 else np.linspace(0, 8, 21)


@soft
def test_conjugates_by_brute_force(name):
    loss = LOSSES[name]
    for z in domain_points(loss):
        loss_of_z = lambda u, z=z: FORMULA[name](u) - z * u  # noqa: E731
        best = minimize_scalar(loss_of_z, bounds=(-45, 45), method="bounded", options={"xatol": 1e-9})
        ends = [loss_of_z(u) for u in (-45.0, 0.0, 45.0)]
        assert loss.conjugate(np.array([z]))[0] == pytest.approx(-min(best.fun, *ends), abs=1e-8)


@soft
def test_outside_its_domain_the_conjugate_is_infinite(name):
    loss = LOSSES[name]
    outside = [] if loss.signed else [-0.01]
    outside += [1.01] if math.isfinite(loss.upper) else []
    for z in outside:
        reached = [z * u - FORMULA[name](u) for u in (-1e5, 1e5)]
        assert max(reached) > 900
    if not math.isfinite(loss.upper):
        assert np.isfinite(loss.conjugate(np.array([1e100]))).all()


@soft
def test_conjugate_derivatives(name):
    loss, step = LOSSES[name], 1e-6
    z = domain_points(loss)[1:-1]
    difference = (loss.conjugate(z + step) - loss.conjugate(z - step)) / (2 * step)
    np.testing.assert_allclose(loss.conjugate_derivative(z), difference, rtol=1e-6, atol=1e-9)
    ends = loss.conjugate_derivative(domain_points(loss)[[0, -1]])
    assert np.isfinite(ends).all()


@pytest.mark.parametrize("name", NAMES)
def test_conjugate_curvatures(name):
    loss = get_loss(name)
    z, step = domain_points(loss)[1:-1], 1e-6
    difference = (loss.conjugate_derivative(z + step) - loss.conjugate_derivative(z - step)) / (2 * step)
    np.testing.assert_allclose(loss.conjugate_curvature(z), difference, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", ["squared hinge", "logistic", "squared", "worst squared"])
def test_conjugate_derivative_inverts_the_derivative(name):
    loss = LOSSES[name]
    u = np.linspace(0.05, 3, 30)
    np.testing.assert_allclose(loss.conjugate_derivative(loss.derivative(u)), u, rtol=1e-12)


@soft
def test_fenchel_and_young(name):
    """psi(u) + psi*(z) >= z u, with equality at z = psi'(u)."""
    loss, rng = LOSSES[name], np.random.default_rng(0)
    u = 3 * rng.standard_normal(3000)
    z = rng.choice(domain_points(loss), 3000)
    assert (loss.value(u) + loss.conjugate(z) >= z * u - 1e-13 * (1 + np.abs(z * u))).all()
    slope = loss.derivative(u)
    np.testing.assert_allclose(loss.value(u) + loss.conjugate(slope), slope * u, rtol=1e-12, atol=1e-13)


def test_the_logistic_conjugate_keeps_its_digits_near_the_ends():
    """With exact numbers: near z = 0 the conjugate is z log z - z, and no value of the loss lies below its tangent."""
    from decimal import Decimal, localcontext

    loss = get_loss("logistic")
    with localcontext() as context:
        context.prec = 700
        for z in (1e-299, 1e-30, 2.4e-15, 1e-9, 0.3, 1 - 1e-9, float(np.nextafter(1.0, 0.0))):
            exact = Decimal(z) * Decimal(z).ln() + (1 - Decimal(z)) * (1 - Decimal(z)).ln()
            for found in (loss.conjugate(np.array([z]))[0], loss.conjugate(torch.tensor([z], dtype=torch.float64))[0]):
                assert abs(Decimal(float(found)) - exact) <= Decimal("5e-16") * abs(exact)
    assert (loss.conjugate(np.array([0.0, 1.0])) == 0).all()
    u = np.linspace(-40.0, -30.0, 400)
    z = loss.derivative(u)
    tangent = z * u - loss.conjugate(z)  # equals the loss up to rounding of z u and the conjugate
    np.testing.assert_allclose(tangent, loss.value(u), rtol=1e-12)


def test_a_hard_margin_is_a_constraint():
    u = np.array([-2.0, -1e-300, 0.0, 1e-300, 5.0])
    np.testing.assert_array_equal(HARD.value(u[:3]), 0.0)
    np.testing.assert_array_equal(HARD.derivative(u), [0, 0, 0, math.inf, math.inf])
    np.testing.assert_array_equal(HARD.conjugate(np.array([0.0, 1.0, 1e10])), 0.0)
    with pytest.raises(InputError, match="constraint"):
        HARD.cvxpy(cp.Variable())


@soft
def test_cvxpy_expressions_are_the_values(name):
    loss = LOSSES[name]
    expression = loss.cvxpy(cp.Constant(GRID))
    assert expression.is_convex()
    np.testing.assert_allclose(expression.value, loss.value(GRID), rtol=1e-9, atol=1e-12)
    variable = cp.Variable()
    assert loss.cvxpy(variable).is_dcp()


def shortfalls(k, g=60, seed=0):
    """Shortfalls with ties, kinks and large entries; centres inside and at the ends of the domain."""
    rng = np.random.default_rng([seed, k])
    u = rng.standard_normal((k, g)) * rng.choice([0.05, 1.0, 5.0], (1, g))
    u[:, ::7] = u[:1, ::7]
    u[0, ::11] = 0.0
    centre = rng.dirichlet(np.ones(k + 1), g).T[:k] * rng.choice([0.0, 0.5, 1.0], (1, g))
    return u, centre


@pytest.mark.parametrize(("name", "k"), [(name, k) for name in SOFT for k in (1, 2, 3) if name != "squared" or k == 1])
def test_multipliers_without_smoothing(name, k):
    loss = LOSSES[name]
    u, _ = shortfalls(k)
    value, z = loss.multipliers(u)
    np.testing.assert_allclose(value, [FORMULA[name](top) for top in u.max(0)], rtol=1e-14)
    np.testing.assert_array_equal(value, loss.group_value(u))
    assert z.shape == u.shape
    if not loss.signed:
        assert (z >= 0).all()
    total = z.sum(0)
    reached = (z * u).sum(0) - loss.conjugate(total)
    np.testing.assert_allclose(reached, value, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "squared"])
@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("mu", [1e-3, 0.1, 3.0])
def test_smoothed_multipliers_against_cvxpy(name, k, mu):
    """max over z >= 0 of z'u - psi*(sum z) - mu/2 ||z - centre||^2; a smooth psi of one shortfall is kept."""
    loss, (u, centre) = LOSSES[name], shortfalls(k)
    value, z = loss.multipliers(u, centre, mu)
    weight = 0.0 if k == 1 and not loss.sharp else mu
    variable = cp.Variable(u.shape, nonneg=True)
    conjugate, limits = CONJUGATE[name](cp.sum(variable, axis=0))
    gain = cp.sum(cp.multiply(variable, u)) - cp.sum(conjugate)
    model = cp.Problem(cp.Maximize(gain - 0.5 * weight * cp.sum_squares(variable - centre)), limits)
    tight = {"tol_gap_abs": 1e-10, "tol_gap_rel": 1e-10, "tol_feas": 1e-10}
    model.solve("CLARABEL", **tight)
    assert value.sum() == pytest.approx(model.value, abs=1e-6, rel=1e-8)
    np.testing.assert_allclose(z, variable.value, atol=3e-4 / mu**0.5 * max(1.0, np.abs(z).max()))
    own = (z * u - 0.5 * weight * (z - centre) ** 2).sum(0)
    own = own - (0.0 if name == "hard" else loss.conjugate(z.sum(0)))
    np.testing.assert_allclose(own, value, rtol=1e-10, atol=1e-11)
    assert (z >= 0).all()
    assert (z.sum(0) <= loss.upper + 1e-12).all()


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "squared"])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_no_other_multiplier_is_better(name, k):
    """Thousands of feasible z, near and far, against the maximiser; tiny and huge proximal weights."""
    loss, rng = LOSSES[name], np.random.default_rng(k)
    for mu in (1e-4, 1e-2, 1.0, 1e4):
        u, centre = shortfalls(k, 200, seed=1)
        value, z = loss.multipliers(u, centre, mu)
        weight = 0.0 if k == 1 and not loss.sharp else mu
        for size in (1e-4, 1e-1, 1.0):
            other = np.maximum(0.0, z + size * rng.standard_normal(z.shape))
            other = other / np.maximum(1.0, other.sum(0) / loss.upper)
            rival = (other * u - 0.5 * weight * (other - centre) ** 2).sum(0)
            rival = rival - (0.0 if name == "hard" else loss.conjugate(other.sum(0)))
            allowance = (1e-11 + 1e-13 / mu) * (1 + np.abs(value) + mu * (z**2).sum(0))
            assert (rival <= value + allowance).all()


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "squared"])
@pytest.mark.parametrize("k", [1, 2])
def test_multipliers_are_the_gradient_of_the_smoothed_value(name, k):
    loss, step, (u, centre) = LOSSES[name], 1e-6, shortfalls(k, seed=2)
    _, z = loss.multipliers(u, centre, 0.3)
    for alternative in range(k):
        move = np.zeros_like(u)
        move[alternative] = step
        up, down = (loss.multipliers(u + sign * move, centre, 0.3)[0] for sign in (1, -1))
        np.testing.assert_allclose((up - down) / (2 * step), z[alternative], atol=2e-5, rtol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_numpy_and_torch_agree(name):
    loss = LOSSES[name]
    u, centre = shortfalls(1 if loss.signed else 3, seed=3)
    z = np.clip(np.abs(u[0]), 0, 1)
    both = [lambda array: array, torch.as_tensor]
    for function, arguments in [
        (loss.value, (GRID,)),
        (loss.derivative, (GRID,)),
        (loss.conjugate, (z,)),
        (loss.conjugate_derivative, (z,)),
        (loss.group_value, (u,)),
        (loss.multipliers, (u,)),
        (lambda a, b: loss.multipliers(a, b, 0.2), (u, centre)),
    ]:
        results = [function(*(kind(argument) for argument in arguments)) for kind in both]
        results = [part if isinstance(part, tuple) else (part,) for part in results]
        for first, second in zip(*results, strict=True):
            assert isinstance(second, torch.Tensor)
            np.testing.assert_allclose(second.numpy(), first, rtol=1e-12, atol=1e-14)


def test_names():
    assert set(NAMES) == {"hinge", "squared_hinge", "logistic", "squared"}
    assert all(get_loss(name).name == name for name in NAMES)
    assert get_loss(HINGE) is HINGE
    with pytest.raises(InputError, match="'hinge', 'squared_hinge', 'logistic', 'squared'"):
        get_loss("crossentropy")
