"""Smoke test of an installed convexadv, run outside of the repository: make wheel."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import metadata, requires
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import convexadv as ca
from convexadv.datasets import load, standardise
from convexadv.plotting import plot_convergence


def check(holds: bool, what: str) -> None:
    """Print what was looked at; the first failure ends the run with an error."""
    print(f"{'ok' if holds else 'FAILED':<7} {what}")
    if not holds:
        sys.exit(1)


def main() -> None:
    """Everything a first user does: train, certify, save, verify, use the command line."""
    here, home = Path(__file__).parent.resolve(), Path(ca.__file__).resolve()
    check(home.is_relative_to(Path(sys.prefix).resolve()), f"convexadv is the installed one: {home.parent}")
    check((files("convexadv") / "py.typed").is_file(), "py.typed is there")
    check(metadata("convexadv")["Version"] == ca.__version__, f"version {ca.__version__}")
    check(all(hasattr(ca, name) for name in ca.__all__), f"{len(ca.__all__)} public names")

    data = load("wdbc")
    X = standardise(data.X).apply(data.X)
    problem = ca.PolynomialProblem(X, data.y, radius=0.08, beta=0.005)
    solution = ca.solve(problem, tol=1e-3)
    check(solution.status.ok, f"a robust network, certified to {solution.gap:.1e}")
    check(problem.lower_bound(solution.certificate) <= solution.objective, "its bound, recomputed")
    ca.save(solution.network, here / "network.safetensors")
    certificate = ca.certify(ca.load(here / "network.safetensors"), X, data.y, 0.08)
    ca.save_certificate(certificate, here / "proof.safetensors")
    check(ca.verify_certificate(here / "proof.safetensors").ok, "a certificate of robustness, saved and verified")
    relu = ca.ReLUProblem(X[:100], data.y[:100], n_gates=10, beta=0.01, loss="squared_hinge")
    check(ca.solve(relu).status.ok, "a ReLU network")
    check(ca.solve(relu, "CLARABEL").status.ok, "the same by CLARABEL")

    fit = ["convexadv", "fit", "wdbc", "--radius", "0.08", "--beta", "0.005", "--out", "model.safetensors"]
    check(subprocess.run(fit, cwd=here, capture_output=True, check=False).returncode == 0, "convexadv fit")
    if find_spec("matplotlib") is None:
        try:
            plot_convergence(solution)
        except ca.InputError as error:
            check("convexadv[plot]" in str(error), "no matplotlib; a plot says how to get it")
        else:
            check(False, "a plot without matplotlib")
    else:
        check(bool(plot_convergence(solution).get_ylabel()), "a plot")
    base = {name for name in requires("convexadv") or [] if "extra ==" not in name}
    check(not any(name.startswith("matplotlib") for name in base), "the base install asks for no matplotlib")
    extras = {"mosek", "onnx", "plot", "notebooks", "bench", "dev"}
    named = {extra for extra in extras if any(f'extra == "{extra}"' in each for each in requires("convexadv") or [])}
    check(named == extras, f"extras {', '.join(sorted(extras))}")


if __name__ == "__main__":
    main()
