"""matplotlib is an extra: all but plots works without it, and a plot says in a sentence how to get it."""

import subprocess
import sys

import numpy as np
import pytest

import convexadv as ca
from convexadv import plotting
from convexadv.cli import main
from convexadv.solvers import Record

SENTENCE = "plots need the package matplotlib; pip install 'convexadv[plot]' brings it."
BLOCK = "import sys; sys.modules['matplotlib'] = None; "


@pytest.fixture
def blocked(monkeypatch):
    """Importing matplotlib fails, as it does where it is not installed."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError):
        import matplotlib  # noqa: F401


def python(code, folder):
    """Run code in a fresh process that has no matplotlib."""
    return subprocess.run([sys.executable, "-c", BLOCK + code], cwd=folder, capture_output=True, text=True, timeout=300)


def test_import_fit_and_estimators_need_no_matplotlib(tmp_path):
    code = (
        "import convexadv as ca, convexadv.plotting\n"
        "X, y = [[1, 1], [-1, -1], [1, -1], [-1, 1]], [1, 1, 0, 0]\n"
        "assert all(hasattr(ca, name) for name in ca.__all__)\n"
        "problem = ca.PolynomialProblem(X, y, radius=0.2, beta=0.01)\n"
        "solution = ca.solve(problem)\n"
        "assert solution.status.ok and ca.certify(solution.network, X, y, 0.2).certified.all()\n"
        "assert ca.ReLUClassifier(n_gates=8, tol=1e-2, loss='squared_hinge').fit(X, y).predict(X).shape == (4,)\n"
        "print(sorted(name for name in sys.modules if name.startswith('matplotlib')))\n"
    )
    run = python(code, tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "['matplotlib']"  # the blocked one


def test_command_line_needs_no_matplotlib_unless_it_plots(tmp_path):
    fit = "['fit', 'wdbc', '--beta', '0.01', '--tol', '1e-2', '--out', 'model.safetensors'%s]"
    run = python(f"from convexadv.cli import main; sys.exit(main({fit % ''}))", tmp_path)
    assert run.returncode == 0, run.stderr
    (tmp_path / "model.safetensors").unlink()
    extra = ", '--plot', 'gap.png'"
    run = python(f"from convexadv.cli import main; sys.exit(main({fit % extra}))", tmp_path)
    assert run.returncode == 2
    assert SENTENCE in run.stderr
    assert run.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [
        "fit wdbc --out {0}/m.safetensors --plot {0}/p.png",
        "certify {0}/m.safetensors wdbc --radius 0.1 --plot {0}/p.png",
        "demo --out {0}/demo --quick",
    ],
)
def test_commands_that_plot_say_so_before_they_compute(blocked, command, tmp_path, capsys):
    assert main(command.format(tmp_path).split()) == 2
    assert SENTENCE in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


class Curve:
    radii, clean, attacked, certified = (0.1,), 0.9, (0.7,), (0.6,)


X = np.array([[1.0, 1], [-1, -1], [1, -1], [-1, 1]])
Y = np.array([1, 1, 0, 0])


def network():
    return ca.PolynomialNetwork(np.eye(2), np.array([1.0, -1.0]), classes=[0, 1])


def path():
    return ca.regularisation_path(ca.PolynomialProblem(X, Y), n_betas=2, tol=1e-2)


def history():
    return [Record(0.1, 0.8, 0.1, 1), Record(0.2, 0.6, 0.5, 3)]


def growth():
    problem = ca.ReLUProblem(X, Y, n_gates=2, beta=0.05, loss="squared_hinge", random_state=0)
    return ca.grow_patterns(problem, rounds=1, tol=1e-2)


DRAW = {
    "new_figure": lambda: plotting.new_figure(1, (4, 3)),
    "plot_accuracy": lambda: plotting.plot_accuracy({"robust": Curve()}),
    "plot_boundary": lambda: plotting.plot_boundary(network(), X, Y, 0.1),
    "plot_convergence": lambda: plotting.plot_convergence(history()),
    "plot_neurons": lambda: plotting.plot_neurons(network(), (1, 2)),
    "plot_spectrum": lambda: plotting.plot_spectrum(network()),
    "plot_path": lambda: plotting.plot_path(path()),
    "plot_tradeoff": lambda: plotting.plot_tradeoff(path().accuracies(X, Y, 0.1)),
    "plot_patterns": lambda: plotting.plot_patterns(history()),
    "plot_growth": lambda: plotting.plot_growth(growth()),
    "plot_head_report": lambda: plotting.plot_head_report(None),
    "plot_margin_surface": lambda: plotting.plot_margin_surface(None),
}


def test_every_plot_is_tried():
    assert set(DRAW) == set(plotting.__all__) - {"save_figure"}  # which takes a figure: matplotlib is there


@pytest.mark.parametrize("name", sorted(DRAW))
def test_a_plot_gives_the_sentence(blocked, name):
    with pytest.raises(ca.InputError) as caught:
        DRAW[name]()
    assert str(caught.value) == SENTENCE
