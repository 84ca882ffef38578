"""The Hopfield network: patterns as the resting states of a network of two-valued units."""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from elman.errors import ConfigError, UsageError

Rule = Literal["hebbian", "storkey", "pseudo_inverse"]
Update = Literal["asynchronous", "synchronous"]


class Recall(NamedTuple):
    """Where a network came to rest, row by row. B rows, N units."""

    states: Tensor
    """(B, N), +1 or -1. Of a row that cycles: one of its two states."""
    converged: Tensor
    """(B,) bool: no unit would change any more. Neither this nor `cycling`: `sweeps` were too few."""
    cycling: Tensor
    """(B,) bool: synchronous updates alternate between two states for ever."""
    sweeps: Tensor
    """(B,) int: sweeps after which the row changed no more, or was seen to cycle."""
    energies: Tensor | None
    """(1 + sweeps run, B): before the first sweep and after each; None unless asked for."""


class HopfieldNetwork(nn.Module):
    """Hopfield network: symmetric weights whose resting states are the stored patterns, found again from damaged ones.

        h_i = sum_j w_ij s_j                                 w_ij = w_ji, w_ii = 0, thresholds are 0
        s_i <- sign(h_i)                                     h_i = 0 keeps s_i
        E(s) = -1/2 sum_ij w_ij s_i s_j                      never rises under asynchronous updates

    Learning rules, for patterns x^1 .. x^P:

        hebbian         w_ij = 1/N sum_m x_i^m x_j^m                                  about 0.138 N random patterns, with errors
        storkey         w_ij += 1/N (x_i x_j - x_i h_ji - h_ij x_j),  h_ij = sum_{k != i, j} w_ik x_k;  pattern by pattern
        pseudo_inverse  W = X^+ X, the projection on the patterns' span               any N - 1 linearly independent patterns

    Source: Hopfield, "Neural networks and physical systems with emergent collective computational abilities", 1982,
    doi:10.1073/pnas.79.8.2554; Storkey, "Increasing the capacity of a Hopfield network without sacrificing functionality", 1997,
    doi:10.1007/BFb0020196; Personnaz, Guyon, Dreyfus, "Collective computational properties of neural networks: new learning
    mechanisms", 1986, doi:10.1103/PhysRevA.34.4217.
    Differs: units are +1 and -1, not 1 and 0; the diagonal is 0 for the pseudo-inverse too, as in Kanter and Sompolinsky,
    "Associative recall of memory without errors", 1987, doi:10.1103/PhysRevA.35.380, which widens the basins.
    Parameters: none; the weights (N, N) are a buffer in float64, saved and loaded with `state_dict`.

    Args:
        size: units, N >= 1.
    Raises: ConfigError if the size is below 1.

    >>> network = HopfieldNetwork(4)
    >>> network.learn(torch.tensor([[1, -1, 1, -1]]))
    >>> network.recall(torch.tensor([[1, -1, 1, 1]])).states
    tensor([[ 1., -1.,  1., -1.]], dtype=torch.float64)
    """

    weights: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        if size < 1:
            raise ConfigError(f"expected `size` of 1 unit or more, got {size}")
        self.size = size
        self.register_buffer("weights", torch.zeros(size, size, dtype=torch.float64))

    def learn(self, patterns: Tensor, rule: Rule = "hebbian", *, keep: bool = False) -> None:
        """Store patterns, in place of those stored before.

        Args:
            patterns: +1 and -1, of any number type.
            rule: "hebbian" is local and learns each pattern by itself; "storkey" is local, stores more, and depends on the
                order; "pseudo_inverse" looks at all patterns together, and copes with those that resemble each other.
            keep: add to what is stored already; not with "pseudo_inverse".
        Shapes: patterns (P, N).
        Raises: ConfigError if the rule is another, UsageError if the patterns are none, not +1 and -1, not N wide, or
            cannot be added.
        """
        if rule not in RULES:
            raise ConfigError(f"expected `rule` among {', '.join(RULES)}; got {rule!r}")
        if keep and rule == "pseudo_inverse":
            raise UsageError("the pseudo-inverse depends on all patterns together: learn old and new ones in one call")
        patterns = self._checked(patterns.detach(), "patterns").double()
        if len(patterns) == 0:
            raise UsageError("expected one pattern or more in `patterns`, got none")
        before = self.weights.double() if keep else self.weights.new_zeros(self.size, self.size, dtype=torch.float64)
        self.weights.copy_(RULES[rule](before, patterns).fill_diagonal_(0))

    def energy(self, states: Tensor) -> Tensor:
        """E(s) of each state. Shapes: states (B, N), +1 and -1 -> (B,). Raises: UsageError as `recall`."""
        return self._energy(self._checked(states, "states"))

    def recall(
        self,
        states: Tensor,
        *,
        update: Update = "asynchronous",
        sweeps: int = 100,
        seed: int = 0,
        known: Tensor | None = None,
        trace: bool = False,
    ) -> Recall:
        """Let the network run from each state until it rests.

        Args:
            states: where to start, +1 and -1, of any number type.
            update: "asynchronous": unit after unit, in an order drawn anew for every sweep, the same for all rows.
                "synchronous": all units at once; it may end in a cycle of two states, which is told.
            sweeps: at most so many updates of every unit.
            seed: of the order.
            known: True for units that keep their value, as the visible half of a picture does.
            trace: return the energy after every sweep.
        Shapes: states (B, N); known (N,) or (B, N) bool.
        Raises: ConfigError if the update is another or `sweeps` is below 0, UsageError if the states are not +1 and -1,
            or a shape is wrong.
        """
        if update not in get_args(Update):
            raise ConfigError(f"expected `update` among {', '.join(get_args(Update))}; got {update!r}")
        if sweeps < 0:
            raise ConfigError(f"expected `sweeps` of 0 or more, got {sweeps}")
        states = self._checked(states, "states")
        free = ~self._mask(known, states)
        generator = torch.Generator().manual_seed(seed)
        before, count = states, torch.zeros(len(states), dtype=torch.int64, device=states.device)
        cycling = torch.zeros_like(count, dtype=torch.bool)
        energies = [self._energy(states)]
        for _ in range(sweeps):
            if update == "synchronous":
                after = self._all_at_once(states, free)
            else:
                after = self._one_by_one(states, free, torch.randperm(self.size, generator=generator))
            changed = (after != states).any(1) & ~cycling
            if not changed.any():
                break
            if update == "synchronous":
                cycling = cycling | (changed & (after == before).all(1))
            count += changed
            before, states = (
                states,
                after.where(changed[:, None], states),
            )  # a row that cycles stays where it was seen to
            if trace:
                energies.append(self._energy(states))
        converged = (self._all_at_once(states, free) == states).all(1)
        return Recall(states, converged, cycling, count, torch.stack(energies) if trace else None)

    def _energy(self, states: Tensor) -> Tensor:
        return -0.5 * (states @ self.weights * states).sum(-1)

    def _all_at_once(self, states: Tensor, free: Tensor) -> Tensor:
        return _signs(states @ self.weights, states, self._rounding()).where(free, states)

    def _one_by_one(self, states: Tensor, free: Tensor, order: Tensor) -> Tensor:
        units = states.T.clone(memory_format=torch.contiguous_format)  # (N, B): a unit is a row
        movable, rounding = free.T.contiguous(), self._rounding()
        for unit in order[movable.any(1).cpu()[order]].tolist():
            now = units[unit]
            units[unit] = _signs(self.weights[unit] @ units, now, rounding[unit]).where(movable[unit], now)
        return units.T

    def _rounding(self) -> Tensor:
        """(N,): fields up to here may be nothing but the rounding of a sum of N terms; they count as 0."""
        return self.size * torch.finfo(self.weights.dtype).eps * self.weights.abs().sum(1)

    def _checked(self, values: Tensor, name: str) -> Tensor:
        """As the type and on the device of the weights."""
        if values.ndim != 2 or values.shape[1] != self.size:
            raise UsageError(
                f"expected `{name}` (rows, {self.size}), got {tuple(values.shape)}: the network has {self.size} units"
            )
        values = values.to(self.weights)
        wrong = values[values.abs() != 1]
        if len(wrong):
            raise UsageError(
                f"expected `{name}` of +1 and -1, got {len(wrong)} other values, such as {wrong[0].item():g}; "
                "0 and 1 become -1 and +1 by 2 x - 1"
            )
        return values

    def _mask(self, known: Tensor | None, states: Tensor) -> Tensor:
        if known is None:
            return torch.zeros_like(states, dtype=torch.bool)
        if known.dtype != torch.bool or known.shape not in (states.shape, states.shape[1:]):
            raise UsageError(
                f"expected `known` as bool ({self.size},) or {tuple(states.shape)}, got {tuple(known.shape)} of {known.dtype}"
            )
        return known.to(states.device).expand_as(states)


