"""Every step against all steps in NumPy, what a window costs, and options."""

import math

import numpy as np
import pytest
import torch
from scipy.special import erf
from torch.nn.attention import SDPBackend, sdpa_kernel

from elman.errors import ConfigError
from elman.models.transformer import FeedForwardKind, Transformer, rotate


def layer_norm(a: np.ndarray, gain: np.ndarray, bias: np.ndarray) -> np.ndarray:
    centred = a - a.mean(-1, keepdims=True)
    return np.asarray(gain * centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) + bias)


def rotation(t: int, d: int) -> np.ndarray:
    """R_t, (d, d): eq. 15 of RoFormer with features i and i + d / 2 as a pair; the last of an odd number stays."""
    R, half = np.eye(d), d // 2
    for i in range(half):
        angle = t * 10_000.0 ** (-2 * i / (2 * half))
        c, s = math.cos(angle), math.sin(angle)
        R[i, i], R[i, half + i], R[half + i, i], R[half + i, half + i] = c, -s, s, c
    return R


def reference(encoder: Transformer, x: np.ndarray, heads: int, window: int) -> np.ndarray:
    """One query at a time, positions from the start of the sequence, T x T scores: (time, I) -> (time, H)."""
    p = {name: parameter.detach().numpy() for name, parameter in encoder.named_parameters()}
    r = x @ p["read.weight"].T + p["read.bias"]
    (T, H), d = r.shape, r.shape[1] // heads
    for n in range(len(encoder.blocks)):
        q = {name.removeprefix(f"blocks.{n}."): value for name, value in p.items() if name.startswith(f"blocks.{n}.")}
        normed = layer_norm(r, q["attention_norm.weight"], q["attention_norm.bias"])
        queries, keys, values = np.split(normed @ q["project.weight"].T + q["project.bias"], 3, -1)
        attended = np.zeros((T, H))
        for head in range(heads):
            own = slice(head * d, head * d + d)
            for t in range(T):
                past = range(max(0, t - window + 1), t + 1)
                scores = [rotation(t, d) @ queries[t, own] @ rotation(s, d) @ keys[s, own] / math.sqrt(d) for s in past]
                weights = np.exp(np.array(scores) - max(scores))
                attended[t, own] = weights / weights.sum() @ values[past.start : past.stop, own]
        r = r + attended @ q["mix.weight"].T + q["mix.bias"]
        normed = layer_norm(r, q["norm.weight"], q["norm.bias"])
        up = normed @ q["feed_forward.up.weight"].T + q["feed_forward.up.bias"]
        if encoder.blocks[n].feed_forward.gated:  # type: ignore[union-attr]
            opened, through = np.split(up, 2, -1)
            hidden = opened / (1 + np.exp(-opened)) * through
        else:
            hidden = up * (1 + erf(up / math.sqrt(2))) / 2
        r = r + hidden @ q["feed_forward.down.weight"].T + q["feed_forward.down.bias"]
    return layer_norm(r, p["norm.weight"], p["norm.bias"])


@pytest.mark.parametrize("feed_forward", ["gelu", "swiglu"])
@pytest.mark.parametrize(("heads", "window"), [(1, 30), (2, 4), (2, 1), (4, 7)])
def test_equal_to_attention_from_every_step_to_all(heads: int, window: int, feed_forward: FeedForwardKind) -> None:
    torch.manual_seed(0)
    encoder = Transformer(3, 12, heads=heads, window=window, feed_forward=feed_forward).double()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x = torch.randn(2, 23, 3).double()  # of which blocks of 4 and of 7 are no whole number
    y, _ = encoder(x)
    for row in range(2):
        expected = reference(encoder, x[row].numpy(), heads, window)
        np.testing.assert_allclose(y[row].detach(), expected, rtol=0, atol=1e-11)


