"""Checkpointing against the same without: values, every gradient, and what is kept meanwhile."""

from collections.abc import Callable
from typing import Any, Literal, cast

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from elman.cells import CELLS, GRU, LSTM, Cell, Elman
from elman.cells.masks import share_of_rows
from elman.cells.wrappers import DropConnect, RecurrentDropout, VariationalDropout, Zoneout
from elman.errors import UsageError
from elman.layers import Recurrent, SequenceLayer, backend
from elman.layers.backends import possible_backends
from elman.state import leaves
from elman.testing.compare import assert_equal, run_with_gradients
from elman.testing.layers import build, check_layer, inputs


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("name", CELLS.names())
def test_every_cell_gives_the_same_values_and_gradients(name: str, direction: Literal["forward", "backward"]) -> None:
    def layer(checkpoint: bool) -> SequenceLayer:
        return build(lambda: Recurrent(CELLS.get(name)(3, 4), direction=direction, checkpoint=checkpoint))

    layers = [layer(checkpoint) for checkpoint in (False, True)]
    x, state, unequal = inputs(layers[0])
    for lengths in (unequal, None):
        for choice in possible_backends(CELLS.get(name)(3, 4)):
            with backend(choice):
                expected, actual = (run_with_gradients(layer, x, state, lengths) for layer in layers)
            assert_equal(actual, expected, f"checkpointed, on {choice!r}")


def test_the_contract_of_layers_holds() -> None:
    check_layer(lambda: Recurrent(LSTM(3, 4), checkpoint=True))
    check_layer(lambda: Recurrent(GRU(3, 4), direction="backward", checkpoint=True))


DROPPING: dict[str, Callable[[], Cell]] = {
    "variational": lambda: VariationalDropout(GRU(3, 4), 0.4),
    "recurrent": lambda: RecurrentDropout(LSTM(3, 4), 0.4),
    "zoneout": lambda: Zoneout(LSTM(3, 4), 0.3, 0.4),
    "drop connect": lambda: DropConnect(Elman(3, 4), 0.4),
    "all": lambda: Zoneout(DropConnect(RecurrentDropout(VariationalDropout(LSTM(3, 4), 0.4), 0.3), 0.4), 0.3),
}


def gradients(layer: Recurrent, y: Tensor) -> dict[str, Tensor]:
    found = torch.autograd.grad(y.square().sum(), list(layer.parameters()))
    return {name: gradient for (name, _), gradient in zip(layer.named_parameters(), found, strict=True)}


def whole_and_segments(factory: Callable[[], Cell]) -> tuple[Recurrent, Recurrent, Tensor]:
    """A checkpointed layer in training, the same without checkpoints, and an input of four segments of three steps."""
    torch.manual_seed(0)
    layer = Recurrent(factory().double(), checkpoint=True).train()
    return layer, Recurrent(layer.cell), torch.randn(4, 12, 3, dtype=torch.float64)


def by_segments(layer: Recurrent, x: Tensor, lengths: Tensor) -> Tensor:
    """The outputs with masks drawn segment by segment, as in checkpointing; weights are dropped once."""
    state, outputs = layer.initial_state(len(x)), []
    layer.cell.prepare()
    layer.cell.prepare = lambda: None  # type: ignore[method-assign]  # the call of the whole draws once
    for start in range(0, 12, 4):
        y, state = layer(x[:, start : start + 4], state, (lengths - start).clamp(0, 4))
        outputs.append(y)
    del layer.cell.prepare
    return torch.cat(outputs, 1)


@pytest.mark.parametrize("name", DROPPING)
def test_masks_are_the_same_in_the_second_pass(name: str) -> None:
    layer, plain, x = whole_and_segments(DROPPING[name])
    lengths = torch.tensor([12, 7, 0, 4])
    torch.manual_seed(1)
    expected = by_segments(plain, x, lengths)
    torch.manual_seed(1)
    y, _ = layer(x, None, lengths)
    other, _ = layer(x, None, lengths)  # draws again, between the two passes
    layer.eval()
    assert_equal({"the output": y}, {"the output": expected}, name)
    assert not torch.equal(y, other)
    assert_equal(gradients(layer, y), gradients(plain, expected), name)


def test_a_share_of_a_batch_has_its_masks_in_the_second_pass_too() -> None:
    layer, plain, x = whole_and_segments(DROPPING["recurrent"])
    results = []
    for one, run in ((plain, by_segments), (layer, lambda layer, x, lengths: layer(x, None, lengths)[0])):
        torch.manual_seed(1)
        with share_of_rows(slice(2, 4), 4):
            y = run(one, x[2:], torch.tensor([12, 5]))
        results.append(gradients(one, y))  # outside
    assert_equal(results[1], results[0], "a share")


