"""The last inputs as state, row by row and chunk by chunk against plain lists."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from elman.layers.history import extend


@given(n=st.integers(0, 4), rows=st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=1, max_size=4))
def test_the_history_is_the_end_of_what_was_read(n: int, rows: list[list[int]]) -> None:
    """Each row reads chunks of lengths of its own; what is left is the end of a list."""
    chunks, time = len(rows[0]), 3
    x = torch.arange(1.0, 1 + len(rows) * chunks * time).view(len(rows), chunks, time, 1)
    past = torch.zeros(len(rows), n, 1)
    read = [[0.0] * n for _ in rows]
    for chunk in range(chunks):
        lengths = torch.tensor([row[chunk] for row in rows])
        before = past
        joined, past = extend(x[:, chunk], past, lengths)
        assert torch.equal(joined[:, :n], before)
        assert torch.equal(joined[:, n:], x[:, chunk])
        for row, values in enumerate(read):
            values += x[row, chunk, : lengths[row], 0].tolist()
    assert past.squeeze(-1).tolist() == [values[len(values) - n :] for values in read]


def test_no_lengths_are_full_lengths() -> None:
    x, past = torch.randn(2, 3, 2), torch.randn(2, 4, 2)
    full = extend(x, past, torch.tensor([3, 3]))
    assert all(torch.equal(a, b) for a, b in zip(extend(x, past), full, strict=True))
    assert torch.equal(extend(x[:, :0], past)[1], past)


def test_a_stream_does_not_hold_on_to_its_past() -> None:
    """The history is a copy: as a view it would keep the whole chunk alive."""
    for batch in (1, 4):
        _, past = extend(torch.randn(batch, 100, 2), torch.zeros(batch, 3, 2))
        assert past.untyped_storage().nbytes() == past.nbytes