def test_a_stream_of_any_length_loses_no_precision() -> None:
    """What came long ago and is out of reach changes nothing, in float32 either."""
    torch.manual_seed(0)
    encoder = Transformer(3, 8, window=6).eval()
    x = torch.randn(1, 20, 3)
    expected, _ = encoder(torch.cat([torch.randn(1, 30, 3), x], 1))
    actual, state = encoder(torch.cat([torch.randn(1, 20_000, 3), x], 1))
    torch.testing.assert_close(actual[:, -5:], expected[:, -5:], rtol=0, atol=2e-6)
    assert state.seen.tolist() == [5]


def test_steps_that_never_were_are_not_looked_at() -> None:
    """At the first step all attention is on that step: not on the zeros that fill the memory."""
    torch.manual_seed(0)
    encoder = Transformer(3, 8, layers=1, window=6).double()
    state = encoder.initial_state(1)
    garbage = state._replace(memories=tuple(m._replace(keys=m.keys + 9, values=m.values + 9) for m in state.memories))
    x = torch.randn(1, 3, 3).double()
    assert torch.equal(encoder(x, garbage)[0], encoder(x, state)[0])


def test_memory_grows_with_time_and_not_with_its_square() -> None:
    encoder = Transformer(3, 8, layers=1, window=16, heads=1)
    mask = encoder._windows(torch.zeros(1, dtype=torch.long), 16 * 50).mask
    assert mask.shape == (50, 1, 16, 31)


def test_the_second_derivative() -> None:
    torch.manual_seed(0)
    encoder = Transformer(2, 4, layers=1, window=3).double()
    with sdpa_kernel(SDPBackend.MATH):
        assert torch.autograd.gradgradcheck(lambda x: encoder(x)[0], torch.randn(2, 5, 2).double().requires_grad_())


def test_rotated_products_depend_on_distance_alone() -> None:
    q, k = torch.randn(2, 1, 5).double()
    angles = torch.arange(200)[:, None] * torch.tensor([1.0, 0.01]).double()
    products = [rotate(q, angles[t : t + 1]) @ rotate(k, angles[t - 7 : t - 6]).mT for t in (7, 60, 199)]
    torch.testing.assert_close(products[0], products[1])
    torch.testing.assert_close(products[0], products[2])


@pytest.mark.parametrize(("size", "heads"), [(4, 1), (64, 2), (100, 4), (128, 4), (37, 1)])
def test_heads_are_chosen_by_size(size: int, heads: int) -> None:
    assert Transformer(3, size).heads == heads


def test_depth_hardly_changes_the_size_of_the_residual_at_the_start() -> None:
    torch.manual_seed(0)
    sizes = []
    for layers in (1, 12):
        encoder = Transformer(8, 64, layers=layers)
        seen: list[torch.Tensor] = []
        encoder.norm.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0]))
        encoder(torch.randn(4, 100, 8))
        sizes.append(seen[0].square().mean().item())
    assert 0.5 < sizes[1] / sizes[0] < 2


def test_parameters_are_those_of_the_docstring() -> None:
    I, H, layers = 3, 6, 2  # noqa: E741
    expected = I * H + H + layers * (12 * H * H + 13 * H) + 2 * H
    assert sum(parameter.numel() for parameter in Transformer(I, H).parameters()) == expected
    gelu, swiglu = (
        sum(parameter.numel() for parameter in Transformer(3, 96, feed_forward=kind).parameters())
        for kind in ("gelu", "swiglu")
    )
    assert swiglu == pytest.approx(gelu, rel=0.01)


def test_out_of_range() -> None:
    with pytest.raises(ConfigError, match=r"`heads` that divide 6 features \(\[1, 2, 3, 6\]\).*got 4"):
        Transformer(3, 6, heads=4)
    with pytest.raises(ConfigError, match="`window`=0"):
        Transformer(3, 6, window=0)
    with pytest.raises(ConfigError, match="did you mean 'swiglu'"):
        Transformer(3, 6, feed_forward="swigl")  # type: ignore[arg-type]
