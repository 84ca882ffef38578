"""What `language` shows in a report: texts it writes, lines it found easy and hard, and whether its certainty is earned."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from elman.data.text_codec import TextCodec
from elman.tasks.exhibits import AnyExhibit, Passage, Passages, Reliability

Floats = NDArray[np.float64]
Ids = NDArray[np.int32]

TEMPERATURES = (0.5, 0.8, 1.0)
SAMPLED = {"char": 400, "word": 90}  # symbols of each sample: a paragraph
LOOKED_AT = 200_000  # symbols of the test text at most: enough for examples, and scored a second time
SHORTEST = {"char": 20, "word": 6}  # symbols of a line that is shown
LONGEST = {"char": 400, "word": 80}
LINES = 3  # of the best, and as many of the worst
BINS = 10
FULL_SHADE = 8.0  # bits of a symbol that is marked as strongly as can be: a chance of 1 in 256


@dataclass(frozen=True)
class Read:
    """A text as the model read it: ids, nats of each, the probability of the likeliest symbol and whether it came."""

    ids: Ids
    nll: Floats
    confidence: Floats
    right: NDArray[np.bool_]


def read_closely(logits: Tensor, following: Tensor) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """What `Read` holds beside the ids, of logits (symbols, V) and the symbols that came."""
    nll = F.cross_entropy(logits, following, reduction="none")
    confidence, likeliest = logits.softmax(-1).max(-1)
    return nll.double().numpy(), confidence.double().numpy(), (likeliest == following).numpy()


def language_exhibits(codec: TextCodec, read: Read, sample: Callable[[float, int], Iterator[str]]) -> list[AnyExhibit]:
    """Samples (``sample(temperature, length)`` draws one), the easiest and the hardest lines, and a reliability diagram."""
    return [_samples(codec, sample), *_lines(codec, read), _reliability(read)]


def _samples(codec: TextCodec, sample: Callable[[float, int], Iterator[str]]) -> Passages:
    length = SAMPLED[codec.level]
    passages = [Passage(f"temperature {t:g}", ["".join(sample(t, length))]) for t in TEMPERATURES]
    return Passages(
        name="samples",
        title="What it writes",
        caption=f"{length} symbols from nothing, at three temperatures: lower is safer and repeats itself more.",
        passages=passages,
    )


def _lines(codec: TextCodec, read: Read) -> list[AnyExhibit]:
    ends = np.flatnonzero(read.ids == codec.start_id) + 1
    borders = np.concatenate([[0], ends, [len(read.ids)]])
    spans = [(a, b) for a, b in pairwise(borders.tolist()) if b - a >= SHORTEST[codec.level]]
    if len(spans) < 2:
        return []
    order = sorted(spans, key=lambda span: float(read.nll[span[0] : span[1]].mean()))
    count = min(LINES, len(order) // 2)
    return [
        Passages(
            name=name,
            title=title,
            caption=f"{caption} The darker a symbol is marked, the less the model expected it.",
            passages=[_passage(codec, read, a, b) for a, b in chosen],
        )
        for name, title, caption, chosen in (
            ("easiest-lines", "Lines it expected", "Fewest bits per symbol in the test text.", order[:count]),
            ("hardest-lines", "Lines that surprised it", "Most bits per symbol in the test text.", order[: -count - 1 : -1]),
        )
    ]  # fmt: skip


def _passage(codec: TextCodec, read: Read, a: int, b: int) -> Passage:
    bits = read.nll[a:b] / np.log(2)
    shown = min(b, a + LONGEST[codec.level])
    before = [codec.start_id, *read.ids[a : shown - 1].tolist()]
    pieces = [codec.joined(x, y) for x, y in zip(before, read.ids[a:shown].tolist(), strict=True)]
    return Passage(
        heading=f"{bits.mean():.2f} bits per symbol{'' if shown == b else ', the beginning'}",
        pieces=pieces,
        shades=np.minimum(bits[: shown - a] / FULL_SHADE, 1.0).round(3).tolist(),
    )


def _reliability(read: Read) -> Reliability:
    confidence, accuracy, count = binned(read.confidence, read.right, BINS)
    return Reliability(
        name="reliability",
        title="Is it as sure as it should be?",
        caption="How often the likeliest symbol came, against the probability the model gave it.",
        confidence=confidence,
        accuracy=accuracy,
        count=count,
    )


def binned(confidence: Floats, right: NDArray[np.bool_], bins: int) -> tuple[list[float], list[float], list[int]]:
    """Mean confidence, share that was right and count of ``bins`` equal parts of 0 to 1; NaN in an empty one."""
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    count = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, weights=values, minlength=bins) for values in (confidence, right.astype(np.float64))]
    with np.errstate(invalid="ignore"):
        mean, share = (total / count for total in sums)
    return mean.tolist(), share.tolist(), count.tolist()


def first_symbols(starts: Sequence[int]) -> list[tuple[int, int]]:
    """The texts (start, stop) of a test, cut after `LOOKED_AT` symbols together."""
    limited = [min(start, LOOKED_AT) for start in starts]
    return [(a, b) for a, b in pairwise(limited) if b > a]
