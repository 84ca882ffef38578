"""Text from a trained language model: one symbol after the other, the state carried, or the likeliest of several."""

from collections.abc import Iterator, Sequence

import numpy as np

from elman.data.codec import Codec
from elman.data.text_codec import TextCodec
from elman.decoding.beam import beam_search
from elman.decoding.sample import Sampler
from elman.errors import ConfigError, UsageError
from elman.state import NumpyState
from elman.stepper import Stepper


def generate(
    codec: Codec,
    stepper: Stepper,
    prompt: str,
    length: int,
    *,
    temperature: float,
    top_k: int,
    seed: int | None,
    beam: int = 0,
) -> Iterator[str]:
    """``length`` pieces of text that go on from ``prompt``. Each costs one step, however long the text is already.

    The unknown symbol is never written. At word level a piece brings the blank before it. With a ``beam`` nothing is drawn: the
    pieces are the likeliest text of that length which a search with so many texts side by side finds, and come when it ends.

    Raises:
        UsageError: the run is not a language model, or a beam is asked to draw. ConfigError: an option is out of range.
    """
    if not isinstance(codec, TextCodec):
        raise UsageError(f"expected a run of a task that generates (language), got one over {codec.kind}")
    if length < 1:
        raise ConfigError(f"expected `length` >= 1, got {length}")
    if beam < 0:
        raise ConfigError(f"expected `beam` >= 0, got {beam}")
    if beam and (temperature != 1 or top_k or seed is not None):
        raise UsageError("beam search draws nothing: leave out temperature, top-k and seed, or the beam")
    before = [codec.start_id, *codec.encode(prompt).tolist()]
    if beam:
        return _search(codec, stepper, before, length, beam)
    return _draw(codec, stepper, before, length, Sampler(temperature, top_k, seed, banned=(codec.unknown_id,)))


def _read(stepper: Stepper, symbols: Sequence[int]) -> NumpyState:
    """The state after these."""
    state = stepper.begin({}, 1)
    for symbol in symbols:
        _, state = stepper.step({"symbols": np.array([symbol])}, state)
    return state


def _search(codec: TextCodec, stepper: Stepper, before: Sequence[int], length: int, beam: int) -> Iterator[str]:
    state, last = _read(stepper, before[:-1]), before[-1]
    ((best, *_),) = beam_search(stepper, state, np.array([last]), beam=beam, length=length, banned=(codec.unknown_id,))
    for symbol in best.symbols:
        yield codec.joined(last, symbol)
        last = symbol


def _draw(codec: TextCodec, stepper: Stepper, before: Sequence[int], length: int, sampler: Sampler) -> Iterator[str]:
    state, last = _read(stepper, before[:-1]), before[-1]
    for _ in range(length):
        logits, state = stepper.step({"symbols": np.array([last])}, state)
        symbol = sampler(logits[0])
        yield codec.joined(last, symbol)
        last = symbol
