"""The native engine gives what the loop gives: cells, options, wrappers, lengths, layouts, and all that autograd may ask."""

import copy
import gc
import io
import math
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from elman import core
from elman.cells import CELLS, Cell
from elman.cells.wrappers import (
    DropConnect,
    LearnedInitialState,
    RecurrentDropout,
    Residual,
    VariationalDropout,
    Zoneout,
)
from elman.errors import ConfigError, UsageError
from elman.layers import Bidirectional, Recurrent, SequenceLayer, Stack, backend
from elman.state import detach, leaves, map_leaves
from elman.testing.compare import relative_difference
from elman.testing.layers import build
from tests.engine.agreement import LAYOUTS, Call, assert_agreement, compare, needs_native, results, threads

pytestmark = needs_native

UNEQUAL = (7, 3, 0, 1, 5)
FOREIGN = ("conv_lstm",)
"""Cells whose steps hold what no program has: a convolution."""

NATIVE = [name for name in CELLS.names() if name not in FOREIGN]
DTYPES = (torch.float32, torch.float64)


def layer_of(name: str, *, hidden: int = 4, dtype: torch.dtype = torch.float64, **options: Any) -> Recurrent:
    """A layer in evaluation whose weights are all random."""
    layer = build(lambda: Recurrent(CELLS.get(name)(3, hidden, **options)), dtype)
    assert isinstance(layer, Recurrent)
    return layer


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", NATIVE)
def test_every_cell(name: str, dtype: torch.dtype) -> None:
    for lengths in (None, UNEQUAL):
        assert_agreement(layer_of(name, dtype=dtype), Call(batch=5, time=7, lengths=lengths, dtype=dtype))


@pytest.mark.parametrize("name", FOREIGN)
def test_a_cell_that_cannot_be_a_program_is_refused_with_the_reason(name: str) -> None:
    layer = layer_of(name, height=1, width=1)
    with backend("native"), pytest.raises(UsageError, match=r"cannot run on the backend 'native': .*convolution"):
        layer(torch.randn(2, 3, 3, dtype=torch.float64))


OPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("cfc", {"backbone": 3}),
    ("cfc", {"gate": False}),
    ("elman", {"nonlinearity": "relu"}),
    ("elman", {"nonlinearity": "sigmoid"}),
    ("gru", {"reset": "before"}),
    ("highway", {"depth": 1}),
    ("highway", {"depth": 5}),
    ("indrnn", {"nonlinearity": "tanh", "steps": 50}),
    ("jordan", {"output_size": 2, "decay": 0.5, "nonlinearity": "sigmoid"}),
    ("jordan", {"output_size": 5, "nonlinearity": "linear"}),
    ("lru", {"min_radius": 0.0, "max_radius": 0.5, "max_phase": math.pi / 10}),
    ("ltc", {"unfolds": 1}),
    ("min_gru", {"positive": True, "memory": 5.0}),
    ("min_lstm", {"positive": True, "memory": 5.0}),
    ("mlstm", {"heads": 2, "memory": 5.0}),
    ("projected_lstm", {"projection_size": 1}),
    ("projected_lstm", {"projection_size": 4}),
    ("qrnn", {"window": 4, "memory": 5.0}),
    ("rg_lru", {"heads": 2, "min_decay": 0.1, "max_decay": 0.5}),
    ("slstm", {"heads": 2, "forget": "exponential"}),
    ("sru", {"activation": "identity", "rescale": False}),
)


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)
def test_every_option(name: str, options: dict[str, Any]) -> None:
    assert_agreement(layer_of(name, **options), Call(batch=5, time=7, lengths=UNEQUAL))


WRAPPERS: Mapping[str, Callable[[Cell], Cell]] = {
    "variational dropout": lambda cell: VariationalDropout(cell, 0.4),
    "recurrent dropout": lambda cell: RecurrentDropout(cell, 0.4),
    "zoneout": lambda cell: Zoneout(cell, 0.3),
    "zoneout of both": lambda cell: Zoneout(cell, 0.3, 0.4),
    "drop connect": lambda cell: DropConnect(cell, 0.4),
    "residual": Residual,
    "learned initial state": LearnedInitialState,
    "most": lambda cell: LearnedInitialState(Zoneout(DropConnect(VariationalDropout(cell, 0.4), 0.3), 0.3)),
    "all": lambda cell: Residual(
        Zoneout(DropConnect(RecurrentDropout(VariationalDropout(LearnedInitialState(cell), 0.4), 0.3), 0.4), 0.3)
    ),
}


