"""The suite of cells fails on each planted fault."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from elman.cells import GRU, LSTM, Cell, VendorWeights
from elman.cells.lstm import LSTMState
from elman.testing import check_cell
from elman.testing.cells import unregistered_cells


class Sound(Cell[Tensor]):
    """A leaky average: what the faulty cells below would be without their fault.

    Source: none, it is a test.
    Shapes: x_t (batch, I); state (batch, H); output (batch, H).
    """

    def __init__(self, input_size: int, hidden_size: int, *, leak: float = 0.5) -> None:
        super().__init__(input_size, hidden_size)
        self.leak = leak
        self.from_input = nn.Linear(input_size, hidden_size)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.from_input.weight.new_zeros(batch_size, self.hidden_size)

    def project(self, x: Tensor) -> Tensor:
        z: Tensor = self.from_input(x)
        return z

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = (1 - self.leak) * state + self.leak * z_t.tanh()
        return state, state


class Undocumented(Sound):
    """A cell from nowhere. Shapes: any."""


class KeepsStateOnItself(Sound):
    __doc__ = Sound.__doc__
    memory: Tensor | None = None

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        if self.memory is not None and self.memory.shape == state.shape:
            state = state + 0.1 * self.memory
        y, state = super().step(z_t, state)
        self.memory = y.detach()
        return y, state


class FloatState(Sound):
    __doc__ = Sound.__doc__

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, self.hidden_size)


class TimeFirstState(Sound):
    __doc__ = Sound.__doc__

    def initial_state(self, batch_size: int) -> Tensor:
        return super().initial_state(batch_size)[None]


class ChangesItsState(Sound):
    __doc__ = Sound.__doc__

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        if state.requires_grad:
            return super().step(z_t, state)
        state.mul_(1 - self.leak).add_(self.leak * z_t.tanh())
        return state.clone(), state


class MixesTime(Sound):
    __doc__ = Sound.__doc__

    def project(self, x: Tensor) -> Tensor:
        z = super().project(x)
        return z - 0.1 * z.mean(1, keepdim=True) if z.ndim == 3 else z


class MixesRows(Sound):
    __doc__ = Sound.__doc__

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return super().step(z_t, state + 0.1 * state.mean(0))


class ScanLosesTheState(Sound):
    __doc__ = Sound.__doc__

    def scan(self, x: Tensor, state: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, _ = super().scan(x, state, lengths)
        return y, state


class ScanLosesAGradient(Sound):
    __doc__ = Sound.__doc__

    def scan(self, x: Tensor, state: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return super().scan(x, state.detach(), lengths)


class DrawsNumbers(Sound):
    __doc__ = Sound.__doc__

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return super().step(z_t + 0.01 * torch.randn_like(z_t), state)


class CutsTheGraph(Sound):
    __doc__ = Sound.__doc__

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return super().step(z_t, 0.5 * state + 0.5 * state.detach())


class UnsavedWeight(Sound):
    __doc__ = Sound.__doc__

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.gain = float(torch.rand(()))

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return super().step(self.gain * z_t, state)


class PositionalOption(Sound):
    __doc__ = Sound.__doc__

    def __init__(self, input_size: int, hidden_size: int, leak: float = 0.5) -> None:
        super().__init__(input_size, hidden_size, leak=leak)


class SwappedLSTM(LSTM):
    __doc__ = LSTM.__doc__

    def vendor(self) -> VendorWeights:
        kind, *weights = super().vendor()
        i, f, g, o = torch.arange(4 * self.hidden_size).chunk(4)
        order = torch.cat([f, i, g, o])
        return VendorWeights(kind, *(weight[order] for weight in weights))


class HeavierGRU(GRU):
    __doc__ = GRU.__doc__

    def vendor(self) -> VendorWeights:
        weights = super().vendor()
        assert weights is not None
        return weights._replace(weight_hh=torch.cat([1.01 * weights.weight_hh[:1], weights.weight_hh[1:]]))


class ForgetfulLSTM(LSTM):
    """The final memory is wrong by 1 %, the outputs are right. Source: a fault. Shapes: as LSTM."""

    def scan(self, x: Tensor, state: LSTMState, lengths: Tensor | None = None) -> tuple[Tensor, LSTMState]:
        y, last = super().scan(x, state, lengths)
        return y, LSTMState(last.hidden, 0.99 * last.cell)


FAULTS: list[tuple[type[Cell], str]] = [
    (Undocumented, "no line 'Source: ...'"),
    (KeepsStateOnItself, "differs between two equal calls"),
    (FloatState, "the initial state is torch.float32, the weights torch.float64"),
    (TimeFirstState, r"a state leaf \(1, 5, 4\) is not batch first, batch = 5"),
    (ChangesItsState, "a call changed its arguments in place"),
    (MixesTime, "step 0 by itself against the loop: the output differs"),
    (MixesRows, "against the row alone"),
    (ScanLosesTheState, "backend 'scan' against the loop, .*: leaf 0 of the final state differs"),
    (ScanLosesAGradient, "backend 'scan' against the loop, .*: the gradient of leaf 0 of the initial state differs"),
    (DrawsNumbers, "differs between two equal calls"),
    (CutsTheGraph, "Jacobian"),
    (UnsavedWeight, "differs after saving and loading"),
    (PositionalOption, "the option leak is not keyword only"),
    (SwappedLSTM, "backend 'torch' against the loop, .*: the output differs"),
    (HeavierGRU, "backend 'torch' against the loop, .*: the output differs"),
    (ForgetfulLSTM, "backend 'scan' against the loop, .*: leaf 1 of the final state differs"),
]


def test_a_sound_cell_passes() -> None:
    check_cell(Sound)
    check_cell(Sound, leak=0.1)


@pytest.mark.parametrize(("cell", "message"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_fault_is_caught(cell: type[Cell], message: str) -> None:
    with pytest.raises((AssertionError, RuntimeError), match=message):
        check_cell(cell)


class InAnothersFile(Sound):
    __doc__ = Sound.__doc__
    __module__ = "elman.cells.lstm"


def test_a_cell_of_the_package_in_anothers_file_is_caught() -> None:
    with pytest.raises(AssertionError, match=r"InAnothersFile is in the file of 'lstm', but registered as \[\]"):
        check_cell(InAnothersFile)


def test_a_cell_of_the_package_that_is_not_registered_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "some_cells").mkdir()
    (tmp_path / "some_cells" / "__init__.py").touch()
    (tmp_path / "some_cells" / "new.py").write_text("from elman.cells import GRU\n\n\nclass New(GRU):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert unregistered_cells("some_cells") == ["New"]
