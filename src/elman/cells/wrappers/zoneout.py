"""Zoneout: units that keep their old state."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from elman.cells.cell import Cell
from elman.cells.masks import check_probability, keep_mask
from elman.cells.wrappers.wrapper import CellWrapper, field, fields, one_row, own_state, with_fields, with_own_state
from elman.errors import ConfigError
from elman.state import State


class Zoneout(CellWrapper):
    """Lets units keep the state they had, at random in training, by the expectation outside.

        s'_t = step of the cell inside
        h_t = (1 - m_t) * h_{t-1} + m_t * h'_t              m_t ~ Bernoulli(1 - p), for each row, unit and step;
        c_t = (1 - n_t) * c_{t-1} + n_t * c'_t              n_t ~ Bernoulli(1 - p_cell);
                                                            outside training m_t = 1 - p, n_t = 1 - p_cell

    Source: Krueger et al., "Zoneout: Regularizing RNNs by Randomly Preserving Hidden Activations", 2017,
    arXiv:1606.01305. For an LSTM as there, h'_t being computed from c'_t; the paper's values: p = 0.05, p_cell = 0.5.
    Differs: nothing.

    Where the output is the hidden state, it is the new h_t. Another output, such as that of a `Residual` inside, stays
    what it is: put `Residual` outermost. The masks are columns that `project` adds in training.

    Args:
        cell: its state is a tensor, or has the field `hidden`.
        p: probability of keeping a unit of the hidden state, 0 <= p < 1.
        p_cell: the same for a unit of `cell`, in a state of `hidden` and `cell`. Not in others: in an sLSTM's, say, the
            memory means nothing without its normalizer.
    Shapes: as of the cell inside.
    Raises: ConfigError if a probability is out of range or the state lacks the field.
    """

    def __init__(self, cell: Cell, p: float, p_cell: float = 0.0) -> None:
        super().__init__(cell)
        self.p, self.p_cell = check_probability(p), check_probability(p_cell)
        probabilities = {"hidden": p, "cell": p_cell}
        self._p = {name: probability for name, probability in probabilities.items() if probability > 0}
        self._units, self._shows_hidden = _look_into(cell, self._p)

    @property
    def transparent(self) -> bool:
        return not self._p

    def project(self, x: Tensor) -> Tensor:
        z = super().project(x)
        if not self.training:
            return z
        masks = [keep_mask(z[..., :1].expand(*z.shape[:-1], self._units[name]), p) for name, p in self._p.items()]
        return torch.cat([z, *masks], -1)

    def gates(self, z_t: Tensor, state: State) -> Any:
        return super().gates(self._split(z_t)[0], state)

    def step(self, z_t: Tensor, state: State) -> tuple[Tensor, State]:
        z_t, takes = self._split(z_t)
        y, after = self.cell.step(z_t, state)
        old, new = own_state(state), own_state(after)
        mixed = {name: _mix(field(old, name), field(new, name), take) for name, take in takes.items()}
        if self._shows_hidden and "hidden" in mixed:
            y = mixed["hidden"].reshape(y.shape)
        return y, with_own_state(after, with_fields(new, **mixed))

    def _split(self, z_t: Tensor) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """What the cell inside reads, and how much of the new state each field takes."""
        if not self.training:
            return z_t, {name: 1 - p for name, p in self._p.items()}
        units = [self._units[name] for name in self._p]
        z_t, *masks = z_t.split_with_sizes([z_t.shape[-1] - sum(units), *units], -1)
        return z_t, dict(zip(self._p, masks, strict=True))

    def extra_repr(self) -> str:
        return f"p={self.p}, p_cell={self.p_cell}"


def _mix(old: Tensor, new: Tensor, take: Tensor | float) -> Tensor:
    if isinstance(take, Tensor):
        take = take.reshape(new.shape)
    return (1 - take) * old + take * new


@torch.no_grad()
def _look_into(cell: Cell, p: Mapping[str, float]) -> tuple[dict[str, int], bool]:
    """The sizes of the fields that keep, and whether the output is the hidden state. Raises ConfigError if one is lacking."""
    z_t, state = one_row(cell)
    y, after = cell.step(z_t, state)
    own = own_state(after)
    if "hidden" not in fields(own):
        raise ConfigError(f"expected a cell whose state is a tensor or has a field `hidden`, got {type(own).__name__}")
    if "cell" in p and fields(own) != ("hidden", "cell"):
        raise ConfigError(
            f"expected `p_cell`=0 for a state other than (hidden, cell), got {p['cell']} for {type(own).__name__}"
        )
    hidden = field(own, "hidden")
    units = {name: field(own, name).numel() for name in p}
    return units, y.numel() == hidden.numel() and y.data_ptr() == hidden.data_ptr()
