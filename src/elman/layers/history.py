"""The last inputs as state: what a causal window needs from before the chunk it is given."""

import torch
from torch import Tensor


def extend(x: Tensor, past: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """A chunk with its history in front, and the history after it.

    Args:
        x: (batch, time, features); finite in the padding.
        past: (batch, n, features), the n inputs before the chunk, oldest first; zeros where there were none.
        lengths: (batch,) integers in 0..time, the real steps of each row; None means all of them.
    Returns: past and x joined, (batch, n + time, features), and the last n inputs up to each row's last real step.

    >>> extend(torch.tensor([[[3.0], [4.0]]]), torch.tensor([[[1.0], [2.0]]]), torch.tensor([1]))[1].squeeze()
    tensor([2., 3.])
    """
    joined = torch.cat([past, x], dim=1)
    n = past.shape[1]
    if lengths is None:
        return joined, joined[:, x.shape[1] :].clone()  # a view would keep the whole chunk in memory
    rows = torch.arange(len(x), device=x.device)[:, None]
    return joined, joined[rows, lengths[:, None] + torch.arange(n, device=x.device)]
