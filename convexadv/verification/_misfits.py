"""Whether the parts of a claim fit together; its proof is checked elsewhere."""

from __future__ import annotations

import numpy as np

from .claim import NORMS, WEIGHTS, WHOLE, Claim


def misfit(claim: Claim) -> str | None:
    """What is wrong with the parts, in words; None if nothing is."""
    n, d = claim.X.shape
    if n == 0 or d == 0:
        return "it has no rows"
    arrays = [claim.X, claim.radius, claim.lower_bound, *claim.weights.values()]
    arrays += [array for name, array in claim.witness.items() if name not in WHOLE]
    box = [side for side in (claim.low, claim.high) if side is not None]
    whole = [claim.labels, *(claim.witness[name] for name in WHOLE if name in claim.witness)]
    if any(array.dtype.kind != "f" for array in (*arrays, *box)) or any(array.dtype.kind != "i" for array in whole):
        return "a tensor has a wrong type"
    if not all(np.isfinite(array).all() for array in (claim.X, claim.radius, *claim.weights.values())):
        return "a number of the network or of the rows is not finite"
    if any(array.shape != (n,) for array in (claim.labels, claim.radius, claim.lower_bound, claim.certified)):
        return "the rows have different numbers of entries"
    if claim.norm not in NORMS or (claim.activation is None) != (claim.kind != "PolynomialNetwork"):
        return "the norm or the activation is unknown"
    if claim.activation is not None and not (len(claim.activation) == 3 and np.isfinite(claim.activation).all()):
        return "the activation is not three finite numbers"
    if (claim.radius < 0).any() or (claim.weights["scale"] <= 0).any():
        return "a radius is negative, or a scale is not positive"
    if len(claim.classes) != max(2, claim.outputs):
        return "the classes do not fit to the outputs"
    if (claim.labels < 0).any() or (claim.labels >= len(claim.classes)).any():
        return "a label is not the number of a class"
    if len(box) == 1 or any(side.shape != (d,) for side in box) or (box and claim.norm != "linf"):
        return "the box does not fit to the rows"
    if box and (np.clip(claim.X, *box) != claim.X).any():
        return "a row lies outside of the box"
    return _weights_misfit(claim, d)


def _weights_misfit(claim: Claim, d: int) -> str | None:
    C, weights = claim.outputs, claim.weights
    if C < 1:
        return "the network has no outputs"
    m = len(weights[WEIGHTS[claim.kind][0]])
    shapes: dict[str, tuple[int, ...]] = {"shift": (d,), "scale": (d,)}
    if claim.kind == "GatedReLUNetwork":
        shapes |= {"gates": (m, d), "gate_biases": (m,), "weights": (m, d, C), "biases": (m, C)}
    else:
        shapes |= {"neurons": (m, d), "coefficients": (m, C)}
        shapes |= {"biases": (m,)} if claim.kind == "ReLUNetwork" else {}
    wrong = [name for name, shape in shapes.items() if weights[name].shape != shape]
    if wrong:
        return f"the weights {', '.join(wrong)} have a wrong shape"
    return _witness_misfit(claim, max(1, C - 1), m, d)


def _witness_misfit(claim: Claim, differences: int, m: int, d: int) -> str | None:
    start, witness = (len(claim.X), differences), claim.witness
    shapes: dict[str, tuple[int, ...]]
    if claim.kind != "PolynomialNetwork":
        shapes = {"slopes": (*start, m)}
        if "leaf_row" in witness:
            count = len(witness["leaf_row"])
            shapes |= {"leaf_row": (count,), "leaf_slot": (count,)}
            shapes |= dict.fromkeys(("leaf_held", "leaf_slopes", "leaf_tau"), (count, m))
    elif claim.norm == "l2":
        shapes = {"multiplier": start}
    elif claim.norm == "linf":
        shapes = {"multipliers": (*start, d)}
    else:
        p = witness["basis"].shape[1]
        pairs = max(1, claim.outputs * (claim.outputs - 1) // 2)
        shapes = {"basis": (pairs, p, d), "multipliers": (*start, p), "coordinates": (*start, p)}
    wrong = set(shapes) ^ set(witness) or {name for name in shapes if witness[name].shape != shapes[name]}
    return f"the witnesses {', '.join(sorted(wrong))} are missing, or have a wrong shape" if wrong else None