def wrapped(name: str, wrapper: str) -> Cell | None:
    """The cell in the wrapper, or None where the two do not fit."""
    torch.manual_seed(0)
    try:
        return WRAPPERS[wrapper](CELLS.get(name)(5, 5).double())
    except ConfigError:
        return None


FITTING = [(name, wrapper) for name in NATIVE for wrapper in WRAPPERS if wrapped(name, wrapper) is not None]


@pytest.mark.parametrize(("name", "wrapper"), FITTING)
def test_every_wrapper_in_training(name: str, wrapper: str) -> None:
    cell = wrapped(name, wrapper)
    assert cell is not None
    assert_agreement(Recurrent(cell).train(), Call(batch=5, time=7, lengths=UNEQUAL, state="none"))
    assert_agreement(Recurrent(cell).train(), Call(batch=2, time=4))


def test_most_wrappers_fit_most_cells() -> None:
    assert len(FITTING) > 0.5 * len(NATIVE) * len(WRAPPERS)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers_outside_training_and_back(wrapper: str) -> None:
    torch.manual_seed(0)
    layer = Recurrent(WRAPPERS[wrapper](CELLS.get("lstm")(4, 4).double()))
    for training in (True, False, True):
        assert_agreement(layer.train(training), Call(state="none"))


def _bidirectional() -> Bidirectional:
    cells = CELLS.get("layer_norm_lstm")(3, 4), CELLS.get("mgu")(3, 5)
    return Bidirectional(Recurrent(cells[0]), Recurrent(cells[1], direction="backward"))


LAYERS: Mapping[str, Callable[[], SequenceLayer]] = {
    "backward": lambda: Recurrent(CELLS.get("gru_d")(3, 4), direction="backward"),
    "bidirectional": _bidirectional,
    "stack": lambda: Stack([_bidirectional(), Recurrent(CELLS.get("highway")(9, 4))], dropout=0.5),
    "checkpoint": lambda: Recurrent(CELLS.get("peephole_lstm")(3, 4), checkpoint=True),
    "checkpoint, backward": lambda: Recurrent(CELLS.get("cfc")(3, 4), direction="backward", checkpoint=True),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_around_cells(name: str) -> None:
    layer = build(LAYERS[name]).train()
    for lengths in (None, UNEQUAL):
        assert_agreement(layer, Call(batch=5, time=7, lengths=lengths))


@pytest.mark.parametrize("wrapper", ["variational dropout", "zoneout", "recurrent dropout", "drop connect"])
def test_checkpoints_draw_the_same_masks(wrapper: str) -> None:
    torch.manual_seed(0)
    cell = WRAPPERS[wrapper](CELLS.get("lstm")(3, 4).double())
    assert_agreement(Recurrent(cell, checkpoint=True).train(), Call(batch=5, time=7, lengths=UNEQUAL, state="none"))


SOME = ("lstm", "highway", "layer_norm_gru", "gru_d", "lru")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", SOME)
def test_inputs_in_any_layout(name: str, layout: str) -> None:
    assert_agreement(layer_of(name), Call(batch=5, time=7, lengths=UNEQUAL, layout=layout))


@pytest.mark.parametrize("name", SOME)
def test_states_in_any_layout(name: str) -> None:
    layer, x = layer_of(name), torch.randn(4, 5, 3, dtype=torch.float64)
    views: Mapping[str, Callable[[Tensor], Tensor]] = {
        "transposed": lambda leaf: leaf.T.contiguous().T,
        "every other column": lambda leaf: leaf.repeat_interleave(2, 1)[:, ::2],
        "every other row": lambda leaf: leaf.repeat_interleave(2, 0)[::2],
        "one row for all": lambda leaf: leaf[:1].expand(len(leaf), -1),
    }
    with torch.no_grad():
        _, reached = layer(x)
    for view in views.values():
        state = map_leaves(view, reached)
        with backend("loop"):
            expected, last = layer(x, state)
        with backend("native"):
            y, actual = layer(x, state)
        compare(
            {"the output": y, **{f"leaf {i}": leaf for i, leaf in enumerate(leaves(actual))}},
            {"the output": expected, **{f"leaf {i}": leaf for i, leaf in enumerate(leaves(last))}},
        )


@pytest.mark.parametrize("again", [False, True], ids=["once", "twice"])
def test_gradients_by_tensors_that_come_in_more_than_once(again: bool) -> None:
    """One tensor for both leaves of a state, which is made of the input: each way into the call counts once."""
    layer = layer_of("lstm", hidden=3)
    x = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)

    def gradients(choice: str) -> dict[str, Tensor]:
        start = x[:, 0].sin()
        with backend(choice):
            y, last = layer(x, type(layer.initial_state(2))(start, start))  # type: ignore[call-arg]
        loss = y.square().sum() + last[1].sum()
        sources = [x, start, *layer.parameters()]
        found = list(torch.autograd.grad(loss, sources, create_graph=again))
        if again:
            total = torch.stack([one.square().sum() for one in found]).sum()
            found += torch.autograd.grad(total, sources)
        return {f"the gradient by {index}": value for index, value in enumerate(found)}

    compare(gradients("native"), gradients("loop"))


