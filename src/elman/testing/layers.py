"""The conformance suite of layers: what `SequenceLayer` promises, checked on any of them."""

import inspect
from collections.abc import Callable, Mapping

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from elman.cells import GRU, LSTM, Elman
from elman.errors import UsageError
from elman.layers import (
    Backward,
    Bidirectional,
    Completed,
    FeedForward,
    PerStep,
    Pooling,
    Recurrent,
    SequenceLayer,
    Stack,
)
from elman.layers.causal_convolution import CausalConvolution
from elman.layers.hopfield import HopfieldLookup
from elman.state import State, detach, leaves, map_leaves, select
from elman.testing.compare import assert_equal, run, run_with_gradients
from elman.testing.discover import concrete_classes

Factory = Callable[[], SequenceLayer]

TIME = 6
LENGTHS = (6, 3, 0, 1, 5)


def _bidirectional() -> Bidirectional:
    return Bidirectional(Recurrent(GRU(3, 4)), Recurrent(Elman(3, 2), direction="backward"))


LAYERS: dict[str, Factory] = {
    "recurrent": lambda: Recurrent(LSTM(3, 4)),
    "recurrent, backward": lambda: Recurrent(LSTM(3, 4), direction="backward"),
    "bidirectional": _bidirectional,
    "backward": lambda: Backward(Pooling("mean", 3)),
    "causal convolution": lambda: CausalConvolution(3, 4, 2, dilation=2),
    "completed": lambda: Completed(Recurrent(GRU(7, 4)), 3),
    "per step": lambda: PerStep(nn.Linear(3, 4)),
    "feed forward": lambda: FeedForward(3, dropout=0.5),
    "feed forward, not gated": lambda: FeedForward(3, gated=False),
    "pooling, last": lambda: Pooling("last", 3),
    "pooling, mean": lambda: Pooling("mean", 3),
    "pooling, max": lambda: Pooling("max", 3),
    "pooling, attention": lambda: Pooling("attention", 3),
    "hopfield lookup": lambda: HopfieldLookup(3, 4, 5, output_size=2, heads=2, beta=1.5, steps=2),
    "stack": lambda: Stack([Recurrent(LSTM(3, 4)), PerStep(nn.Linear(4, 4)), Recurrent(GRU(4, 2))], dropout=0.5),
    "stack, norm before": lambda: Stack(
        [Recurrent(Elman(3, 3)), Recurrent(GRU(3, 3))], connections="residual", layer_norm="before"
    ),
    "stack, norm after": lambda: Stack(
        [_bidirectional(), Recurrent(GRU(6, 6))], connections="residual", layer_norm="after"
    ),
    "stack, highway": lambda: Stack([Recurrent(LSTM(3, 4)), Recurrent(GRU(4, 4))], connections="highway"),
    "stack, dense": lambda: Stack(
        [Recurrent(LSTM(3, 4)), Recurrent(GRU(7, 2))], connections="dense", layer_norm="before"
    ),
}
"""Layers on which the suite runs; together they cover every layer of the package."""


def check_layer(factory: Factory) -> None:
    """Check that a layer keeps the contract of `SequenceLayer`. Raises AssertionError that says what fails.

    Args:
        factory: makes a small layer with fresh random weights, the same in size at every call.
    """
    for check in LAYER_CHECKS:
        check(factory)


def uncovered_layers(package: str = "elman.layers", covered: Mapping[str, Factory] = LAYERS) -> list[str]:
    """Names of the package's public layers on which the suite does not run: there should be none."""
    tested = {type(factory()) for factory in covered.values()}
    return [found.__name__ for found in concrete_classes(package, SequenceLayer) if found not in tested]


