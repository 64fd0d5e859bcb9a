"""``convexadv verify``: whether every claim of a certificate file holds. Needs NumPy and safetensors, no torch."""

from __future__ import annotations

import argparse

import numpy as np

from .._json import to_json
from ..verification import Claim, same_network, verify_certificate
from .exit_codes import ExitCode
from .output import say


def run(arguments: argparse.Namespace) -> ExitCode:
    """Recompute the bounds of a certificate and compare them with its claims."""
    match = None
    found = verify_certificate(arguments.certificate)
    if arguments.model is not None:
        match = same_network(found.claim, arguments.model)
    claim, n = found.claim, len(found.bound)
    good = found.ok and match is not False
    report = {
        "certificate": arguments.certificate,
        "ok": good,
        "rows": n,
        "claimed": found.claimed,
        "verified": found.verified,
        "bounds_that_hold": int(found.holds.sum()),
        "worst_bound": found.worst,
        "network": claim.fingerprint(),
        "model_matches": match,
    }
    code = ExitCode.OK if good else ExitCode.NOT_VERIFIED
    if arguments.json:
        say(to_json(report))
        return code
    say(f"{arguments.certificate}: {claim.kind} of {claim.X.shape[1]} features, {claim.norm} balls, {_radius(claim)}")
    say(f"rows claimed   {found.claimed} of {n} certified")
    say(f"rows verified  {found.verified}")
    say(f"worst bound    {found.worst:.6g}, the least margin recomputed for the rows claimed")
    say(f"network        sha256 {claim.fingerprint()[:16]}{_matches(match, arguments.model)}")
    failed = n - int(found.holds.sum())
    if failed:
        say(f"NOT VERIFIED: the claims of {failed} rows do not hold, row {int(np.argmin(found.holds))} first.")
    elif not good:
        say("NOT VERIFIED: every bound holds, but for another network.")
    else:
        say("Every claim holds.")
    return code


def _radius(claim: Claim) -> str:
    low, high = float(claim.radius.min()), float(claim.radius.max())
    return f"radius {low:g}" if low == high else f"radius {low:g} to {high:g}"


def _matches(match: bool | None, model: str | None) -> str:
    if match is None:
        return ""
    return f", the one of {model}" if match else f", not the one of {model}"
