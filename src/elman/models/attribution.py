"""Which inputs decided an answer: integrated gradients."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from elman.layers.pooling import at_end
from elman.models.many_to_one import ManyToOne
from elman.models.model import Tensors

POINTS = (32, 128, 512)
"""Of the path from nothing to the input: as few as explain all of every score but for `GAP`."""
GAP = 0.01


def integrated_gradients(
    model: ManyToOne,
    inputs: Tensors,
    lengths: Tensor,
    score: Callable[[Tensor], Tensor],
    points: Sequence[int] = POINTS,
) -> tuple[Tensor, Tensor]:
    """The share of every number read in the score of each answer, against having read nothing.

    Nothing is an embedding of zeros, or numbers at their mean in training; what is missing stays so. The gradient is taken at the
    middles of equal pieces of the straight path from there to the input, in eval mode, which recurrent layers on the CPU allow.

    Source: Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", 2017, arXiv:1703.01365.

    Args:
        score: outputs (batch, K) -> (batch,): what is explained.
        points: pieces of the path, rising: more are taken until the shares of every row add up within `GAP` of what is explained.

    Returns: (batch, time, features) shares of what the encoder reads, and (batch,) score of the input minus score of nothing,
    which the shares of a row add up to but for the error of the sum.
    """
    model.eval()
    with torch.no_grad():
        embedded = model.embed(inputs)
        nothing = torch.zeros_like(embedded)
        if "values" in inputs:  # whether and when a number was there is not what is asked
            numbers = inputs["values"].shape[-1]
            nothing[..., numbers:] = embedded[..., numbers:]

    def scored(x: Tensor) -> Tensor:
        features, _ = model.encode(x, model.begin({}, len(x)), lengths)
        return score(model.head(at_end(features, lengths)))

    with torch.no_grad():
        explained = scored(embedded) - scored(nothing)
    shares = nothing
    for count in points:
        total = torch.zeros_like(embedded)
        for point in range(count):
            x = (nothing + (point + 0.5) / count * (embedded - nothing)).requires_grad_()
            (gradient,) = torch.autograd.grad(scored(x).sum(), x)
            total += gradient
        shares = total / count * (embedded - nothing)
        missing = shares.sum((1, 2)) - explained
        if bool((missing.abs() <= GAP * explained.abs().clamp(min=0.1)).all()):
            break
    return shares, explained
