"""Labelled sequences in a run folder: some of the data a model was fitted on, for the baselines and to tell what was seen."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from elman.data.files import replacing
from elman.data.sequences import Layout, SequenceSet
from elman.data.splits import Seen
from elman.errors import RunError

MOST_DIGESTS = 2_000_000
"""Sequences that are known again, 8 bytes each."""


def save_sequences(data: SequenceSet, path: Path, most: int) -> None:
    """Write sequences with their labels, as evenly spread as it takes to stay under ``most`` numbers or characters.

    Beside them stands what tells whether any other sequence was among them all, see `load_seen`.
    """
    sizes = [len(text) for text in data.texts] if data.texts is not None else [one.size for one in data.values or ()]
    share = min(1.0, most / max(1, sum(sizes)))
    rows = np.unique(np.linspace(0, len(data) - 1, max(1, int(share * len(data)))).round().astype(np.int64))
    kept = data.take(rows)
    if kept.texts is not None:
        parts = [np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8) for text in kept.texts]
        joined: NDArray[np.generic] = np.concatenate(parts)
    else:
        parts = list(kept.values or ())  # type: ignore[arg-type]
        joined = np.concatenate(parts)
    seen = Seen.of(data)
    digests = seen.digests[
        :: -(-len(seen.digests) // MOST_DIGESTS)
    ]  # their order is chance, so these are a fair sample
    arrays = {"lengths": np.array([len(part) for part in parts]), "data": joined, "digests": digests}
    about = {
        "layout": data.layout.to_json(),
        "labels": kept.labels,
        "texts": kept.texts is not None,
        "count": seen.count,
    }
    with replacing(path) as beside:
        # one entry of metadata: the order of several is left to chance
        save_file(arrays, beside, metadata={"about": json.dumps(about)})


def load_sequences(path: Path) -> SequenceSet:
    """The sequences that `save_sequences` kept. Raises RunError if the file is missing or damaged."""
    with _refusing_damage(path), safe_open(path, framework="numpy") as file:
        metadata, lengths, data = file.metadata(), file.get_tensor("lengths"), file.get_tensor("data")
        about = json.loads(metadata["about"])
        layout, texts = Layout.from_json(about["layout"]), about["texts"]
        labels = tuple(tuple(tuple(cell) for cell in cells) for cells in about["labels"])
        _check(lengths, data, (np.uint8, ()) if texts else (np.float64, (len(layout.names),)), len(labels))
        parts = np.split(data, np.cumsum(lengths)[:-1])
        return SequenceSet(
            name="the training data",
            layout=layout,
            texts=tuple(part.tobytes().decode("utf-8", "surrogatepass") for part in parts) if texts else None,
            values=None if texts else tuple(parts),
            labels=labels,
            ids=tuple(map(str, range(len(parts)))),
            places=tuple(f"training sequence {number}" for number in range(len(parts))),
        )


def load_seen(path: Path) -> Seen:
    """Which sequences `save_sequences` was given; of a file by an earlier version, which it kept. Raises RunError as above."""
    with _refusing_damage(path), safe_open(path, framework="numpy") as file:
        if "digests" not in file.keys():  # noqa: SIM118  (it is no mapping)
            return Seen.of(load_sequences(path))
        digests, count = file.get_tensor("digests"), json.loads(file.metadata()["about"])["count"]
        if digests.dtype != np.uint64 or digests.ndim != 1 or not isinstance(count, int) or count < len(digests):
            raise ValueError(f"digests of {digests.dtype} {digests.shape} for {count} sequences")
        return Seen(digests, count)


@contextmanager
def _refusing_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path}: damaged: expected the sequences that `elman fit` wrote: {error}") from error


def _check(
    lengths: NDArray[np.int64], data: NDArray[np.generic], kind: tuple[type, tuple[int, ...]], labels: int
) -> None:
    """Raise a ValueError unless the parts of a file fit together; ``kind`` is the type and shape of a step."""
    if data.dtype != kind[0] or data.shape[1:] != kind[1]:
        raise ValueError(f"steps of {data.dtype} {data.shape[1:]}, not {np.dtype(kind[0])} {kind[1]}")
    if not len(lengths) or len(lengths) != labels or lengths.min() < 0 or lengths.sum() != len(data):
        raise ValueError(
            f"{len(lengths)} sequences of {lengths.sum()} steps, {labels} with labels, {len(data)} steps in all"
        )