def _signs(fields: Tensor, states: Tensor, rounding: Tensor) -> Tensor:
    return fields.sign().where(fields.abs() > rounding, states)


def _hebbian(weights: Tensor, patterns: Tensor) -> Tensor:
    return weights + patterns.T @ patterns / patterns.shape[1]


def _storkey(weights: Tensor, patterns: Tensor) -> Tensor:
    """With w_ii = 0 and h = W x, h_ij = h_i - w_ij x_j: the sum over i and j becomes products of vectors."""
    for x in patterns:
        h = weights @ x
        weights = weights + (torch.outer(x, x) - torch.outer(x, h) - torch.outer(h, x) + 2 * weights) / len(x)
        weights.fill_diagonal_(0)
    return weights


def _pseudo_inverse(_: Tensor, patterns: Tensor) -> Tensor:
    """The projection; entries that are nothing but rounding are 0, because signs of fields are taken of them."""
    _, singular, basis = torch.linalg.svd(patterns, full_matrices=False)
    relative = max(patterns.shape) * torch.finfo(patterns.dtype).eps
    kept = singular > relative * singular[0]
    projection: Tensor = basis[kept].T @ basis[kept]
    noise = relative * singular[0] / singular[kept][-1]
    return projection.where(projection.abs() > noise, 0)


RULES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "hebbian": _hebbian,
    "storkey": _storkey,
    "pseudo_inverse": _pseudo_inverse,
}
