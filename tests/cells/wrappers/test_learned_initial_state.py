import torch

from elman.cells import LSTM, Elman
from elman.cells.wrappers import LearnedInitialState, VariationalDropout
from elman.layers import Recurrent
from elman.state import leaves, where


def test_a_sequence_starts_in_the_parameters() -> None:
    cell = LSTM(3, 4)
    wrapped = LearnedInitialState(cell)
    assert [name for name, _ in wrapped.named_parameters() if "first" in name] == ["first.0", "first.1"]
    assert not any(leaf.any() for leaf in leaves(wrapped.initial_state(2)))
    with torch.no_grad():
        for parameter in wrapped.first:
            parameter.normal_()
    x, (hidden, memory) = torch.randn(2, 5, 3), leaves(wrapped.initial_state(2))
    assert torch.equal(hidden, wrapped.first[0].expand(2, 4))
    assert torch.equal(memory, wrapped.first[1].expand(2, 4))
    assert torch.equal(Recurrent(wrapped)(x)[0], Recurrent(cell)(x, (hidden, memory))[0])


def test_only_rows_that_start_anew_teach_it() -> None:
    """By the closed form for one step of a unit: h_1 = tanh(u a) if x and b are 0, so the slope is u (1 - h_1^2)."""
    cell = Elman(1, 1).double()
    torch.nn.init.zeros_(cell.from_input.weight)
    wrapped = LearnedInitialState(cell)
    torch.nn.init.constant_(wrapped.first[0], 0.3)
    state = where(torch.tensor([True, False]), wrapped.initial_state(2), torch.full((2, 1), 0.5, dtype=torch.float64))
    y, _ = Recurrent(wrapped)(torch.zeros(2, 1, 1, dtype=torch.float64), state)
    y.sum().backward()
    u = float(cell.from_hidden.weight.detach())
    expected = u * (1 - torch.tanh(torch.tensor(0.3 * u, dtype=torch.float64)) ** 2)
    assert wrapped.first[0].grad is not None
    torch.testing.assert_close(wrapped.first[0].grad[0], expected)


def test_a_mask_of_dropout_is_not_learned() -> None:
    wrapped = LearnedInitialState(VariationalDropout(LSTM(3, 4), 0.5))
    assert len(wrapped.first) == 2
    assert [leaf.shape for leaf in leaves(wrapped.initial_state(2))] == [(2, 4)] * 3


def test_integers_in_a_state_are_not_learned() -> None:
    class Counting(Elman):
        def initial_state(self, batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[override]
            return super().initial_state(batch_size), torch.zeros(batch_size, dtype=torch.long)

    wrapped = LearnedInitialState(Counting(3, 4))
    assert len(wrapped.first) == 1
    assert [leaf.dtype for leaf in leaves(wrapped.initial_state(2))] == [torch.float, torch.long]
