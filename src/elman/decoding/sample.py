"""Drawing the next symbol: NumPy host code over a model's scores."""

import numpy as np
from numpy.typing import NDArray

from elman.data.codec import Array, softmax
from elman.errors import ConfigError


class Sampler:
    """Picks a symbol from logits.

    Args:
        temperature: divides the logits; below 1 is safer, 0 always takes the likeliest (greedy).
        top_k: draw among that many of the likeliest symbols only; 0 means all.
        seed: the same seed draws the same symbols; None draws anew each time.
        banned: ids that are never drawn, such as the unknown symbol.

    Raises:
        ConfigError: a negative temperature or top_k.
    """

    def __init__(
        self, temperature: float = 1.0, top_k: int = 0, seed: int | None = None, banned: tuple[int, ...] = ()
    ) -> None:
        if not (temperature >= 0 and np.isfinite(temperature)) or top_k < 0:
            raise ConfigError(f"expected `temperature` >= 0 and `top_k` >= 0, got {temperature} and {top_k}")
        self.temperature, self.top_k, self.banned = temperature, top_k, list(banned)
        self._rng = np.random.default_rng(seed)

    def __call__(self, logits: Array) -> int:
        """The id of a symbol; logits (symbols,)."""
        scores = logits.astype(np.float64)
        scores[self.banned] = -np.inf
        if self.temperature == 0:
            return int(scores.argmax())
        return int(self._rng.choice(len(scores), p=self.probabilities(scores)))

    def probabilities(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """What `__call__` draws from, (symbols,)."""
        if 0 < self.top_k < len(scores):
            likeliest = np.argpartition(scores, -self.top_k)[-self.top_k :]
            kept = np.full(len(scores), -np.inf)
            kept[likeliest] = scores[likeliest]
            scores = kept
        return softmax(scores / self.temperature)
