"""Series in a run folder: the tail of the data a model was fitted on."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from elman.data.files import replacing
from elman.data.series import Series, SeriesSet
from elman.errors import RunError


def save_series(data: SeriesSet, path: Path, most: int) -> None:
    """Write the last rows of every series, ``most`` in all, the same share of each."""
    share = min(1.0, most / sum(data.lengths))
    kept = [one.part(len(one) - max(1, int(len(one) * share)), len(one)) for one in data.series]
    arrays = {
        "values": np.concatenate([one.values for one in kept]),
        "times": np.concatenate([one.times.astype(np.int64) for one in kept]),
        "static": np.stack([one.static for one in kept]),
        "lengths": np.array([len(one) for one in kept]),
    }
    about = {"ids": json.dumps([one.id for one in kept]), "times": str(kept[0].times.dtype)}
    with replacing(path) as beside:
        save_file(arrays, beside, metadata=about)


def load_series(path: Path) -> Mapping[str, Series]:
    """The series by id. Raises RunError if the file is missing or damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            about, arrays = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        borders = np.cumsum(arrays["lengths"])[:-1]
        times = np.split(arrays["times"].astype(about["times"]), borders)
        values = np.split(arrays["values"], borders)
        parts = zip(json.loads(about["ids"]), times, values, arrays["static"], strict=True)
        return {id: Series(id, when, what, static) for id, when, what, static in parts}
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path}: damaged: expected the series that `elman fit` wrote: {error}") from error