@pytest.mark.parametrize(("batch", "time"), [(0, 0), (0, 3), (3, 0), (1, 1), (1, 4), (3, 1)])
@pytest.mark.parametrize("name", SOME)
def test_the_smallest_inputs(name: str, batch: int, time: int) -> None:
    for lengths in (None, (0,) * batch, tuple(index % (time + 1) for index in range(batch))):
        assert_agreement(layer_of(name), Call(batch=batch, time=time, lengths=lengths))


@pytest.mark.parametrize("name", SOME)
def test_padding_of_nan_is_not_read(name: str) -> None:
    layer = layer_of(name)
    clean = Call(batch=5, time=7, lengths=UNEQUAL)
    with backend("native"):
        expected = results(layer, clean)
        actual = results(layer, Call(**{**vars(clean), "poisoned": True}))
    compare(actual, expected)


@pytest.mark.parametrize("cuts", [(1, 3), (0, 0, 7), (3, 4, 6)])
@pytest.mark.parametrize("name", SOME)
def test_chunks_with_gradients_through_them(name: str, cuts: tuple[int, ...]) -> None:
    layer = layer_of(name)
    for lengths in (None, UNEQUAL):
        call = Call(batch=5, time=7, lengths=lengths, cuts=cuts)
        assert_agreement(layer, call)
        with backend("native"):
            compare(results(layer, call), results(layer, Call(batch=5, time=7, lengths=lengths)))


@pytest.mark.parametrize("name", SOME)
def test_only_the_gradients_that_are_wanted(name: str) -> None:
    layer = layer_of(name)
    names = [name for name, _ in layer.named_parameters()]
    for kept in (*names, None):
        held = tuple(name for name in names if name != kept)
        assert_agreement(layer, Call(frozen=held, input_gradient=False, state="none"))
        assert_agreement(layer, Call(frozen=held, input_gradient=kept is None, state="constant"))
    assert_agreement(layer, Call(frozen=tuple(names), input_gradient=False, state="gradient"))


@pytest.mark.parametrize("name", SOME)
def test_without_gradients_there_is_no_graph(name: str) -> None:
    layer, x = layer_of(name), torch.randn(5, 7, 3, dtype=torch.float64)
    with backend("loop"):
        expected, _ = layer(x)
    for quiet in (torch.no_grad, torch.inference_mode):
        with backend("native"), quiet():
            y, state = layer(x)
        assert not any(tensor.requires_grad for tensor in (y, *leaves(state)))
        assert relative_difference(y, expected) < 1e-10
    layer.requires_grad_(False)
    with backend("native"):
        assert not layer(x)[0].requires_grad


LOSSES: Mapping[str, Callable[[Tensor, list[Tensor]], Tensor]] = {
    "sum": lambda y, _: y.sum(),  # whose gradient has strides of 0
    "mean of squares": lambda y, _: y.square().mean(),
    "last step": lambda y, _: y[:, -1].sum(),
    "one step": lambda y, _: y[:, 2].square().sum(),
    "transposed": lambda y, _: (y.transpose(0, 1).reshape(-1) * torch.arange(y.numel(), dtype=y.dtype)).sum(),
    "final state": lambda _, state: state[-1].sum(),
    "first leaf": lambda _, state: state[0].square().sum(),
    "every leaf": lambda _, state: sum((leaf.square().sum() for leaf in state), torch.zeros(())),
    "one row": lambda y, state: y[1].sum() + state[0][2].sum(),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["lstm", "layer_norm_gru", "peephole_lstm"])
