"""The equations again in NumPy, equality with torch's attention, and the theorems of the paper."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp, softmax
from torch import Tensor, nn
from torch.nn import functional as F

from elman.errors import ConfigError, UsageError
from elman.layers.hopfield import HopfieldAssociation, HopfieldLookup, retrieval_energy, retrieve
from elman.testing import check_layer


def normal(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_retrieval_is_the_update_rule_row_by_row(steps: int) -> None:
    queries, patterns, values = normal(0, 3, 4, 5), normal(1, 3, 6, 5), normal(2, 3, 6, 2)
    lengths, beta = torch.tensor([6, 3, 1]), 0.7
    found = retrieve(queries, patterns, beta, steps=steps, values=values, lengths=lengths)
    itself = retrieve(queries, patterns, beta, steps=steps, lengths=lengths)
    for row, length in enumerate(lengths.tolist()):
        X, V = patterns[row, :length].numpy().T, values[row, :length].numpy().T
        for step in range(4):
            q = queries[row, step].numpy()
            for _ in range(steps - 1):
                q = X @ softmax(beta * X.T @ q)
            weights = softmax(beta * X.T @ q)
            np.testing.assert_allclose(found[row, step], V @ weights, rtol=0, atol=1e-14)
            np.testing.assert_allclose(itself[row, step], X @ weights, rtol=0, atol=1e-14)


@pytest.mark.parametrize("beta", [0.1, 1.0, 3.0])
def test_one_step_is_attention(beta: float) -> None:
    queries, keys, values = normal(0, 2, 4, 5), normal(1, 2, 6, 5), normal(2, 2, 6, 3)
    expected = F.scaled_dot_product_attention(queries, keys, values, scale=beta)
    torch.testing.assert_close(retrieve(queries, keys, beta, values=values), expected, rtol=0, atol=1e-14)
    shared = F.scaled_dot_product_attention(
        queries, keys[:1].expand(2, -1, -1), values[:1].expand(2, -1, -1), scale=beta
    )
    torch.testing.assert_close(retrieve(queries, keys[:1], beta, values=values[:1]), shared, rtol=0, atol=1e-14)


def test_energy_is_the_papers_sum() -> None:
    queries, patterns, beta = normal(0, 2, 3, 4), normal(1, 2, 5, 4), 1.3
    actual = retrieval_energy(queries, patterns, beta)
    for row in range(2):
        X = patterns[row].numpy()
        M = np.linalg.norm(X, axis=1).max()
        for step in range(3):
            q = queries[row, step].numpy()
            expected = -logsumexp(beta * X @ q) / beta + q @ q / 2 + np.log(5) / beta + M**2 / 2
            np.testing.assert_allclose(actual[row, step], expected, rtol=0, atol=1e-14)


@given(seed=st.integers(0, 9999), beta=st.floats(0.01, 50), scale=st.floats(0.1, 5), count=st.integers(1, 8))
def test_energy_falls_step_by_step_and_is_never_negative(seed: int, beta: float, scale: float, count: int) -> None:
    patterns, queries = scale * normal(seed, 2, count, 6), 3 * normal(seed + 1, 2, 4, 6)
    energies = [retrieval_energy(queries, patterns, beta)]
    for _ in range(6):
        queries = retrieve(queries, patterns, beta)
        energies.append(retrieval_energy(queries, patterns, beta))
    trace = torch.stack(energies)
    tolerance = 1e-12 * float(trace.abs().max())
    assert (trace >= -tolerance).all()
    assert (trace.diff(dim=0) <= tolerance).all()


@given(seed=st.integers(0, 9999), beta=st.floats(1, 8), noise=st.floats(0, 0.5))
def test_the_error_of_one_step_falls_exponentially_with_separation(seed: int, beta: float, noise: float) -> None:
    """From the shares of the others, each at most exp(-beta (separation_i - 2 M |q - x_i|)), as in theorem 5."""
    patterns = normal(seed, 1, 7, 12)
    offsets = normal(seed + 1, 1, 7, 12)
    offsets = noise * offsets / offsets.norm(dim=-1, keepdim=True)
    found = retrieve(patterns + offsets, patterns, beta)[0].numpy()
    X = patterns[0].numpy()
    products, M = X @ X.T, np.linalg.norm(X, axis=1).max()
    for i in range(7):
        separation = products[i, i] - np.delete(products[i], i).max()
        bound = 2 * M * 6 * np.exp(-beta * (separation - 2 * M * noise))
        assert np.linalg.norm(found[i] - X[i]) <= bound + 1e-12


@pytest.mark.parametrize("size", [16, 24, 32])
def test_one_step_retrieves_exponentially_many_patterns(size: int) -> None:
    """2^(D/3) patterns on a sphere of radius 2 sqrt(D), each from 5 % of its length away; the classical limit is 0.138 D."""
    count = round(2 ** (size / 3))
    assert count > 0.138 * size * 15
    directions = normal(0, 1, count, size)
    patterns = 2 * math.sqrt(size) * directions / directions.norm(dim=-1, keepdim=True)
    noise = normal(1, 1, count, size)
    noise = 0.05 * 2 * math.sqrt(size) * noise / noise.norm(dim=-1, keepdim=True)
    found = retrieve(patterns + noise, patterns, 1.0)
    assert float((found - patterns).norm(dim=-1).max()) < 0.01 * float(noise.norm(dim=-1).max())


def test_beta_goes_from_the_mean_to_the_nearest() -> None:
    queries, patterns = normal(0, 1, 1, 4), normal(1, 1, 5, 4)
    mean = patterns.mean(1, keepdim=True)
    torch.testing.assert_close(retrieve(queries, patterns, 1e-9), mean, rtol=0, atol=1e-8)
    nearest = patterns[:, (patterns @ queries.mT).flatten().argmax()][None]
    torch.testing.assert_close(retrieve(queries, patterns, 1e9), nearest, rtol=0, atol=0)


def test_what_is_not_in_memory_is_not_read() -> None:
    lengths = torch.tensor([3, 0, 1])
    padding = torch.arange(3) >= lengths[:, None]
    results = []
    for value in (0.0, torch.nan):
        queries = normal(0, 3, 2, 4).requires_grad_()
        patterns = normal(1, 3, 3, 4).masked_fill(padding[..., None], value).requires_grad_()
        values = normal(2, 3, 3, 5).masked_fill(padding[..., None], value).requires_grad_()
        found = retrieve(queries, patterns, 1.0, steps=3, values=values, lengths=lengths)
        assert not found[1].any()
        results.append((found, *torch.autograd.grad(found.square().sum(), (queries, patterns, values))))
    for zeros, nans in zip(*results, strict=True):
        assert torch.equal(zeros, nans)
    assert not retrieve(normal(0, 2, 3, 4), torch.zeros(2, 0, 4).double(), 1.0).any()


def test_gradients_of_retrieval_and_energy() -> None:
    def inputs() -> tuple[Tensor, Tensor, Tensor]:
        return (
            normal(0, 2, 3, 4).requires_grad_(),
            normal(1, 2, 5, 4).requires_grad_(),
            normal(2, 2, 5, 3).requires_grad_(),
        )

    def retrieved(queries: Tensor, patterns: Tensor, values: Tensor) -> Tensor:
        return retrieve(queries, patterns, 0.8, steps=3, values=values, lengths=torch.tensor([5, 2]))

    torch.autograd.gradcheck(retrieved, inputs())
    torch.autograd.gradcheck(lambda queries, patterns, _: retrieval_energy(queries, patterns, 0.8), inputs())


@pytest.mark.parametrize(("heads", "steps", "beta"), [(1, 1, None), (2, 3, None), (4, 1, 5.0)])
def test_the_lookup_keeps_the_contract_of_layers(heads: int, steps: int, beta: float | None) -> None:
    check_layer(lambda: HopfieldLookup(3, 8, 5, heads=heads, steps=steps, beta=beta))


def test_the_lookup_is_its_equation() -> None:
    torch.manual_seed(0)
    layer = HopfieldLookup(3, 4, 6, output_size=5, heads=2, beta=1.5, steps=2).double()
    x = normal(0, 2, 3, 3)
    y, state = layer(x)
    W_q, X, V, W_o = (
        p.detach().numpy() for p in (layer.query.weight, layer.patterns, layer.values, layer.output.weight)
    )
    for row in range(2):
        for step in range(3):
            queries = np.split(W_q @ x[row, step].numpy(), 2)
            heads = []
            for head, q in enumerate(queries):
                q = softmax(1.5 * X[head] @ q) @ X[head]
                heads.append(softmax(1.5 * X[head] @ q) @ V[head])
            np.testing.assert_allclose(y[row, step].detach(), W_o @ np.concatenate(heads), rtol=0, atol=1e-14)
    assert state == ()
    assert sum(p.numel() for p in layer.parameters()) == 3 * 4 + 2 * 6 * 4 + 4 * 5


def test_a_lookup_learns_a_table() -> None:
    torch.manual_seed(0)
    layer = HopfieldLookup(8, 8, 16, output_size=2)
    optimiser = torch.optim.Adam(layer.parameters(), 0.03)
    keys, answers = torch.randn(1, 10, 8), torch.randn(1, 10, 2)
    for _ in range(200):
        loss = F.mse_loss(layer(keys)[0], answers)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert loss < 1e-2


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_association_is_torchs_multi_head_attention(heads: int) -> None:
    torch.manual_seed(0)
    ours = HopfieldAssociation(8, 6, 8, heads=heads).double()
    torchs = nn.MultiheadAttention(8, heads, bias=False, kdim=6, vdim=6, batch_first=True).double()
    with torch.no_grad():
        for theirs, own in (("q", ours.query), ("k", ours.key), ("v", ours.value)):
            getattr(torchs, f"{theirs}_proj_weight").copy_(own.weight)
        torchs.out_proj.weight.copy_(ours.output.weight)
    queries, memory, lengths = normal(0, 3, 4, 8), normal(1, 3, 5, 6), torch.tensor([5, 1, 3])
    masked = torch.arange(5) >= lengths[:, None]
    expected = torchs(queries, memory, memory, key_padding_mask=masked, need_weights=False)[0]
    torch.testing.assert_close(ours(queries, memory, lengths), expected, rtol=0, atol=1e-14)
    assert sum(p.numel() for p in ours.parameters()) == 8 * 8 + 2 * 6 * 8 + 8 * 8


def test_association_does_not_read_padding() -> None:
    torch.manual_seed(0)
    layer = HopfieldAssociation(3, 2, 4, output_size=5, heads=2, steps=2).double()
    lengths, memory_lengths = torch.tensor([4, 2, 0]), torch.tensor([3, 0, 2])
    results = []
    for value in (0.0, torch.nan):
        queries = normal(0, 3, 4, 3).masked_fill((torch.arange(4) >= lengths[:, None])[..., None], value)
        memory = normal(1, 3, 3, 2).masked_fill((torch.arange(3) >= memory_lengths[:, None])[..., None], value)
        queries.requires_grad_()
        memory.requires_grad_()
        y = layer(queries, memory, memory_lengths, lengths)
        assert y.shape == (3, 4, 5)
        assert y[0].any()
        assert not y[1:].any()  # an empty memory, no query
        results.append((y, *torch.autograd.grad(y.square().sum(), [queries, memory, *layer.parameters()])))
    for zeros, nans in zip(*results, strict=True):
        assert torch.equal(zeros, nans)
    alone = layer(normal(0, 3, 4, 3)[:1], normal(1, 3, 3, 2)[:1])
    torch.testing.assert_close(results[0][0][:1], alone, rtol=0, atol=1e-14)
    assert layer(normal(0, 2, 0, 3), normal(1, 2, 3, 2)).shape == (2, 0, 5)
    assert not layer(normal(0, 2, 4, 3), normal(1, 2, 0, 2)).any()


def test_more_steps_sharpen_what_was_found() -> None:
    """Started between two patterns, nearer to one: the association of one step is a mixture, that of many is the one."""
    patterns = torch.tensor([[[2.0, 0.0], [0.0, 2.0]]])
    query = torch.tensor([[[1.1, 0.9]]])
    one, many = (retrieve(query, patterns, 1.5, steps=steps)[0, 0] for steps in (1, 50))
    assert one[0] < 1.5
    assert many[0] > 1.9
    torch.testing.assert_close(retrieve(many[None, None], patterns, 1.5)[0, 0], many, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 0.0}, "expected a finite `beta` above 0, got 0.0"),
        ({"beta": math.inf}, "expected a finite `beta` above 0, got inf"),
        ({"steps": 0}, "expected `steps` of 1 or more, got 0"),
        ({"heads": 3}, "expected `heads` that divide `hidden_size` = 4, got 3"),
        ({"heads": 0}, "expected `heads` of 1 or more, got 0"),
        ({"output_size": 0}, "expected `output_size` of 1 or more, got 0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, int], message: str) -> None:
    for layer in (HopfieldLookup, HopfieldAssociation):
        with pytest.raises(ConfigError, match=message):
            layer(3, 4, 5 if layer is HopfieldLookup else 4, **options)
    with pytest.raises(ConfigError, match="expected `num_patterns` of 1 or more, got 0"):
        HopfieldLookup(3, 4, 0)


def test_shapes_that_do_not_fit_are_refused() -> None:
    queries, patterns = normal(0, 2, 3, 4), normal(1, 2, 5, 4)
    for wrong in (patterns[..., :3], patterns[0], normal(1, 3, 5, 4)):
        with pytest.raises(UsageError, match=r"expected `queries` \(batch, time, D\) and `patterns` \(batch or 1"):
            retrieve(queries, wrong, 1.0)
    with pytest.raises(UsageError, match=r"expected `values` \(2, 5\) \+ \(size,\), got \(2, 4, 4\)"):
        retrieve(queries, patterns, 1.0, values=patterns[:, :4])
    with pytest.raises(UsageError, match="an empty memory has no energy"):
        retrieval_energy(queries, patterns[:, :0], 1.0)
    with pytest.raises(UsageError, match=r"expected `lengths` in 0\.\.5"):
        retrieve(queries, patterns, 1.0, lengths=torch.tensor([6, 1]))
    lookup, association = HopfieldLookup(3, 4, 5), HopfieldAssociation(3, 2, 4)
    with pytest.raises(UsageError, match=r"expected `x` \(batch, steps, 3\), got \(2, 6, 4\)"):
        lookup(torch.zeros(2, 6, 4))
    with pytest.raises(UsageError, match=r"expected `x` \(batch, steps, 3\), got \(6, 3\)"):
        lookup(torch.zeros(6, 3))
    with pytest.raises(UsageError, match=r"expected `queries` \(batch, steps, 3\), got \(6, 3\)"):
        association(torch.zeros(6, 3), torch.zeros(6, 7, 2))
    with pytest.raises(UsageError, match=r"expected `memory` \(batch, steps, 2\), got \(2, 7, 3\)"):
        association(torch.zeros(2, 6, 3), torch.zeros(2, 7, 3))
    with pytest.raises(UsageError, match="expected a `memory` for each of 2 rows of queries, got 1"):
        association(torch.zeros(2, 6, 3), torch.zeros(1, 7, 2))
