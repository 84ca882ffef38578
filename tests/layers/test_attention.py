"""Attention, judged by the papers' equations in NumPy, step by step and row by row."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from elman.errors import ConfigError, UsageError
from elman.layers.attention import PLACES, SCORES, Attention, Place, Score
from elman.state import select

B, T, S = 4, 5, 6
LENGTHS = torch.tensor([6, 3, 1, 0])


def build(score: Score, place: Place = "global", window: int = 2) -> Attention:
    torch.manual_seed(0)
    sizes = (3, 3) if score == "dot" else (3, 4)
    return Attention(score, *sizes, size=0 if score == "dot" else 5, place=place, window=window).double()


def data(attention: Attention) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    query = torch.randn(B, T, attention.query_size, generator=generator, dtype=torch.float64)
    return query, torch.randn(B, S, attention.memory_size, generator=generator, dtype=torch.float64)


def weight(layer: object) -> np.ndarray:
    assert isinstance(layer, torch.nn.Linear)
    values: np.ndarray = layer.weight.detach().numpy()
    return values


def sigmoid(x: np.ndarray) -> np.ndarray:
    result: np.ndarray = 1 / (1 + np.exp(-x))
    return result


def score_again(attention: Attention, q: np.ndarray, m: np.ndarray) -> float:
    """One number, as in the papers."""
    if attention.score == "dot":
        return float(q @ m)
    if attention.score == "general":
        return float(q @ weight(attention.from_memory) @ m)
    joined = np.concatenate([weight(attention.from_query), weight(attention.from_memory)], axis=1)
    return float(weight(attention.weigh)[0] @ np.tanh(joined @ np.concatenate([q, m])))


def weights_again(attention: Attention, q: np.ndarray, memory: np.ndarray, t: int) -> np.ndarray:
    """(S,) weights of one query over a memory without padding."""
    steps = np.arange(len(memory))
    center = float(min(t, len(memory) - 1))
    if attention.place == "predictive":
        inner, outer = attention.locate[0], attention.locate[2]
        center = (len(memory) - 1) * float(sigmoid(weight(outer)[0] @ np.tanh(weight(inner) @ q)))
    near = steps if attention.place == "global" else [s for s in steps if abs(s - center) <= attention.window]
    exponentials = {s: np.exp(score_again(attention, q, memory[s])) for s in near}
    weights = np.zeros(len(memory))
    for s, value in exponentials.items():
        weights[s] = value / sum(exponentials.values())
    if attention.place == "predictive":
        sigma = attention.window / 2
        weights = weights * np.exp(-((steps - center) ** 2) / (2 * sigma**2))
    return weights


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("score", SCORES)
def test_the_equations_again(score: Score, place: Place) -> None:
    attention = build(score, place)
    query, memory = data(attention)
    context, weights = attention(query, memory, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        real = memory[row, :length].numpy()
        for t in range(T):
            expected = weights_again(attention, query[row, t].numpy(), real, t)
            np.testing.assert_allclose(weights[row, t, :length].detach().numpy(), expected, rtol=1e-10, atol=1e-13)
            np.testing.assert_allclose(context[row, t].detach().numpy(), expected @ real, rtol=1e-10, atol=1e-13)
        assert not weights[row, :, length:].any()


def test_dot_is_torchs_unscaled_attention() -> None:
    attention = build("dot")
    query, memory = data(attention)
    mask = torch.arange(S) < LENGTHS[:3, None]
    expected = F.scaled_dot_product_attention(query[:3], memory[:3], memory[:3], attn_mask=mask[:, None], scale=1.0)
    torch.testing.assert_close(attention(query[:3], memory[:3], LENGTHS[:3])[0], expected)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("score", SCORES)
def test_padding_is_never_read_and_gradients_are_right(score: Score, place: Place) -> None:
    attention = build(score, place)
    query, memory = data(attention)
    padding = (torch.arange(S) >= LENGTHS[:, None])[..., None]

    def gradients(fill: float) -> list[Tensor]:
        given = [query.clone().requires_grad_(), memory.masked_fill(padding, fill).requires_grad_()]
        context, weights = attention(*given, LENGTHS)
        loss = (context * torch.linspace(-1, 1, context.shape[-1])).sum() + (weights**2).sum()
        return [loss, *torch.autograd.grad(loss, [*given, *attention.parameters()])]

    for clean, poisoned in zip(gradients(0.0), gradients(torch.nan), strict=True):
        assert torch.equal(clean, poisoned)

    def values(query: Tensor, memory: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        context, weights = attention(query, memory, LENGTHS)
        return context, weights

    inputs = (query.requires_grad_(), memory.requires_grad_(), *attention.parameters())
    torch.autograd.gradcheck(values, inputs, fast_mode=True)


@settings(max_examples=40, deadline=None)
@given(
    score=st.sampled_from(SCORES),
    place=st.sampled_from(["global", "monotonic"]),
    lengths=st.lists(st.integers(0, S), min_size=1, max_size=4),
    position=st.integers(0, 20),
    scale=st.sampled_from([1e-3, 1.0, 1e6]),
)
def test_weights_are_a_distribution_over_real_steps(
    score: Score, place: Place, lengths: list[int], position: int, scale: float
) -> None:
    attention = build(score, place, window=1).float()
    sizes = attention.query_size, attention.memory_size
    query, memory = scale * torch.randn(len(lengths), sizes[0]), torch.randn(len(lengths), S, sizes[1])
    _, weights = attention(query, memory, torch.tensor(lengths), torch.full((len(lengths),), position))
    total = torch.tensor([float(length > 0) for length in lengths])
    torch.testing.assert_close(weights.sum(-1), total)
    assert bool((weights >= 0).all())


@pytest.mark.parametrize("place", PLACES)
def test_one_query_at_a_time_gives_what_all_give_at_once(place: Place) -> None:
    attention = build("general", place)
    query, memory = data(attention)
    context, weights = attention(query, memory, LENGTHS)
    remembered = attention.remember(memory, LENGTHS)
    for t in range(T):
        one, attended = attention.attend(query[:, t], remembered, torch.full((B,), t))
        torch.testing.assert_close(one, context[:, t])
        torch.testing.assert_close(attended, weights[:, t])


def test_a_remembered_memory_is_a_state_whose_rows_may_be_picked() -> None:
    attention = build("additive")
    query, memory = data(attention)
    context, _ = attention(query, memory, LENGTHS)
    rows = torch.tensor([1, 1, 0])
    picked, _ = attention.attend(query[rows], select(attention.remember(memory, LENGTHS), rows))
    torch.testing.assert_close(picked, context[rows])


def test_a_monotonic_window_follows_the_number_of_the_query_and_stays_at_the_end() -> None:
    attention = build("dot", "monotonic", window=1)
    query, memory = data(attention)
    for position, first, last in ((0, 0, 1), (3, 2, 4), (5, 4, 5), (50, 4, 5)):
        _, weights = attention(query[:1, 0], memory[:1], position=torch.tensor([position]))
        assert weights[0].nonzero().flatten().tolist() == list(range(first, last + 1))


@pytest.mark.parametrize("place", PLACES)
def test_a_memory_of_no_steps(place: Place) -> None:
    attention = build("additive", place)
    context, weights = attention(torch.ones(2, 3, 3).double(), torch.zeros(2, 0, 4).double())
    assert weights.shape == (2, 3, 0)
    assert torch.equal(context, torch.zeros(2, 3, 4).double())


def test_parameters() -> None:
    def count(score: Score, place: Place = "global") -> int:
        sizes = (4, 4) if score == "dot" else (4, 6)
        return sum(p.numel() for p in Attention(score, *sizes, size=5, place=place).parameters())

    assert [count(score) for score in SCORES] == [5 * 4 + 5 * 6 + 5, 0, 4 * 6, 5 * 4 + 5 * 6 + 5]
    assert count("dot", "predictive") == 5 * 4 + 5


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected `score` among additive, dot, general, concat; got 'cosine'"):
        Attention("cosine", 3, 3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="expected `place` among global, monotonic, predictive; got 'local'"):
        Attention("dot", 3, 3, place="local")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="the score 'dot' needs queries and memory of one size, got 3 and 4"):
        Attention("dot", 3, 4)
    with pytest.raises(
        ConfigError, match="expected `query_size` and `memory_size` >= 1 and `size` >= 0, got 0, 4 and 0"
    ):
        Attention("general", 0, 4)
    with pytest.raises(ConfigError, match="expected `window` >= 1, got 0"):
        Attention("general", 3, 4, window=0)


def test_wrong_shapes_are_refused() -> None:
    attention = Attention("general", 3, 4)
    with pytest.raises(UsageError, match=r"expected a memory \(batch, steps, 4\), got \(2, 5, 3\)"):
        attention(torch.zeros(2, 3), torch.zeros(2, 5, 3))
    with pytest.raises(UsageError, match=r"expected queries \(batch, 3\) or \(batch, time, 3\), got \(2, 4\)"):
        attention(torch.zeros(2, 4), torch.zeros(2, 5, 4))
    with pytest.raises(UsageError, match="expected a memory for each of 2 rows of queries, got 3"):
        attention(torch.zeros(2, 3), torch.zeros(3, 5, 4))
    with pytest.raises(UsageError, match=r"expected `lengths` in 0\.\.5"):
        attention(torch.zeros(2, 3), torch.zeros(2, 5, 4), torch.tensor([6, 1]))
