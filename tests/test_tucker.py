"""The Tucker-2 projection: against both truncated SVDs, random feasible factors, the SVD, and closed forms."""

from __future__ import annotations

import pytest
import torch

from convexadv.compression.projection import low_rank, project
from convexadv.compression.tucker import truncated_hosvd, tucker2
from convexadv.errors import InputError


def kernel(shape, seed=0, decay=0.0):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return weight * torch.arange(1, shape[0] + 1).pow(-decay).reshape(-1, 1, 1, 1)


def hosvd_by_svd(weight, ranks):
    """Plain truncated higher-order SVD, from two singular value decompositions."""
    outer = torch.linalg.svd(weight.flatten(1), full_matrices=False)[0][:, : ranks[0]]
    inner = torch.linalg.svd(weight.transpose(0, 1).flatten(1), full_matrices=False)[0][:, : ranks[1]]
    core = torch.einsum("oihw,op,iq->pqhw", weight, outer, inner)
    return torch.einsum("pqhw,op,iq->oihw", core, outer, inner)


CASES = [
    ((4, 3, 3, 3), (2, 2), 0.0),
    ((8, 6, 3, 3), (3, 4), 0.0),
    ((8, 6, 3, 3), (8, 2), 0.5),
    ((5, 12, 1, 3), (2, 5), 1.0),
    ((12, 3, 5, 5), (9, 3), 0.0),
    ((6, 6, 2, 2), (1, 1), 0.0),
]


@pytest.mark.parametrize(("shape", "ranks", "decay"), CASES)
@pytest.mark.parametrize("seed", range(5))
def test_never_worse_than_a_truncated_svd(shape, ranks, decay, seed):
    weight = kernel(shape, seed, decay)
    found = tucker2(weight, ranks)
    plain = float((weight - hosvd_by_svd(weight, ranks)).norm())
    rounding = 1e-12 * float(weight.norm())
    assert truncated_hosvd(weight, ranks).residual == pytest.approx(plain, abs=rounding)
    for order in (None, "inner", "outer"):
        assert found.residual <= truncated_hosvd(weight, ranks, order).residual + rounding
    assert found.residual == pytest.approx(float((weight - found.kernel()).norm()), abs=rounding)


def test_better_than_the_truncated_svd_on_flat_spectra():
    gains = [1 - tucker2(w, (4, 4)).residual / truncated_hosvd(w, (4, 4)).residual for w in map(flat, range(5))]
    assert min(gains) > 0.002


def flat(seed):
    return kernel((16, 16, 3, 3), seed)


@pytest.mark.parametrize(("shape", "ranks", "decay"), CASES)
def test_never_worse_than_random_factors_with_their_best_core(shape, ranks, decay):
    weight = kernel(shape, 7, decay)
    generator = torch.Generator().manual_seed(1)
    outer = torch.linalg.qr(torch.randn(1000, shape[0], ranks[0], generator=generator, dtype=torch.float64))[0]
    inner = torch.linalg.qr(torch.randn(1000, shape[1], ranks[1], generator=generator, dtype=torch.float64))[0]
    cores = torch.einsum("oihw,nop,niq->npqhw", weight, outer, inner)
    best = (weight.square().sum() - cores.flatten(1).square().sum(1)).clamp(min=0.0).min().sqrt()
    assert tucker2(weight, ranks).residual <= float(best) + 1e-12


@pytest.mark.parametrize(("shape", "ranks", "decay"), CASES)
def test_factors_are_orthonormal_and_the_core_is_the_best(shape, ranks, decay):
    weight = kernel(shape, 3, decay)
    outer, core, inner, residual = tucker2(weight, ranks)
    assert outer.shape == (shape[0], ranks[0])
    assert core.shape == (*ranks, *shape[2:])
    assert inner.shape == (shape[1], ranks[1])
    torch.testing.assert_close(outer.T @ outer, torch.eye(ranks[0], dtype=torch.float64))
    torch.testing.assert_close(inner.T @ inner, torch.eye(ranks[1], dtype=torch.float64))
    torch.testing.assert_close(core, torch.einsum("oihw,op,iq->pqhw", weight, outer, inner))
    energy = float(weight.square().sum())
    assert residual**2 == pytest.approx(energy - float(core.square().sum()), abs=1e-12 * energy)


def test_no_sweep_from_the_result_gains():
    """A stationary point: each factor spans the leading singular vectors of what the other one lets through."""
    weight = kernel((8, 6, 3, 3), 11)
    found = tucker2(weight, (3, 3), tolerance=1e-15, max_sweeps=2000)
    seen = torch.einsum("oihw,iq->oqhw", weight, found.inner).flatten(1)
    values = torch.linalg.svdvals(seen)[:3]
    assert float(values.square().sum()) == pytest.approx(float(found.core.square().sum()), rel=1e-10)