def test_any_loss(name: str, loss: str) -> None:
    layer, x = layer_of(name), torch.randn(3, 5, 3, dtype=torch.float64, requires_grad=True)

    def gradients(choice: str) -> dict[str, Tensor]:
        with backend(choice):
            y, state = layer(x, lengths=torch.tensor([5, 2, 4]))
        sources = [x, *layer.parameters()]
        found = torch.autograd.grad(LOSSES[loss](y, list(leaves(state))), sources, materialize_grads=True)
        return {f"the gradient by {index}": value for index, value in enumerate(found)}

    compare(gradients("native"), gradients("loop"))


SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 12), st.integers(1, 40))


@pytest.mark.parametrize("name", ["lstm", "layer_norm_lstm"])
@settings(max_examples=12, deadline=None, database=None)
@given(shape=SHAPES, dtype=st.sampled_from(DTYPES), data=st.data())
def test_any_shape(name: str, shape: tuple[int, int, int], dtype: torch.dtype, data: st.DataObject) -> None:
    batch, time, hidden = shape
    hidden += 3 * (name == "layer_norm_lstm")  # which has nothing to normalise in one unit, little in two
    lengths = data.draw(st.none() | st.lists(st.integers(0, time), min_size=batch, max_size=batch).map(tuple))
    layer = layer_of(name, hidden=hidden, dtype=dtype)
    assert_agreement(layer, Call(batch=batch, time=time, lengths=lengths, dtype=dtype), floor=1e-2)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ["lstm", "gru", "layer_norm_lstm", "peephole_lstm", "highway"])
def test_long_sequences_over_several_chunks(name: str, dtype: torch.dtype) -> None:
    layer = layer_of(name, hidden=33, dtype=dtype)
    for lengths in (None, (200, 0, 1, 150, 77)):
        assert_agreement(layer, Call(batch=5, time=200, lengths=lengths, dtype=dtype))


# --- Mixed precision -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lstm", "layer_norm_gru"])
def test_under_autocast_the_weights_type_is_kept(name: str) -> None:
    layer, x = layer_of(name, dtype=torch.float32), torch.randn(3, 5, 3, requires_grad=True)

    def run(mixed: bool) -> dict[str, Tensor]:
        with backend("native"), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            y, state = layer(x)
            loss = y.float().square().sum()
        gradients = torch.autograd.grad(loss, [x, *layer.parameters()])
        return {"the output": y, **{f"leaf {i}": leaf for i, leaf in enumerate(leaves(state))}} | {
            f"the gradient by {index}": value for index, value in enumerate(gradients)
        }

    mixed, exact = run(mixed=True), run(mixed=False)
    for key, value in exact.items():
        assert mixed[key].dtype == value.dtype
        assert (mixed[key] - value).norm() < 2e-2 * value.norm(), key


@pytest.mark.filterwarnings("ignore::elman.errors.SlowWarning")
def test_other_types_are_left_to_the_loop() -> None:
    layer = layer_of("highway").to(torch.bfloat16)
    x = torch.randn(2, 4, 3, dtype=torch.bfloat16)
    with backend("loop"):
        expected, _ = layer(x)
    assert torch.equal(layer(x)[0], expected)
    with backend("native"), pytest.raises(UsageError, match="'native'"):
        layer(x)


# --- What autograd may ask -------------------------------------------------------------------------------------------


def test_a_second_backward_pass_is_refused_as_torch_does() -> None:
    layer = layer_of("highway")
    with backend("native"):
        loss = layer(torch.randn(2, 4, 3, dtype=torch.float64))[0].sum()
    loss.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()


