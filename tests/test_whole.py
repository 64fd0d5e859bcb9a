"""What looks at rows as a whole takes them from files, sources and PyTorch data sets too."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.utils.data import TensorDataset

import convexadv as ca
from convexadv.rows import whole
from convexadv.sources import BlockRows, open_rows


@pytest.fixture(scope="module")
def fitted():
    X = np.random.default_rng(0).normal(size=(60, 4))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    return X, y, ca.solve(ca.PolynomialProblem(X, y, beta=0.005), tol=1e-3).network


def npy(X):
    np.save("rows.npy", X)
    return "rows.npy"


def safetensors(X):
    save_file({"X": torch.tensor(X)}, "rows.safetensors")
    return "rows.safetensors"


FORMS = {
    "path": npy,
    "safetensors": safetensors,
    "list of paths": lambda X: [npy(X)],
    "source": lambda X: open_rows(npy(X)),
    "blocks": lambda X: BlockRows([X[:25], X[25:]]),
    "data set": lambda X: TensorDataset(torch.tensor(X), torch.zeros(len(X))),
}
ASKED = {
    "certify": lambda net, X, y: ca.certify(net, X, y, 0.1).lower_bound,
    "worst_case_margin": lambda net, X, y: ca.worst_case_margin(net, X, y, 0.1, "linf").lower_bound,
    "distance_to_boundary": lambda net, X, y: ca.distance_to_boundary(net, X).distances,
    "attack": lambda net, X, y: ca.attack(net, X, y, 0.1).margins,
    "robust_accuracy": lambda net, X, y: ca.robust_accuracy(net, X, y, [0.1]).attacked,
    "scores": lambda net, X, y: net.scores(X),
    "classifier": lambda net, X, y: ca.PolynomialClassifier(beta=0.005, tol=1e-2).fit(X, y).decision_function(X),
    "regressor": lambda net, X, y: ca.PolynomialRegressor(beta=0.005, tol=1e-2).fit(X, y).predict(X),
}


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("form", FORMS)
def test_the_answer_is_that_of_the_array(fitted, form, asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X, y, network = fitted
    np.testing.assert_allclose(ASKED[asked](network, FORMS[form](X), y), ASKED[asked](network, X, y), rtol=1e-9)


@pytest.mark.parametrize("asked", ASKED)
def test_what_cannot_be_read_is_one_sentence(fitted, asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ca.InputError, match=r"^X cannot be read: there is no file or folder none.npy\.$"):
        ASKED[asked](fitted[2], "none.npy", fitted[1])


def test_all_else_is_left_alone():
    for X in (np.ones((2, 2)), torch.ones(2, 2), [[1.0, 2.0]], [np.ones((2, 2))], [], None):
        assert whole(X) is X
