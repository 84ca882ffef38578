"""A batch cut along time."""

import torch

from elman.data.batch import Batch


def example() -> Batch:
    x = torch.arange(21.0).reshape(3, 7, 1)
    fresh = torch.tensor([True, True, False])
    return Batch({"x": x}, {"labels": x.long()}, torch.tensor([7, 3, 0]), fresh, {"source": torch.arange(3)})


def test_windows_are_the_batch_piece_by_piece() -> None:
    whole = example()
    parts = list(whole.windows(3))
    assert [part.inputs["x"].shape[1] for part in parts] == [3, 3, 1]
    assert torch.equal(torch.cat([part.inputs["x"] for part in parts], 1), whole.inputs["x"])
    assert torch.equal(torch.cat([part.targets["labels"] for part in parts], 1), whole.targets["labels"])
    assert [part.lengths.tolist() for part in parts] == [[3, 3, 0], [3, 0, 0], [1, 0, 0]]
    assert all(torch.equal(part.context["source"], whole.context["source"]) for part in parts)


def test_only_the_first_window_starts_a_sequence() -> None:
    assert [part.fresh.tolist() for part in example().windows(4)] == [[True, True, False], [False, False, False]]


def test_a_batch_no_longer_than_the_window_stays_as_it_is() -> None:
    whole = example()
    assert all(list(whole.windows(steps)) == [whole] for steps in (0, 7, 8))


def test_the_rows_of_a_process_are_cut_alike() -> None:
    rows = slice(1, 3)
    whole = example()
    for part, expected in zip(whole.windows(3), whole.part(rows).windows(3), strict=True):
        assert torch.equal(part.part(rows).inputs["x"], expected.inputs["x"])
        assert torch.equal(part.part(rows).lengths, expected.lengths)