@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (6, 6)])
def test_one_by_one_kernels_are_the_svd(shape):
    weight = kernel((*shape, 1, 1), 2)
    left, values, right = torch.linalg.svd(weight[:, :, 0, 0], full_matrices=False)
    for rank in range(1, min(shape) + 1):
        best = (left[:, :rank] * values[:rank]) @ right[:rank]
        torch.testing.assert_close(project(weight, (rank, rank))[:, :, 0, 0], best)
        torch.testing.assert_close(project(weight, rank)[:, :, 0, 0], best)
        torch.testing.assert_close(project(weight[:, :, 0, 0], rank), best)
        factors = low_rank(weight[:, :, 0, 0], rank)
        torch.testing.assert_close(factors[0] @ factors[1], best)
        assert factors[2] == pytest.approx(float(values[rank:].norm()))


@pytest.mark.parametrize("shape", [(4, 6, 3, 3), (6, 4, 1, 3), (3, 3, 1, 1), (1, 5, 3, 3)])
def test_exact_at_full_rank(shape):
    weight = kernel(shape, 4)
    ranks = (shape[0], min(shape[1], shape[0] * shape[2] * shape[3]))
    found = tucker2(weight, ranks)
    torch.testing.assert_close(found.kernel(), weight, rtol=0, atol=1e-13)
    assert found.residual < 1e-13


@pytest.mark.parametrize("ranks", [(2, 3), (3, 2), (1, 4), (4, 1), (1, 1)])
def test_recovers_a_kernel_of_low_rank_to_the_last_digits(ranks):
    """In float64 this needs singular values: a Gram matrix knows the residual to half the digits only."""
    generator = torch.Generator().manual_seed(5)
    parts = [torch.randn(*s, generator=generator, dtype=torch.float64) for s in ((9, ranks[0]), (*ranks, 3, 3))]
    inner = torch.randn(8, ranks[1], generator=generator, dtype=torch.float64)
    weight = torch.einsum("op,pqhw,iq->oihw", *parts, inner)
    assert tucker2(weight, ranks).residual < 1e-13 * float(weight.norm())


def test_diagonal_kernel_keeps_its_largest_entries():
    """W[j, j] = s_j times one filter: the best ranks (r, r) leave out the smallest s_j, whatever the filter."""
    sizes = torch.tensor([5.0, 1.0, 4.0, 2.0, 3.0], dtype=torch.float64)
    filter_ = torch.tensor([[0.6, 0.0], [0.0, 0.8]], dtype=torch.float64)
    weight = torch.diag(sizes)[:, :, None, None] * filter_
    for rank, left in [(1, [1, 4, 2, 3]), (2, [1, 2, 3]), (3, [1, 2]), (4, [1])]:
        residual = tucker2(weight, (rank, rank)).residual
        assert residual == pytest.approx(float(torch.tensor(left).double().norm()))


def test_groups_are_projected_one_by_one():
    weight = kernel((8, 3, 3, 3), 6)
    by_hand = torch.cat([tucker2(weight[:4], (2, 2)).kernel(), tucker2(weight[4:], (2, 2)).kernel()])
    torch.testing.assert_close(project(weight, (2, 2), groups=2), by_hand)


def test_dtype_is_kept_and_dense_is_a_copy():
    weight = kernel((4, 3, 3, 3)).float().requires_grad_()
    assert project(weight, (2, 2)).dtype == torch.float32
    assert not project(weight, (2, 2)).requires_grad
    copy = project(weight, "dense")
    torch.testing.assert_close(copy, weight.detach(), rtol=0, atol=0)
    assert copy.data_ptr() != weight.data_ptr()


def test_zero_kernel():
    found = tucker2(torch.zeros(4, 3, 3, 3), (2, 2))
    assert found.residual == 0.0
    assert torch.equal(found.kernel(), torch.zeros(4, 3, 3, 3, dtype=torch.float64))


@pytest.mark.parametrize(
    ("weight", "ranks", "sentence"),
    [
        (torch.ones(4, 3, 3, 3), (5, 2), "do not fit"),
        (torch.ones(4, 3, 1, 1), (1, 2), "R_in <= 1 R_out"),
        (torch.ones(4, 30, 3, 3), (1, 10), "R_in <= 9 R_out"),
        (torch.ones(4, 3, 3, 3), (0, 2), "do not fit"),
        (torch.ones(4, 3, 3, 3), "full", '"dense"'),
        (torch.ones(4, 3, 3, 3), 2, "larger than 1 x 1 needs two"),
        (torch.ones(4, 3), 4, "from 1 to 3"),
        (torch.full((4, 3, 3, 3), torch.nan), (2, 2), "must be finite"),
        (torch.ones(4, 3, 3), (2, 2), "4 dimensions"),
    ],
)
def test_what_does_not_fit_is_said(weight, ranks, sentence):
    with pytest.raises(InputError, match=sentence):
        project(weight, ranks)
