"""Which inputs decided an answer: integrated gradients."""

from collections.abc import Callable

import torch
from torch import Tensor

from elman.layers.pooling import at_end
from elman.models.many_to_one import ManyToOne
from elman.models.model import Tensors

POINTS = 64
"""Of the path from nothing to the input: the sum of what is attributed is then within about 1 % of what is explained."""


def integrated_gradients(
    model: ManyToOne, inputs: Tensors, lengths: Tensor, score: Callable[[Tensor], Tensor], points: int = POINTS
) -> tuple[Tensor, Tensor]:
    """The share of every number read in the score of each answer, against having read nothing.

    Nothing is an embedding of zeros, or numbers at their mean in training; what is missing stays so. The gradient is taken at the
    middles of ``points`` equal pieces of the straight path from there to the input, in eval mode, which recurrent layers on the
    CPU allow.

    Source: Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", 2017, arXiv:1703.01365.

    Args:
        score: outputs (batch, K) -> (batch,): what is explained.

    Returns: (batch, time, features) shares of what the encoder reads, and (batch,) score of the input minus score of nothing,
    which the shares of a row add up to but for the error of the sum.
    """
    model.eval()
    with torch.no_grad():
        embedded = model.embed(inputs)
        nothing = torch.zeros_like(embedded)
        if model.masked:  # whether a number was there is not what is asked
            numbers = embedded.shape[-1] // 2
            nothing[..., numbers:] = embedded[..., numbers:]

    def scored(x: Tensor) -> Tensor:
        features, _ = model.encode(x, model.begin({}, len(x)), lengths)
        return score(model.head(at_end(features, lengths)))

    total = torch.zeros_like(embedded)
    for point in range(points):
        x = (nothing + (point + 0.5) / points * (embedded - nothing)).requires_grad_()
        (gradient,) = torch.autograd.grad(scored(x).sum(), x)
        total += gradient
    with torch.no_grad():
        explained = scored(embedded) - scored(nothing)
    return total / points * (embedded - nothing), explained
