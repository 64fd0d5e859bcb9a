r"""Losses as convex nondecreasing functions of a shortfall, with everything a solver and a verifier need, once.

A loss acts on groups of shortfalls ``u`` of shape (k, g): k alternatives of which the worst counts, g groups,

    psi(max_k u_k),      u = offset - margin.

Margin losses have one alternative (k = 1); the robust squared loss has two, the ends of the interval of the output over
the ball. The dual side is written with multipliers ``z`` (k, g), non-negative, whose sum over k lies in the domain of the
conjugate psi*:

    psi(max_k u_k) = max_{z >= 0}  sum_k z_k u_k - psi*(sum_k z_k).

Sources: [KLP24] for the robust losses; conjugates by hand, checked in the tests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ._arrays import Array, namespace
from .errors import InputError

_BISECTIONS = 60


@dataclass(frozen=True)
class Loss:
    """A convex nondecreasing loss psi of the shortfall u.

    Attributes
    ----------
    name : str
        The public shorthand, e.g. ``"hinge"``.
    offset : float
        Shortfall of a zero margin: u = offset - margin. Regression replaces it by the target.
    regression : bool
        Whether targets are real numbers rather than labels.
    sharp : bool
        Whether psi itself has a kink, so that the sum of the multipliers needs a proximal term.
    signed : bool
        Whether multipliers may be negative (squared loss of a single output value).
    upper : float
        Largest multiplier in the domain of psi*; infinity if there is none.
    """

    name: str
    offset: float = 1.0
    regression: bool = False
    sharp: bool = False
    signed: bool = False
    upper: float = math.inf

    def value(self, u: Array) -> Array:
        """psi(u), elementwise."""
        raise NotImplementedError(self.name)

    def derivative(self, u: Array) -> Array:
        """psi'(u), elementwise; the right derivative on a kink."""
        raise NotImplementedError(self.name)

    def conjugate(self, z: Array) -> Array:
        """psi*(z) for z inside its domain, elementwise."""
        raise NotImplementedError(self.name)

    def conjugate_derivative(self, z: Array) -> Array:
        """(psi*)'(z), elementwise."""
        raise NotImplementedError(self.name)

    def conjugate_curvature(self, z: Array) -> Array:
        """(psi*)''(z) inside its domain, elementwise."""
        raise NotImplementedError(self.name)

    def cvxpy(self, u: Any) -> Any:
        """psi(u) as a cvxpy expression, elementwise."""
        raise NotImplementedError(self.name)

    def group_value(self, u: Array) -> Array:
        """psi(max_k u_k) of shape (g,) for ``u`` (k, g)."""
        return self.value(u[0] if u.shape[0] == 1 else namespace(u).amax(u, 0))

    def multipliers(self, u: Array, centre: Array | None = None, mu: float = 0.0) -> tuple[Array, Array]:
        r"""Value and multipliers of the loss smoothed around ``centre``.

        value = max_z  sum_k z_k u_k - psi*(sum_k z_k) - (mu/2) sum_k (z_k - centre_k)^2

        Parameters
        ----------
        u : (k, g)
            Shortfalls.
        centre : (k, g), optional
            Proximal centre; None for the unsmoothed loss, whose multiplier goes to the largest shortfall.
        mu : float
            Proximal weight, in units of the shortfall.

        Returns
        -------
        value : (g,)
        z : (k, g)
            The maximiser, which is also the derivative of ``value`` with respect to ``u``.
        """
        xp = namespace(u)
        if self.signed or centre is None or mu <= 0.0:
            return self._plain(u, xp)
        if u.shape[0] == 1 and not self.sharp:
            return self._plain(u, xp)
        z = self._proximal(u + mu * centre, mu, xp)
        return (z * u - 0.5 * mu * (z - centre) ** 2).sum(0) - self.conjugate(z.sum(0)), z

    def _plain(self, u: Array, xp: Any) -> tuple[Array, Array]:
        if u.shape[0] == 1:
            return self.value(u[0]), self.derivative(u)
        worst = xp.argmax(u, 0)
        chosen = xp.stack([worst == k for k in range(u.shape[0])])
        top = xp.amax(u, 0)
        return self.value(top), xp.where(chosen, self.derivative(top)[None], xp.zeros_like(u))

    def _proximal(self, shifted: Array, mu: float, xp: Any) -> Array:
        """Solve z = max(0, (shifted - tau)/mu), sum z in the subdifferential of psi at tau, by bisection on tau."""
        high = xp.amax(shifted, 0)
        low = high - mu * self.derivative(high)
        for _ in range(_BISECTIONS):
            tau = 0.5 * (low + high)
            above = (xp.clip(shifted - tau, 0.0, None) / mu).sum(0) > self.derivative(tau)
            low, high = xp.where(above, tau, low), xp.where(above, high, tau)
        return xp.clip(shifted - high, 0.0, None) / mu


