r"""Batches of small programmes in auxiliary variables, seen from outside only through an image.

Programme g of a batch has auxiliary variables a in R^m, an image y in R^p that the large problem moves, and

    cost  weight_g (c'a + a'diag(q)a / 2 + psi(offset_g + l_a'a + l_y'y)),
    linear cones  K_a a + K_y y + k_g >= 0,       second-order cones  S_a a + S_y y.

Newton's equations are reduced to the image: the a of a whole batch are eliminated at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from ...losses import Loss
from .scalings import Orthant


@dataclass
class Smooth:
    """psi(offset_g + l_a'a + l_y'y) of a twice differentiable loss."""

    loss: Loss
    of_aux: Any
    of_image: Any
    offset: Any

    def argument(self, a: Any, y: Any) -> Any:
        """(g,)."""
        return self.offset + a @ self.of_aux + y @ self.of_image

    def curvature(self, u: Any) -> Any:
        """psi''(u)."""
        if self.loss.name == "logistic":
            z = self.loss.derivative(u)
            return z * (1.0 - z)
        return torch.ones_like(u)


@dataclass
class LocalShape:
    """The matrices that all programmes of a batch share.

    ``linear`` is (K_a, K_y), ``second`` a list of (S_a, S_y), ``cost`` is (c, q).
    """

    linear: tuple[Any, Any]
    second: list[tuple[Any, Any]]
    cost: tuple[Any, Any]
    smooth: Smooth | None = None


@dataclass
class Target:
    """Multipliers aimed at by a direction, and the residuals of its slacks, one entry a cone."""

    aims: list[Any] = field(default_factory=list)
    residuals: list[Any] = field(default_factory=list)


class LocalProgram:
    """A batch of local programmes with the current auxiliary variables, slacks and multipliers.

    Parameters
    ----------
    shape : LocalShape
    weight : (g,)
    constant : (g, rows)
        k.
    a : (g, m)
        Start.
    cones : list
        :class:`Orthant` for the linear rows (if there are any) and one :class:`SecondOrder` each.
    """

    def __init__(self, shape: LocalShape, weight: Any, constant: Any, a: Any, cones: list):
        self.shape, self.weight, self.constant, self.a, self.cones = shape, weight, constant, a, cones
        pairs = ([shape.linear] if shape.linear[0].shape[0] else []) + shape.second
        self.of_aux = [pair[0] for pair in pairs]
        self.of_image = [pair[1] for pair in pairs]

    def take(self, kept: Any) -> LocalProgram:
        """Some programmes of the batch."""
        cones = [cone.take(kept) for cone in self.cones]
        return LocalProgram(self.shape, self.weight[kept], self.constant[kept], self.a[kept], cones)

    def slack(self, a: Any, y: Any, constant: bool = True) -> list[Any]:
        """Affine values of every cone."""
        values = [a @ of_aux.T + y @ of_image.T for of_aux, of_image in zip(self.of_aux, self.of_image, strict=True)]
        if constant and self.shape.linear[0].shape[0]:
            values[0] = values[0] + self.constant
        return values

    def scale(self) -> None:
        """Scalings of all cones."""
        for cone in self.cones:
            cone.scale()

    def pull(self, multipliers: list[Any]) -> tuple[Any, Any]:
        """K_a'z and K_y'z summed over the cones."""
        aux = torch.zeros_like(self.a)
        image = self.a.new_zeros(len(self.a), self._image_width())
        for z, of_aux, of_image in zip(multipliers, self.of_aux, self.of_image, strict=True):
            aux, image = aux + z @ of_aux, image + z @ of_image
        return aux, image

    def _image_width(self) -> int:
        return int(self.shape.linear[1].shape[1])

    def gradient(self, y: Any) -> tuple[Any, Any]:
        """Derivatives of the cost in a and y."""
        linear, square = self.shape.cost
        aux = self.weight[:, None] * (linear + square * self.a)
        image = self.a.new_zeros(len(self.a), self._image_width())
        smooth = self.shape.smooth
        if smooth is not None:
            z = (self.weight * smooth.loss.derivative(smooth.argument(self.a, y)))[:, None]
            aux, image = aux + z * smooth.of_aux, image + z * smooth.of_image
        return aux, image

    def factor(self, y: Any, extra: tuple[Any, Any, Any] | None = None) -> Any:
        """Eliminate a from the Newton matrix and return what remains for the image, (g, p, p).

        ``extra`` adds to the blocks (aa, ay, yy).
        """
        count, width = len(self.a), self._image_width()
        aa = torch.diag_embed(self.weight[:, None] * self.shape.cost[1].expand(count, -1))
        ay = self.a.new_zeros(count, self.a.shape[1], width)
        yy = self.a.new_zeros(count, width, width)
        for cone, of_aux, of_image in zip(self.cones, self.of_aux, self.of_image, strict=True):
            if isinstance(cone, Orthant):
                aux, image = cone.weight[:, :, None] * of_aux, cone.weight[:, :, None] * of_image
            else:
                scaling = cone.matrix()
                aux, image = scaling @ of_aux, scaling @ of_image
            aa, ay, yy = aa + of_aux.T @ aux, ay + of_aux.T @ image, yy + of_image.T @ image
        smooth = self.shape.smooth
        if smooth is not None:
            curvature = (self.weight * smooth.curvature(smooth.argument(self.a, y)))[:, None, None]
            aa = aa + curvature * torch.outer(smooth.of_aux, smooth.of_aux)
            ay = ay + curvature * torch.outer(smooth.of_aux, smooth.of_image)
            yy = yy + curvature * torch.outer(smooth.of_image, smooth.of_image)
        if extra is not None:
            aa, ay, yy = aa + extra[0], ay + extra[1], yy + extra[2]
        if not self.a.shape[1]:
            self._coupling = None
            return yy
        self._root = cholesky(aa)
        self._coupling = torch.cholesky_solve(ay, self._root)
        return yy - ay.transpose(-1, -2) @ self._coupling

    def residuals(self, y: Any) -> list[Any]:
        """K a + K y + k - s of every cone."""
        return [value - cone.s for value, cone in zip(self.slack(self.a, y), self.cones, strict=True)]

    def aim(self, mu: float, corrections: list[Any] | None, residuals: list[Any]) -> Target:
        """Targets of all cones for a direction."""
        aims = [cone.target(mu, None if corrections is None else corrections[i]) for i, cone in enumerate(self.cones)]
        return Target(aims, residuals)

    def right_side(self, y: Any, target: Target, kept: float, extra: tuple[Any, Any] | None = None) -> Any:
        """Right side for the image after elimination, (g, p); ``extra`` adds to the sides of a and y.

        The share ``kept`` of the dual residual is left.
        """
        gradient_aux, gradient_image = self.gradient(y)
        pulls = [
            aim - cone.times(residual) - kept * cone.z
            for aim, cone, residual in zip(target.aims, self.cones, target.residuals, strict=True)
        ]
        aux, image = self.pull(pulls)
        aux, image = aux - (1.0 - kept) * gradient_aux, image - (1.0 - kept) * gradient_image
        if extra is not None:
            aux, image = aux + extra[0], image + extra[1]
        self._aux_side = aux
        if self._coupling is None:
            return image
        return image - (self._coupling.transpose(-1, -2) @ aux[..., None])[..., 0]

    def solve_aux(self, dy: Any) -> Any:
        """da for the change of the image, after :meth:`right_side`."""
        if self._coupling is None:
            return torch.zeros_like(self.a)
        own = torch.cholesky_solve(self._aux_side[..., None], self._root)
        return (own - self._coupling @ dy[..., None])[..., 0]

    def steps(self, da: Any, dy: Any, target: Target) -> list[tuple[Any, Any]]:
        """(ds, dz) of every cone."""
        moves = self.slack(da, dy, constant=False)
        result = []
        for cone, move, residual, aim in zip(self.cones, moves, target.residuals, target.aims, strict=True):
            ds = move + residual
            result.append((ds, aim - cone.z - cone.times(ds)))
        return result


def cholesky(matrix: Any) -> Any:
    """Batched Cholesky factor; the diagonal is raised by rounding where that is needed."""
    root, info = torch.linalg.cholesky_ex(matrix)
    shift = 1e-15
    while bool((info > 0).any()) and shift < 1e-3:
        diagonal = matrix.diagonal(dim1=-2, dim2=-1).abs()
        raised = matrix + torch.diag_embed(shift * (diagonal + 1e-3 * diagonal.amax(-1, keepdim=True) + 1e-300))
        root, info = torch.linalg.cholesky_ex(raised)
        shift *= 30.0
    return root
