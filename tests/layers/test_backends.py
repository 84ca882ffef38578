import copy
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from elman.cells import CELLS as CELLS_OF_THE_PACKAGE
from elman.cells import GRU, LSTM, Cell, Elman, MinGRU
from elman.cells.wrappers import LearnedInitialState
from elman.errors import SlowWarning, UsageError
from elman.layers import Recurrent, backend
from elman.state import State, leaves, map_leaves, select
from elman.testing.compare import relative_difference, run_with_gradients

CELLS: dict[str, Callable[[], Cell]] = {
    "elman": lambda: Elman(6, 32),
    "relu": lambda: Elman(6, 32, nonlinearity="relu"),
    "gru": lambda: GRU(6, 32),
    "lstm": lambda: LSTM(6, 32),
}


class Sum(Cell[Tensor]):
    """A running sum, with a form that is parallel over time."""

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, self.output_size)

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return state + z_t, state + z_t

    def scan(self, x: Tensor, state: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        y = state[:, None] + x.cumsum(1)
        return y, y[:, -1]


class Halved(GRU):
    """A GRU of another step, which torch's kernel does not know."""

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        y, state = super().step(z_t, state)
        return y / 2, state / 2


class Skipping(Sum):
    """A sum of another step, which the parallel form does not know."""

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return state, state + z_t


@pytest.mark.parametrize("kind", [Halved, Skipping])
def test_a_step_that_a_subclass_has_changed_is_the_one_that_runs(kind: type[Cell]) -> None:
    for cell in (kind(3, 3), LearnedInitialState(kind(3, 3))):
        layer, x = Recurrent(cell), torch.randn(2, 4, 3)
        y, _ = layer(x)
        with backend("loop"):
            torch.testing.assert_close(y, layer(x)[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", CELLS)
def test_long_sequences_are_as_near_to_float64_as_the_definition_demands(name: str) -> None:
    torch.manual_seed(0)
    rounded = Recurrent(CELLS[name]())
    exact = copy.deepcopy(rounded).double()
    x, lengths = torch.randn(8, 200, 6), torch.tensor([200, 0, 1, 150, 100, 50, 199, 2])
    state = rounded(torch.randn(8, 3, 6))[1]
    exact_state = map_leaves(Tensor.double, state)
    with backend("loop"):
        expected = run_with_gradients(exact, x.double(), exact_state, lengths)
    in_float64 = run_with_gradients(exact, x.double(), exact_state, lengths)
    in_float32 = run_with_gradients(rounded, x, state, lengths)
    for result, value in expected.items():
        assert relative_difference(in_float64[result], value) < 1e-10, result
        assert relative_difference(in_float32[result], value) < 1e-5, result


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_torchs_lstm_holds_its_memory_through_the_padding_exactly(dtype: torch.dtype, scale: float) -> None:
    torch.manual_seed(0)
    layer = Recurrent(LSTM(6, 32)).to(dtype)
    x = scale * torch.randn(5, 300, 6, dtype=dtype)
    lengths = torch.tensor([300, 2, 3, 40, 0])
    memories = [20 * torch.randn(5, 32, dtype=dtype), torch.randn(5, 32, dtype=dtype)]
    state: State = (memories[1], memories[0])
    with backend("torch"):
        _, after = layer(x, state, lengths)
        for row in range(1, 5):
            one = slice(row, row + 1)
            _, alone = layer(x[one, : lengths[row]], select(state, one))
            assert relative_difference(list(leaves(after))[1][one], list(leaves(alone))[1]) < 1e-6
    assert torch.equal(list(leaves(after))[1][4], memories[0][4])


def test_a_growing_relu_network_is_switched_off_in_the_padding() -> None:
    cell = Elman(1, 2, nonlinearity="relu")
    with torch.no_grad():
        cell.from_hidden.weight.copy_(3 * torch.eye(2))
    layer = Recurrent(cell)
    x, lengths = torch.ones(2, 200, 1), torch.tensor([2, 3])  # 3 ** 200 is beyond float32
    results = {}
    for name in ("loop", "torch"):
        with backend(name):
            results[name] = run_with_gradients(layer, x, layer.initial_state(2), lengths)
    for result, value in results["loop"].items():
        assert relative_difference(results["torch"][result], value) < 1e-6, result


def test_the_choice_says_why() -> None:
    x = torch.zeros(32, 32, 128)
    layer = Recurrent(GRU(128, 128))
    fast = "GRU, compiled, is faster at this size than torch's kernel, by the table of timings"
    assert layer.choice(x) == ("native", fast)
    assert layer.choice(x, lengths=torch.arange(32)).name == "native"
    assert layer.choice(x[:, :1]) == ("loop", "a single step is fastest as it is")
    compiled = "Halved is compiled: a program of its step runs in elman's core"
    assert Recurrent(Halved(128, 128)).choice(x) == ("native", compiled)
    assert Recurrent(MinGRU(128, 128)).choice(x).name == "native"
    matrix = CELLS_OF_THE_PACKAGE.get("mlstm")(128, 128)
    assert Recurrent(matrix).choice(x) == ("scan", "MLSTM is parallel over time")


def test_without_the_core_the_choice_is_torch_or_the_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elman.core.available", lambda: False)
    monkeypatch.setattr("elman.core.why_absent", lambda: "there is no core")
    x = torch.zeros(32, 32, 128)
    torchs = "GRU is exactly torch's, whose kernel is faster than the loop"
    assert Recurrent(GRU(128, 128)).choice(x) == ("torch", torchs)
    assert Recurrent(MinGRU(128, 128)).choice(x) == ("scan", "MinGRU is parallel over time")
    halved = Recurrent(Halved(128, 128))
    assert halved.choice(x) == ("loop", "Halved has no faster form: there is no core")
    with backend("native"), pytest.raises(UsageError, match=r"cannot run on the backend 'native': there is no core"):
        halved(x)


def test_training_by_the_loop_is_told_once() -> None:
    class Drawing(Sum):
        def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            return state + torch.rand_like(z_t), state

        scan = Cell.scan

    layer, x = Recurrent(Drawing(2, 2)), torch.zeros(1, 5, 2)
    with pytest.warns(
        SlowWarning, match=r"Drawing trains by the plain loop, which is slow: random numbers in the step"
    ):
        layer(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(x)


def test_a_forced_backend_is_obeyed_and_given_back() -> None:
    layer, x = Recurrent(GRU(2, 3)), torch.zeros(1, 5, 2)
    free = layer.choice(x).name
    with backend("loop"):
        assert layer.choice(x) == ("loop", "forced")
        with backend("torch"):
            assert layer.choice(x[:, :1]).name == "torch"
        assert layer.choice(x).name == "loop"
    assert layer.choice(x).name == free != "loop"


def test_the_setter_holds_until_the_next() -> None:
    layer, x = Recurrent(GRU(2, 3)), torch.zeros(1, 5, 2)
    backend("loop")
    try:
        assert layer.choice(x).name == "loop"
    finally:
        backend("auto")
    assert layer.choice(x).name != "loop"


def test_a_backend_that_cannot_be_is_refused_with_the_reason() -> None:
    with pytest.raises(
        UsageError, match=r"no backend 'tortch'; did you mean 'torch'\? Valid: auto, loop, native, scan, torch"
    ):
        backend("tortch")
    with backend("torch"), pytest.raises(UsageError, match=r"Sum cannot run .* 'torch': it is not exactly one of"):
        Recurrent(Sum(2, 2))(torch.zeros(1, 3, 2))
    with (
        backend("scan"),
        pytest.raises(UsageError, match=r"'scan': .* parallel over time. Possible: auto, loop, torch, native"),
    ):
        Recurrent(GRU(2, 2))(torch.zeros(1, 3, 2))


def test_the_cells_own_scan_is_used() -> None:
    y, state = Recurrent(Sum(1, 1))(torch.tensor([[[1.0], [2.0], [3.0]]]))
    assert y.flatten().tolist() == [1, 3, 6]
    assert isinstance(state, Tensor)
    assert state.item() == 6


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize(("batch", "time"), [(0, 4), (3, 0), (3, 1)])
def test_torchs_kernel_on_the_smallest_inputs(name: str, batch: int, time: int) -> None:
    layer, x = Recurrent(CELLS[name]()), torch.randn(batch, time, 6)
    with backend("loop"):
        expected, last = layer(x)
    with backend("torch"):
        y, state = layer(x)
    torch.testing.assert_close(y, expected)
    for leaf, value in zip(leaves(state), leaves(last), strict=True):
        torch.testing.assert_close(leaf, value)