class Hinge(Loss):
    """psi(u) = max(0, u) at u = 1 - margin; psi* = 0 on [0, 1]."""

    def value(self, u: Array) -> Array:
        return namespace(u).clip(u, 0.0, None)

    def derivative(self, u: Array) -> Array:
        xp = namespace(u)
        return xp.where(u > 0, xp.ones_like(u), xp.zeros_like(u))

    def conjugate(self, z: Array) -> Array:
        return 0.0 * z

    def conjugate_derivative(self, z: Array) -> Array:
        return 0.0 * z

    def _proximal(self, shifted: Array, mu: float, xp: Any) -> Array:
        if shifted.shape[0] > 1:
            return super()._proximal(shifted, mu, xp)
        return xp.clip(shifted / mu, 0.0, 1.0)

    def conjugate_curvature(self, z: Array) -> Array:
        return 0.0 * z

    def cvxpy(self, u: Any) -> Any:
        import cvxpy

        return cvxpy.pos(u)


class SquaredHinge(Loss):
    """psi(u) = max(0, u)^2 at u = 1 - margin, not halved; psi*(z) = z^2/4 for z >= 0."""

    def value(self, u: Array) -> Array:
        return namespace(u).clip(u, 0.0, None) ** 2

    def derivative(self, u: Array) -> Array:
        return 2.0 * namespace(u).clip(u, 0.0, None)

    def conjugate(self, z: Array) -> Array:
        return 0.25 * z * z

    def conjugate_derivative(self, z: Array) -> Array:
        return 0.5 * z

    def conjugate_curvature(self, z: Array) -> Array:
        return 0.5 + 0.0 * z

    def cvxpy(self, u: Any) -> Any:
        import cvxpy

        return cvxpy.square(cvxpy.pos(u))


class Logistic(Loss):
    """psi(u) = log(1 + exp(u)) at u = -margin; psi*(z) = z log z + (1 - z) log(1 - z) on [0, 1]."""

    def value(self, u: Array) -> Array:
        xp = namespace(u)
        return xp.clip(u, 0.0, None) + xp.log1p(xp.exp(-xp.abs(u)))

    def derivative(self, u: Array) -> Array:
        xp = namespace(u)
        tail = xp.exp(-xp.abs(u))
        return xp.where(u >= 0, 1.0 / (1.0 + tail), tail / (1.0 + tail))

    def conjugate(self, z: Array) -> Array:
        xp = namespace(z)
        inside = xp.where(z < 1.0, z, 0.0 * z)
        # log1p: where z is tiny, 1 - z has lost its digits, and the bound of a loss near zero with them
        return _x_log_x(z) + xp.where(z < 1.0, (1.0 - z) * xp.log1p(-inside), 0.0 * z)

    def conjugate_derivative(self, z: Array) -> Array:
        xp = namespace(z)
        inside = xp.clip(z, 1e-300, 1.0 - 1e-16)
        return xp.log(inside) - xp.log1p(-inside)

    def conjugate_curvature(self, z: Array) -> Array:
        inside = namespace(z).clip(z, 1e-300, 1.0 - 1e-16)
        return 1.0 / (inside * (1.0 - inside))

    def cvxpy(self, u: Any) -> Any:
        import cvxpy

        return cvxpy.logistic(u)