def test_a_retained_graph_gives_the_same_again() -> None:
    layer = layer_of("highway")
    with backend("native"):
        loss = layer(torch.randn(2, 4, 3, dtype=torch.float64))[0].sum()
    weights = list(layer.parameters())
    first, second = (torch.autograd.grad(loss, weights, retain_graph=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_gradients_accumulate_on_parameters() -> None:
    layer, x = layer_of("mgu"), torch.randn(2, 4, 3, dtype=torch.float64)
    with backend("native"):
        layer(x)[0].sum().backward()
        once = [weight.grad.clone() for weight in layer.parameters() if weight.grad is not None]
        layer(x)[0].sum().backward()
    assert len(once) == len(list(layer.parameters()))
    for weight, gradient in zip(layer.parameters(), once, strict=True):
        assert weight.grad is not None
        torch.testing.assert_close(weight.grad, 2 * gradient, rtol=1e-12, atol=1e-12)


def test_one_layer_used_twice_in_a_graph() -> None:
    layer = build(lambda: Recurrent(CELLS.get("mgu")(3, 3)))
    x = torch.randn(2, 4, 3, dtype=torch.float64)

    def gradients(choice: str) -> dict[str, Tensor]:
        with backend(choice):
            y, _ = layer(layer(x)[0])
        found = torch.autograd.grad(y.square().sum(), list(layer.parameters()))
        return {f"the gradient by {index}": value for index, value in enumerate(found)}

    compare(gradients("native"), gradients("loop"))


@pytest.mark.parametrize("changed", ["weight", "input", "state"])
def test_what_is_changed_before_the_backward_pass_is_noticed(changed: str) -> None:
    layer = layer_of("gru")
    x, state = torch.randn(2, 4, 3, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)
    with backend("native"):
        loss = layer(x, state)[0].sum()
    weight = dict(layer.named_parameters())["cell.from_hidden.weight"]
    with torch.no_grad():
        {"weight": weight, "input": x, "state": state}[changed].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_results_are_not_shared_with_arguments_or_each_other() -> None:
    layer, x = layer_of("gru"), torch.randn(2, 4, 3, dtype=torch.float64)
    state = torch.randn(2, 4, dtype=torch.float64)
    with backend("native"), torch.no_grad():
        before = state.clone()
        y, last = layer(x, state)
        kept = y.clone()
        map_leaves(lambda leaf: leaf.zero_(), last)
        assert torch.equal(y, kept)
        assert torch.equal(state, before)
        assert torch.equal(layer(x, state)[0], kept)


@pytest.mark.parametrize("name", ["lstm", "layer_norm_gru", "highway"])
def test_second_derivatives(name: str) -> None:
    layer, lengths = layer_of(name), torch.tensor([5, 0, 3])
    x = torch.randn(3, 5, 3, dtype=torch.float64, requires_grad=True)

    def penalty(choice: str) -> dict[str, Tensor]:
        with backend(choice):
            y, state = layer(x, lengths=lengths)
            loss = y.square().sum() + sum(leaf.sin().sum() for leaf in leaves(state))
            first = torch.autograd.grad(loss, [x, *layer.parameters()], create_graph=True)
            total = torch.stack([value.square().sum() for value in first]).sum()
            second = torch.autograd.grad(total, [x, *layer.parameters()])
        return {f"the gradient by {index}": value for index, value in enumerate((*first, *second))}

    compare(penalty("native"), penalty("loop"))


def test_finite_differences() -> None:
    layer = layer_of("peephole_lstm", hidden=2)
    x = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)

    def values(x: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
        y, state = layer(x, lengths=torch.tensor([3, 2]))
        return y, *leaves(state)

    with backend("native"):
        torch.autograd.gradcheck(values, (x, *layer.parameters()), fast_mode=True)
        torch.autograd.gradgradcheck(values, (x, *layer.parameters()), fast_mode=True)


@pytest.mark.filterwarnings("ignore::elman.errors.SlowWarning")
def test_transforms_of_torch_func_fall_back_to_the_loop() -> None:
    layer = layer_of("highway")
    weights: dict[str, Tensor] = dict(layer.named_parameters())
    x = torch.randn(3, 2, 4, 3, dtype=torch.float64)

    def loss(weights: dict[str, Tensor], x: Tensor) -> Tensor:
        y: Tensor = torch.func.functional_call(layer, weights, (x,))[0]
        return y.square().sum()

    def gradients() -> dict[str, Tensor]:
        by_one = torch.func.grad(loss)(weights, x[0])
        by_each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, x)
        return {**by_one, **{f"{name} of each": value for name, value in by_each.items()}}

    with backend("loop"):
        expected = gradients()
    compare(gradients(), expected)
    with backend("native"), pytest.raises(UsageError, match="'native'"):
        gradients()


@pytest.mark.filterwarnings("ignore::elman.errors.SlowWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_forward_mode_falls_back_to_the_loop() -> None:
    layer = layer_of("highway")
    x, tangent = torch.randn(2, 2, 4, 3, dtype=torch.float64)

    def slope() -> Tensor:
        with torch.autograd.forward_ad.dual_level():
            y, _ = layer(torch.autograd.forward_ad.make_dual(x, tangent))  # type: ignore[no-untyped-call]
            found = torch.autograd.forward_ad.unpack_dual(y).tangent  # type: ignore[no-untyped-call]
            assert isinstance(found, Tensor)
            return found.detach()

    with backend("loop"):
        expected = slope()
    assert relative_difference(slope(), expected) < 1e-10
    with backend("native"), pytest.raises(UsageError, match="'native'"):
        slope()


def test_weights_given_by_functional_call() -> None:
    layer, x = layer_of("mgu"), torch.randn(2, 4, 3, dtype=torch.float64)
    weights = {name: (2 * value.detach()).requires_grad_() for name, value in layer.named_parameters()}

    def gradients(choice: str) -> dict[str, Tensor]:
        with backend(choice):
            y, _ = torch.func.functional_call(layer, weights, (x,))
        found = torch.autograd.grad(y.square().sum(), list(weights.values()))
        return {f"the gradient by {name}": value for name, value in zip(weights, found, strict=True)}

    compare(gradients("native"), gradients("loop"))


# --- Processes, threads, copies, signals -----------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_of_threads(count: int) -> None:
    with threads(count):
        for batch in (1, 2, 7):
            lengths = tuple(index % 6 for index in range(batch))
            assert_agreement(layer_of("lstm"), Call(batch=batch, time=5, lengths=lengths))
            assert_agreement(layer_of("layer_norm_gru"), Call(batch=batch, time=5))


@pytest.mark.parametrize("count", [1, 2])
def test_the_same_bits_for_the_same_number_of_threads(count: int) -> None:
    layer = layer_of("layer_norm_lstm", hidden=20, dtype=torch.float32)
    call = Call(batch=9, time=20, lengths=(20, 3, 0, 17, 20, 2, 13, 1, 8), dtype=torch.float32)
    with threads(count), backend("native"):
        first = results(layer, call)
        for _ in range(5):
            again = results(layer, call)
            assert all(torch.equal(again[name], value) for name, value in first.items())


def test_threads_of_python_may_run_at_once() -> None:
    layer, call = layer_of("peephole_lstm", hidden=16), Call(batch=4, time=50)
    with backend("loop"):
        expected = results(layer, call)
    x = torch.randn(4, 50, 3, dtype=torch.float64)
    weight = dict(layer.named_parameters())["cell.from_hidden.weight"]
    found: list[Tensor] = []

    def work() -> None:
        with backend("native"):
            for _ in range(10):
                y, _ = layer(x)
                found.append(torch.autograd.grad(y.square().sum(), weight)[0])

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 40
    assert all(torch.equal(one, found[0]) for one in found)
    with backend("native"):
        compare(results(layer, call), expected)


class Layered(Dataset[Tensor]):
    """A data set whose items come out of a recurrent layer."""

    def __init__(self, layer: Recurrent) -> None:
        self.layer = layer
        self.x = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(2, 4, 3)

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Tensor:
        with backend("native"), torch.no_grad():
            y: Tensor = self.layer(self.x[index : index + 1])[0][0]
        return y


def _train(layer: Recurrent, x: Tensor, count: int) -> np.ndarray[Any, Any]:
    with threads(count), backend("native"):
        y, _ = layer(x)
        gradients = torch.autograd.grad(y.square().sum(), list(layer.parameters()))
    return torch.cat([gradient.flatten() for gradient in gradients]).numpy()


def _send(queue: Any, *arguments: Any) -> None:
    queue.put(_train(*arguments))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("count", [1, 2])
def test_a_forked_process_can_go_on(count: int) -> None:
    layer, x = layer_of("mgu", hidden=16), torch.randn(8, 20, 3, dtype=torch.float64)
    expected = _train(layer, x, count)
    context = get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_send, args=(queue, layer, x, count))
    child.start()
    try:
        np.testing.assert_array_equal(queue.get(timeout=20), expected)
    finally:
        child.kill()
        child.join()
    np.testing.assert_array_equal(_train(layer, x, count), expected)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_workers_of_a_data_loader() -> None:
    data = Layered(layer_of("mgu"))
    expected = torch.stack([data[0], data[1]])
    (found,) = DataLoader(data, batch_size=2, num_workers=1, multiprocessing_context="fork")
    assert torch.equal(found, expected)


@pytest.mark.parametrize("wrapper", ["variational dropout", "drop connect", "learned initial state"])
def test_layers_are_copied_and_pickled_after_a_run(wrapper: str) -> None:
    torch.manual_seed(0)
    layer = Recurrent(WRAPPERS[wrapper](CELLS.get("lstm")(3, 4).double())).train()
    call = Call(state="none")
    with backend("native"):
        expected = results(layer, call)
        file = io.BytesIO()
        torch.save(layer, file)
        file.seek(0)
        copies = copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), torch.load(file, weights_only=False)
        for other in copies:
            compare(results(other, call), expected)


