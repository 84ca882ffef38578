"""The torch stepper: NumPy in, NumPy out, nothing changed on the way."""

import numpy as np
import torch

from elman.models.build import EncoderConfig
from elman.models.language import LanguageModel
from elman.models.stepper import TorchStepper
from elman.state import leaves, map_leaves


def stepper() -> TorchStepper:
    torch.manual_seed(0)
    encoder = EncoderConfig(name="lstm", hidden=4, layers=2).model_dump()
    return TorchStepper(LanguageModel(encoder, 7, 5, dropout=0.5).train())


def test_it_evaluates_and_leaves_its_arguments_as_they_were() -> None:
    ours = stepper()
    assert not ours.model.training
    _, state = ours.step({"symbols": np.array([1, 2])}, ours.begin({}, 2))
    before = map_leaves(np.copy, state)
    first, after = ours.step({"symbols": np.array([3, 4])}, state)
    second, _ = ours.step({"symbols": np.array([3, 4])}, state)
    assert all(np.array_equal(a, b) for a, b in zip(leaves(state), leaves(before), strict=True))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(next(leaves(after)), next(leaves(state)))
    assert all(isinstance(leaf, np.ndarray) and len(leaf) == 2 for leaf in leaves(after))


def test_rows_are_independent() -> None:
    ours = stepper()
    together, _ = ours.step({"symbols": np.array([1, 6])}, ours.begin({}, 2))
    alone, _ = ours.step({"symbols": np.array([6])}, ours.begin({}, 1))
    np.testing.assert_allclose(together[1:], alone, rtol=1e-5, atol=1e-6)