def check_sizes(factory: Factory) -> None:
    """Output and state have the stated sizes, for any time, 0 included; leaves are batch first and of fixed size."""
    layer = build(factory)
    for batch, time in ((5, TIME), (1, 1), (2, 0)):
        initial = layer.initial_state(batch)
        for leaf in leaves(initial):
            assert leaf.shape[:1] == (batch,), f"a state leaf {tuple(leaf.shape)} is not batch first, batch = {batch}"
        y, state = layer(_normal(batch, time, layer.input_size))
        expected = (batch, time, layer.output_size)
        assert y.shape == expected, f"expected outputs {expected}, got {tuple(y.shape)}"
        for before, after in zip(leaves(initial), leaves(state), strict=True):
            assert before.shape == after.shape, f"a state leaf changes from {before.shape} to {after.shape}"
            assert before.dtype == after.dtype, f"a state leaf changes from {before.dtype} to {after.dtype}"


def check_state_follows_weights(factory: Factory) -> None:
    """The initial state has the type and the device of the weights."""
    for layer in (build(factory, torch.float64), build(factory, torch.float32), build(factory).to("meta")):
        for weight in list(layer.parameters())[:1]:
            for leaf in leaves(layer.initial_state(2)):
                assert leaf.device == weight.device, f"the state is on {leaf.device}, the weights on {weight.device}"
                same = not leaf.is_floating_point() or leaf.dtype == weight.dtype
                assert same, f"the initial state is {leaf.dtype}, the weights {weight.dtype}"


def check_row_alone(factory: Factory) -> None:
    """A row in a padded batch gives what it gives alone, without padding; its outputs are zero after its length."""
    layer = build(factory)
    x, state, lengths = inputs(layer)
    y, last = layer(x, state, lengths)
    for row, length in enumerate(LENGTHS):
        one = slice(row, row + 1)
        expected = run(layer, x[one, :length], select(state, one))
        actual = {"the output": y[one, :length]} | dict(zip(list(expected)[1:], leaves(select(last, one)), strict=True))
        assert_equal(actual, expected, f"a row of length {length} in a batch against the row alone")
        assert not y[row, length:].any(), f"the output of a row of length {length} is not zero from there on"


def check_full_lengths(factory: Factory) -> None:
    """Lengths that are all full change nothing; lengths beyond the input are refused."""
    layer = build(factory)
    x, state, lengths = inputs(layer)
    full = torch.full_like(lengths, TIME)
    assert_equal(run(layer, x, state, full), run(layer, x, state), "full lengths against none")
    for wrong in (full + 1, -full):
        try:
            layer(x, state, wrong)
        except UsageError:
            continue
        raise AssertionError(f"`lengths` of {wrong.tolist()} were accepted for {TIME} time steps")


def check_chunks(factory: Factory) -> None:
    """A causal layer over chunks, state carried, gives what it gives over the whole."""
    layer = build(factory)
    if not layer.causal:
        return
    x, state, lengths = inputs(layer)
    expected = run(layer, x, state, lengths)
    outputs = []
    for start, stop in ((0, 1), (1, 1), (1, 4), (4, TIME)):
        y, state = layer(x[:, start:stop], state, (lengths - start).clamp(0, stop - start))
        outputs.append(y)
    actual = {"the output": torch.cat(outputs, 1)} | dict(zip(list(expected)[1:], leaves(state), strict=True))
    assert_equal(actual, expected, "chunks against the whole")


def check_causal(factory: Factory) -> None:
    """The output of a causal layer does not know the future."""
    layer = build(factory)
    if not layer.causal:
        return
    x, state, _ = inputs(layer)
    changed = torch.cat([x[:, :3], -x[:, 3:]], dim=1)
    past, other = (layer(z, state)[0][:, :3] for z in (x, changed))
    assert_equal(
        {"the past": past}, {"the past": other}, "a layer that says it is causal, after a change of the future"
    )


def check_padding_is_not_read(factory: Factory) -> None:
    """NaN in the padding changes neither outputs nor states nor gradients."""
    layer = build(factory)
    x, state, lengths = inputs(layer)
    padding = torch.arange(TIME) >= lengths[:, None]
    clean, poisoned = (x.masked_fill(padding[..., None], value) for value in (0.0, torch.nan))
    expected = run_with_gradients(layer, clean, state, lengths)
    assert_equal(run_with_gradients(layer, poisoned, state, lengths), expected, "padding of NaN against padding of 0")