MEMORY = Path("/proc/self/statm")


def _resident() -> int:
    """Bytes of memory that the process holds."""
    return int(MEMORY.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not MEMORY.exists(), reason="memory is read from /proc")
def test_ten_thousand_calls_hold_nothing() -> None:
    layer, x = layer_of("elman", hidden=2, dtype=torch.float32), torch.randn(2, 3, 3)
    state = layer.initial_state(2)

    def call(times: int) -> tuple[int, int]:
        nonlocal state
        for index in range(times):
            y, state = layer(x, detach(state))
            if index % 4:  # some graphs are dropped unused
                y.sum().backward()
        layer.zero_grad()
        gc.collect()
        return sum(issubclass(type(one), Tensor) for one in gc.get_objects()), _resident()

    with backend("native"):
        tensors, before = call(1_000)
        again, after = call(9_000)
    assert again <= tensors
    assert after - before < 4 << 20


INTERRUPTED = """
import os, signal, threading, time, torch
import elman
from elman.cells import CELLS
from elman.layers import Recurrent

torch.set_num_threads(1)
layer = Recurrent(CELLS.get("layer_norm_lstm")(8, 32))
x = torch.randn(16, 20_000, 8)
elman.backend("native")
loss = layer(x)[0].sum()

def run():
    start = time.perf_counter()
    try:
        loss.backward(retain_graph=True) if {late} else layer(x)
    except KeyboardInterrupt:
        print("interrupted")
    return time.perf_counter() - start

whole = min(run() for _ in range(3))
threading.Timer(0.1 * whole, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
print("early", run() < 0.8 * whole)
layer.zero_grad()
layer(x[:, :8])[0].sum().backward()
print("usable", all(bool(weight.grad.isfinite().all()) for weight in layer.parameters()))
"""


