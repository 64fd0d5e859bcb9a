r"""Cones of activation patterns: interior points, projections with multipliers, and points moved into their cones.

The cone of gate k keeps its pattern D_ik constant over the ball of every row ([PE20], [BGS22]; docs/mathematics.md):

    K_k = {v : S_ik x_i'v >= r_i ||E v||_q for all rows i},    S_ik = 2 D_ik - 1,  E v the perturbed entries of v,

q dual to the norm p of the ball. Its polar is spanned by -(S_ik x_i - r_i tilt), ||tilt||_p <= 1, so for any target t,
any mu >= 0 and any such tilt

    ||Proj_K(t)|| <= price = ||h - (sum_i r_i mu_i) tilt||_2,    h = t + sum_i mu_i S_ik x_i,

with equality at the best ones: there the vector is the projection itself (Moreau).

Slacks and violations are relative: (S_ik x_i'v - r_i ||E v||_q) / ||x_i|| at ||v|| = 1. A row of zeros constrains nothing
at radius 0 and leaves only E v = 0 at a positive radius.
"""

from .cone import Cones, violations
from .dead import vanishing
from .hulls import Hull, completed, hull_of
from .interiors import Interiors, interiors_of, searched
from .projection import Projection, project, pulled

__all__ = [
    "Cones",
    "Hull",
    "Interiors",
    "Projection",
    "completed",
    "hull_of",
    "interiors_of",
    "project",
    "pulled",
    "searched",
    "vanishing",
    "violations",
]
