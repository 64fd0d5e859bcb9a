"""One component of a ReLU problem as tensors: its blocks by number, its terms, and what follows from them alone."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch

from ..._arrays import to_tensor
from ...balls import gauge
from ...problems import bound
from ...problems.blocks import Blocks
from ...problems.bound import Atoms
from ...problems.terms import Terms, TermSet
from .faces import Faces
from .images import Images
from .maps import Maps
from .method import InteriorPoint
from .newton import Layout


class Parts:
    """Block number b has a side, a gate and an output (within the component); both sides of a gate are blocks.

    Parameters
    ----------
    problem : ReLUProblem
    number : int
        Which component.
    X : tensor (n, D)
    faces : Faces
    """

    def __init__(self, problem: Any, number: int, X: Any, faces: Faces):
        self.problem, self.number, self.X, self.faces = problem, number, X, faces
        part = problem.components[number]
        self.outputs, self.gates = part.outputs, problem.n_gates
        sides, gates, outputs = np.meshgrid(
            [1.0, -1.0], np.arange(self.gates), np.arange(len(self.outputs)), indexing="ij"
        )
        self.side, self.gate, self.output = sides.reshape(-1), gates.reshape(-1), outputs.reshape(-1)
        self.patterns = torch.as_tensor(problem.patterns.astype(np.float64), device=X.device)
        self.groups = [np.flatnonzero(each.weight > 0) for each in part.terms]
        own = [_of_groups(each, groups) for each, groups in zip(part.terms, self.groups, strict=True)]
        self.terms, self.exact_terms = (
            [Terms(each, problem.rows.n, convert, len(part.directions)) for each in own]
            for convert in (self.tensor, np.asarray)
        )
        self.images = [self._image(each, self.tensor(part.directions)) for each in self.terms]
        self.zero = sum(float(each.weight @ each.loss.group_value(each.offset)) for each in self.exact_terms)

    def tensor(self, values: Any) -> Any:
        """On the device of X."""
        return to_tensor(np.asarray(values), self.X.device)

    def _image(self, terms: Terms, directions: Any) -> Images:
        rows = torch.arange(len(self.X), device=self.X.device) if terms.row is None else terms.row
        perturbed = self.tensor(np.flatnonzero(self.problem.perturbed))
        chosen = directions[terms.direction[0]]
        return Images(self.X, rows, terms.sign[0], terms.radius, chosen, perturbed, terms.robust)

    def layout(self, blocks: np.ndarray) -> Layout:
        """Of a working set."""
        gate, output, side = (self.tensor(values[blocks]) for values in (self.gate, self.output, self.side))
        return Layout(self.X, self.patterns, gate, output, side, len(self.outputs), self.faces)

    def method(self, within: np.ndarray) -> InteriorPoint:
        """The method at its start on a working set."""
        problem, size = self.problem, 1.0
        if problem.loss.regression:
            size = float(np.sqrt((problem.targets[:, self.outputs] ** 2).mean())) or 1.0
        return InteriorPoint(
            self.layout(within),
            self.terms,
            self.images,
            problem.beta,
            self.tensor(problem.radius),
            self.tensor(problem.perturbed),
            problem.dual_norm,
            size,
        )

    def blocks(self, within: np.ndarray, v: Any) -> Blocks:
        """Blocks of a working set that are not zero, numbered by the outputs of the network."""
        values = v.cpu().numpy()
        kept = (values != 0).any(1)
        own = within[kept]
        return Blocks(self.gate[own], self.outputs[self.output[own]], self.side[own], values[kept])

    def objective(self, maps: Maps, v: Any) -> float:
        """Objective of blocks in their cones from their exact margins."""
        loss = 0.0
        for terms, image, y in zip(self.terms, self.images, maps.images_of(v), strict=True):
            margin = terms.sign * terms.sign[0] * y[:, 0]
            if image.robust:
                margin = margin - gauge(y[:, 1:], self.problem.dual_norm)
            loss += float(terms.weight @ terms.loss.group_value(terms.offset - margin))
        return loss + self.problem.beta * float(v.norm(dim=1).sum())

    def lower_bound(self, multipliers: list[Any], kappa: float) -> float:
        """What multipliers (k, g) of every set of terms prove if no price is above kappa."""
        atoms = [
            Atoms(terms, z.cpu().numpy()[None], None, None)
            for terms, z in zip(self.exact_terms, multipliers, strict=True)
        ]
        return bound.scaled_value(atoms, kappa, self.problem.beta)[0]

    def at_zero(self) -> tuple[list[Any], list[Any]]:
        """Multipliers of the zero network and their points, the rows themselves."""
        multipliers = [self.tensor(terms.loss.multipliers(terms.offset)[1]) for terms in self.exact_terms]
        points = [
            z.new_zeros(*z.shape, self.X.shape[1]) if terms.robust else None
            for terms, z in zip(self.terms, multipliers, strict=True)
        ]
        return multipliers, points

    def targets(self, multipliers: list[Any], points: list[Any], index: np.ndarray) -> np.ndarray:
        """side q of some blocks, (m, D)."""
        wanted, place = np.unique(self.output[index] * self.gates + self.gate[index], return_inverse=True)
        outputs, gates = np.divmod(wanted, self.gates)
        layout = Layout(
            self.X,
            self.patterns,
            self.tensor(gates),
            self.tensor(outputs),
            self.tensor(np.ones(len(wanted))),
            len(self.outputs),
            Faces(self.X, {}, self.gates),
        )
        total = self.X.new_zeros(len(wanted), self.X.shape[1])
        for terms, image, z, own in zip(self.terms, self.images, multipliers, points, strict=True):
            force = image.force(terms, z, own)
            if image.robust:
                total += layout.from_alpha(image.to_alpha(force))
            else:
                total += layout.from_outputs(image.to_outputs(force))
        return self.side[index, None] * total.cpu().numpy()[place.reshape(-1)]


def _of_groups(terms: TermSet, groups: np.ndarray) -> TermSet:
    """Some groups of a set of terms; those of weight zero, for one, which would only spoil the method's numbers."""
    if len(groups) == terms.shape[1]:
        return terms
    arrays = {field.name: getattr(terms, field.name)[..., groups] for field in fields(terms)[1:]}
    return replace(terms, **arrays)