@pytest.mark.parametrize("late", [False, True], ids=["forward", "backward"])
def test_a_run_is_interrupted_by_ctrl_c_and_the_process_goes_on(late: bool) -> None:
    script = INTERRUPTED.format(late=late)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split("\n")[:3] == ["interrupted", "early True", "usable True"], done.stderr


def test_the_core_says_which_kernels_it_uses() -> None:
    assert core.kernels() in ("avx512", "avx2", "neon", "portable")


Direction = Literal["forward", "backward"]


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_training_takes_the_same_path(direction: Direction) -> None:
    """Fifty updates give the same weights: what a step saves, a later one does not read."""
    start = Recurrent(CELLS.get("layer_norm_lstm")(3, 5), direction=direction).double()
    x, lengths = torch.randn(6, 9, 3, dtype=torch.float64), torch.tensor([9, 1, 4, 0, 7, 9])

    def trained(choice: str) -> dict[str, Tensor]:
        layer = copy.deepcopy(start)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.05)
        for _ in range(50):
            optimizer.zero_grad()
            with backend(choice):
                y, _ = layer(x, lengths=lengths)
            (y - x.mean(-1, keepdim=True)).square().mean().backward()
            optimizer.step()
        return dict(layer.named_parameters())

    compare(trained("native"), trained("loop"))