def check_arguments_unchanged(factory: Factory) -> None:
    """A call leaves x, the state and the lengths as they were."""
    layer = build(factory)
    x, state, lengths = inputs(layer)
    given = [x, *leaves(state), lengths]
    before = [tensor.clone() for tensor in given]
    layer(x, state, lengths)
    same = all(torch.equal(now, then) for now, then in zip(given, before, strict=True))
    assert same, "a call changed its arguments in place"


def check_deterministic(factory: Factory) -> None:
    """In evaluation mode a call gives the same bits each time: nothing is kept on the module, nothing is drawn."""
    layer = build(factory)
    x, state, lengths = inputs(layer)
    first, second = (run(layer, x, state, lengths) for _ in range(2))
    for name, value in first.items():
        assert torch.equal(value, second[name]), f"{name} differs between two equal calls"


def check_saved_is_loaded(factory: Factory) -> None:
    """Weights through a safetensors file give the same layer."""
    layer, other = build(factory, seed=0), build(factory, seed=1)
    other.load_state_dict(load(save(layer.state_dict())))
    x, state, lengths = inputs(layer)
    expected = run(layer, x, state, lengths)
    for name, value in run(other, x, state, lengths).items():
        assert torch.equal(value, expected[name]), f"{name} differs after saving and loading"


def check_gradients(factory: Factory) -> None:
    """Gradients by x, initial state and weights agree with finite differences."""
    layer = build(factory)
    x, state, lengths = inputs(layer)
    x, state, lengths = x[:4, :3], select(state, slice(4)), lengths[:4].clamp(max=3)
    state = map_leaves(lambda leaf: leaf.clone().requires_grad_(leaf.is_floating_point()), state)
    floating = [leaf for leaf in leaves(state) if leaf.is_floating_point()]

    def values(x: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
        return tuple(value for value in run(layer, x, state, lengths).values() if value.is_floating_point())

    # Leaves and weights are perturbed in place, where `layer` and `state` see it.
    torch.autograd.gradcheck(values, (x.clone().requires_grad_(), *floating, *layer.parameters()), fast_mode=True)


def check_documented(factory: Factory) -> None:
    """The docstring gives the shapes."""
    layer = type(build(factory))
    assert "Shapes:" in (inspect.getdoc(layer) or ""), f"the docstring of {layer.__name__} has no line 'Shapes: ...'"


LAYER_CHECKS: tuple[Callable[[Factory], None], ...] = (
    check_documented,
    check_state_follows_weights,
    check_sizes,
    check_arguments_unchanged,
    check_deterministic,
    check_row_alone,
    check_full_lengths,
    check_chunks,
    check_causal,
    check_padding_is_not_read,
    check_saved_is_loaded,
    check_gradients,
)


def build(factory: Factory, dtype: torch.dtype = torch.float64, seed: int = 0) -> SequenceLayer:
    """A layer in evaluation mode whose weights are all random, the same for a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layer = factory().to(dtype).eval()
        with torch.no_grad():
            for parameter in layer.parameters():  # zero biases would hide faults
                parameter.add_(0.2 * torch.randn_like(parameter))
    return layer


def inputs(layer: SequenceLayer, dtype: torch.dtype = torch.float64) -> tuple[Tensor, State, Tensor]:
    """Random x (5, 6, input_size), a state that the layer itself reached, and unequal lengths, 0 and 1 among them."""
    batch = len(LENGTHS)
    with torch.no_grad():
        _, state = layer(_normal(batch, 2, layer.input_size, seed=1).to(dtype))
    return _normal(batch, TIME, layer.input_size).to(dtype), detach(state), torch.tensor(LENGTHS)


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