class Made(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Remembers every tensor that is made, and knows which are still there."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.storages: dict[StorageWeakRef, int] = {}

    def __torch_dispatch__(  # type: ignore[no-untyped-def]
        self,
        func,
        types,
        args=(),
        kwargs=None,
    ):
        made = func(*args, **(kwargs or {}))
        for tensor in leaves(tuple(made) if isinstance(made, list | tuple) else made):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self.storages[StorageWeakRef(storage)] = storage.nbytes()  # type: ignore[no-untyped-call]
        return made

    def bytes_left(self) -> int:
        left = [size for storage, size in self.storages.items() if not storage.expired()]  # type: ignore[no-untyped-call]
        return sum(left)


@pytest.mark.parametrize(("name", "choice"), [("lstm", "loop"), ("lstm", "torch"), ("sru", "scan"), ("lru", "scan")])
def test_little_is_kept_between_the_passes(name: str, choice: str) -> None:
    cell, x = CELLS.get(name)(2, 8), torch.randn(2, 400, 2)
    left = []
    for checkpoint in (False, True):
        with backend(choice), Made() as made:
            y, _ = Recurrent(cell, checkpoint=checkpoint)(x)
        assert y.requires_grad
        left.append(made.bytes_left() / y.nbytes)
    plain, saved = left
    assert plain > 5
    assert 1 <= saved < 1.5  # the output itself; states at 20 of 400 steps


def test_without_gradients_nothing_changes() -> None:
    layer = Recurrent(GRU(2, 3), checkpoint=True)
    x = torch.randn(2, 10, 2)
    with torch.no_grad():
        y, _ = layer(x)
    assert not y.requires_grad
    torch.testing.assert_close(y, layer(x)[0].detach(), rtol=0, atol=1e-6)


def nodes(tensor: Tensor) -> int:
    """The size of the graph that a tensor holds on to."""
    seen, waiting = set(), [tensor.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [before for before, _ in node.next_functions]
    return len(seen)


def test_no_graph_of_the_steps_is_kept() -> None:
    x = torch.randn(2, 400, 2)
    with backend("loop"):
        plain, saved = (nodes(Recurrent(GRU(2, 3), checkpoint=checkpoint)(x)[0]) for checkpoint in (False, True))
    assert plain > 400
    assert saved < 100  # 20 segments


class Prepared(GRU):
    """Reads a state of two equal parts, and what `prepare` has made of a parameter, which it also reads by itself."""

    def __init__(self) -> None:
        super().__init__(3, 4)
        self.start = nn.Parameter(torch.randn(4))

    def initial_state(self, batch_size: int) -> Any:
        hidden = super().initial_state(batch_size) + self.start
        return hidden, hidden, torch.zeros(batch_size, dtype=torch.long)

    def prepare(self) -> None:
        self.doubled = {"start": [(2 * self.start,)]}

    def step(self, z_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        first, second, steps = state
        y, hidden = super().step(z_t, 0.5 * first + 0.2 * second + self.doubled["start"][0][0] * self.start)
        return y, (hidden, hidden, steps + 1)


@pytest.mark.parametrize("lengths", [None, torch.tensor([11, 4])])
def test_what_is_made_of_weights_and_parts_that_are_equal(lengths: Tensor | None) -> None:
    torch.manual_seed(0)
    cell, x = Prepared().double(), torch.randn(2, 11, 3, dtype=torch.float64)
    results = []
    for checkpoint in (False, True):
        y, (first, second, steps) = Recurrent(cell, checkpoint=checkpoint)(x, None, lengths)
        loss = y.square().sum() + first.sum() + second.pow(3).sum()
        found = torch.autograd.grad(loss, list(cell.parameters()))
        results.append({"y": y, "steps": steps} | {str(index): gradient for index, gradient in enumerate(found)})
    assert_equal(results[1], results[0], "checkpointed")


def test_a_weight_that_is_kept_out_of_sight_is_refused() -> None:
    class Hiding(GRU):
        def __init__(self) -> None:
            super().__init__(3, 4)
            self.elsewhere = {"module": nn.Linear(3, 12)}  # not registered

        def project(self, x: Tensor) -> Tensor:
            return super().project(x) + cast(Tensor, self.elsewhere["module"](x))

    y, _ = Recurrent(Hiding(), checkpoint=True)(torch.randn(2, 9, 3))
    with pytest.raises(UsageError, match=r"weights are in attributes of its modules, found another \(12,"):
        y.sum().backward()


def test_the_second_pass_has_the_precision_of_the_first() -> None:
    torch.manual_seed(0)
    cell, x = LSTM(3, 4), torch.randn(2, 9, 3, requires_grad=True)
    slopes = []
    for checkpoint in (False, True):
        with backend("loop"), torch.autocast("cpu", torch.bfloat16):
            y, _ = Recurrent(cell, checkpoint=checkpoint)(x)
        slopes.append(torch.autograd.grad(y.float().square().sum(), x)[0])
    assert torch.equal(*slopes)


@pytest.mark.parametrize("factory", [lambda: GRU(3, 4), lambda: DropConnect(LSTM(3, 4), 0.4)])
def test_the_second_derivative(factory: Callable[[], Cell]) -> None:
    torch.manual_seed(0)
    cell, x = factory().double(), torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    results = []
    for checkpoint in (False, True):
        layer = Recurrent(cell, checkpoint=checkpoint).train()
        torch.manual_seed(1)
        with backend("loop"):
            y, _ = layer(x)
            (slope,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
            found = torch.autograd.grad(slope.square().sum(), [x, *cell.parameters()])
        results.append({str(index): curve for index, curve in enumerate(found)})
    assert_equal(results[1], results[0], "checkpointed")
