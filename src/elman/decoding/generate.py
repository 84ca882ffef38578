"""Text from a trained language model, one symbol after the other, the state carried."""

from collections.abc import Iterator

import numpy as np

from elman.data.codec import Codec
from elman.data.text_codec import TextCodec
from elman.decoding.sample import Sampler
from elman.errors import ConfigError, UsageError
from elman.state import NumpyState
from elman.stepper import Stepper


def generate(
    codec: Codec, stepper: Stepper, prompt: str, length: int, *, temperature: float, top_k: int, seed: int | None
) -> Iterator[str]:
    """``length`` pieces of text that go on from ``prompt``. Each costs one step, however long the text is already.

    The unknown symbol is never drawn. At word level a piece brings the blank before it.

    Raises:
        UsageError: the run is not a language model. ConfigError: an option is out of range.
    """
    if not isinstance(codec, TextCodec):
        raise UsageError(f"expected a run of a task that generates (language), got one over {codec.kind}")
    if length < 1:
        raise ConfigError(f"expected `length` >= 1, got {length}")
    sampler = Sampler(temperature, top_k, seed, banned=(codec.unknown_id,))
    return _generate(codec, stepper, prompt, length, sampler)


def _generate(codec: TextCodec, stepper: Stepper, prompt: str, length: int, sampler: Sampler) -> Iterator[str]:
    state: NumpyState = stepper.begin({}, 1)
    before = [codec.start_id, *codec.encode(prompt).tolist()]
    for symbol in before:
        logits, state = stepper.step({"symbols": np.array([symbol])}, state)
    last = before[-1]
    for _ in range(length):
        symbol = sampler(logits[0])
        yield codec.joined(last, symbol)
        logits, state = stepper.step({"symbols": np.array([symbol])}, state)
        last = symbol
