"""Dynamic time warping of many pairs of sequences at once."""

import numpy as np

from elman.metrics.metric import Floats


def resampled(values: Floats, length: int) -> Floats:
    """A sequence (T, C) without missing values in `length` steps: each the mean over its equal share of the time."""
    steps = len(values)
    if steps == length:
        return values
    running = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    edges = np.linspace(0, steps, length + 1)
    before = np.minimum(edges.astype(np.int64), steps - 1)
    at_edges = running[before] + (edges - before)[:, None] * values[before]
    return np.asarray(np.diff(at_edges, axis=0) * (length / steps))


def dtw(queries: Floats, candidates: Floats, radius: int) -> Floats:
    """Dependent dynamic time warping distance of each query to each candidate: (Q, L, C), (N, L, C) -> (Q, N).

        D(i, j) = |q_i - c_j|^2 + min(D(i - 1, j), D(i, j - 1), D(i - 1, j - 1))       for |i - j| <= radius

    The distance is D at both ends, a sum of squared Euclidean distances over all features at once.

    Source: Sakoe, Chiba, "Dynamic programming algorithm optimization for spoken word recognition", 1978,
    doi:10.1109/TASSP.1978.1163055, equation 14 without weights; "dependent" as in Shokoohi-Yekta, Hu, Jin, Wang, Keogh,
    "Generalizing DTW to the multi-dimensional case requires an adaptive approach", 2017, doi:10.1007/s10618-016-0455-0.
    """
    length = queries.shape[1]
    left, right = _as_products(queries, candidates)
    # Row i of D, the first column standing for j = -1; only the band is written, all else stays infinite.
    above = np.full((length + 1, len(candidates), len(queries)), np.inf, dtype=queries.dtype)
    row = above.copy()
    above[0] = 0
    for i in range(length):
        low, high = max(0, i - radius), min(length, i + radius + 1)
        costs = (right[low:high].reshape(-1, right.shape[-1]) @ left[i].T).reshape(high - low, *row.shape[1:])
        row[low] = np.inf  # left of the band, where an earlier row has written
        np.minimum(above[low:high], above[low + 1 : high + 1], out=row[low + 1 : high + 1])
        for j in range(low, high):
            np.minimum(row[j + 1], row[j], out=row[j + 1])
            row[j + 1] += costs[j - low]
        above, row = row, above
    return np.asarray(above[length].T)


def _as_products(queries: Floats, candidates: Floats) -> tuple[Floats, Floats]:
    """(L, Q, C + 2) and (L, N, C + 2), whose inner products are the squared distances |q|^2 + |c|^2 - 2 q c."""
    q, c = queries.transpose(1, 0, 2), candidates.transpose(1, 0, 2)
    square_q, square_c = (np.square(part).sum(axis=-1, keepdims=True) for part in (q, c))
    left = np.concatenate([-2 * q, square_q, np.ones_like(square_q)], axis=-1)
    return left, np.concatenate([c, np.ones_like(square_c), square_c], axis=-1)