class Squared(Loss):
    """psi(u) = u^2/2 of the residual u = target - output; psi*(z) = z^2/2, multipliers of either sign."""

    def value(self, u: Array) -> Array:
        return 0.5 * u * u

    def derivative(self, u: Array) -> Array:
        return u

    def conjugate(self, z: Array) -> Array:
        return 0.5 * z * z

    def conjugate_derivative(self, z: Array) -> Array:
        return z

    def conjugate_curvature(self, z: Array) -> Array:
        return 1.0 + 0.0 * z

    def cvxpy(self, u: Any) -> Any:
        import cvxpy

        return 0.5 * cvxpy.square(u)


class WorstSquared(Squared):
    """psi(u) = max(0, u)^2/2 of the larger distance from the target to the two ends of the interval of the output.

    The larger of the two shortfalls is never negative, so the positive part changes nothing and keeps psi monotone.
    """

    def value(self, u: Array) -> Array:
        return 0.5 * namespace(u).clip(u, 0.0, None) ** 2

    def derivative(self, u: Array) -> Array:
        return namespace(u).clip(u, 0.0, None)

    def cvxpy(self, u: Any) -> Any:
        import cvxpy

        return 0.5 * cvxpy.square(cvxpy.pos(u))


class HardMargin(Loss):
    """The constraint margin >= offset: psi(u) = 0 for u <= 0, infinite above; psi* = 0 for z >= 0."""

    def value(self, u: Array) -> Array:
        return 0.0 * u

    def derivative(self, u: Array) -> Array:
        xp = namespace(u)
        return xp.where(u > 0, xp.full_like(u, math.inf), xp.zeros_like(u))

    def conjugate(self, z: Array) -> Array:
        return 0.0 * z

    def conjugate_derivative(self, z: Array) -> Array:
        return 0.0 * z

    def _plain(self, u: Array, xp: Any) -> tuple[Array, Array]:
        return 0.0 * u[0], 0.0 * u

    def _proximal(self, shifted: Array, mu: float, xp: Any) -> Array:
        return xp.clip(shifted / mu, 0.0, None)

    def conjugate_curvature(self, z: Array) -> Array:
        return 0.0 * z

    def cvxpy(self, u: Any) -> Any:
        raise InputError("a hard margin is a constraint, not a term of the objective; choose another loss.")


def _x_log_x(z: Array) -> Array:
    xp = namespace(z)
    return xp.where(z > 0, z * xp.log(xp.clip(z, 1e-300, None)), 0.0 * z)


HINGE = Hinge("hinge", offset=1.0, sharp=True, upper=1.0)
SQUARED_HINGE = SquaredHinge("squared_hinge", offset=1.0)
LOGISTIC = Logistic("logistic", offset=0.0, upper=1.0)
SQUARED = Squared("squared", offset=0.0, regression=True, signed=True)
WORST_SQUARED = WorstSquared("squared", offset=0.0, regression=True)
HARD = HardMargin("hard", sharp=True)

_NAMED = {loss.name: loss for loss in (HINGE, SQUARED_HINGE, LOGISTIC, SQUARED)}
NAMES = tuple(_NAMED)


def get_loss(loss: str | Loss) -> Loss:
    """The loss of a name, or the loss itself.

    Raises
    ------
    InputError
        If the name is unknown.
    """
    if isinstance(loss, Loss):
        return loss
    if not isinstance(loss, str) or loss not in _NAMED:
        raise InputError(f"loss={loss!r} is unknown; choose one of {', '.join(map(repr, NAMES))}.")
    return _NAMED[loss]
