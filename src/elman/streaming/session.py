"""Streams in use: raw rows in, answers out, the state kept per stream. Imports neither torch nor training."""

import hashlib
import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from elman.data.codec import Array, Codec, Json, Memory, Push, Steps
from elman.data.files import replacing
from elman.errors import RunError, UsageError
from elman.state import NumpyState, leaves, map_leaves, select, unflatten
from elman.stepper import Stepper

Key = Hashable
ONE: Key = 0
"""The stream that is meant where none is named."""


@dataclass(frozen=True)
class Answer:
    """What one push gives: the model's answer in raw units, and what was repaired or is suspicious."""

    y: Json
    flags: list[str]


class StreamSession:
    """Any number of independent streams over one model, stepped together.

    A stream begins at its first push and is known by a key of the caller's. The states of all streams lie side by side in one
    table (streams, ...), so that `push_many` is one step of the model, whatever the number of streams.

    Args:
        codec: raw rows to arrays and back, as fitted in training.
        stepper: the model, one step at a time.
    """

    def __init__(self, codec: Codec, stepper: Stepper) -> None:
        self.codec = codec
        self._stepper = stepper
        self._initial = self._opening()
        self._table: NumpyState = map_leaves(lambda leaf: leaf[:0].copy(), self._initial)
        self._rows: dict[Key, int] = {}
        self._free: list[int] = []
        self._memory: dict[Key, Memory] = {}
        self.flags: list[str] = []
        """Of the last `push`."""

    def push(
        self, x: Json, time: str | float | None = None, future: Sequence[Json] | None = None, *, n: Key = ONE
    ) -> Json:
        """One row of stream ``n`` in the raw units of the file the model was fitted on; the answer, see `Codec.answer`.

        Raises:
            DataError: the row cannot be used; the stream is as it was before.
        """
        answer = self.push_many({n: Push(x, time, future)})[n]
        self.flags = answer.flags
        return answer.y

    def push_many(self, rows: Mapping[Key, Push]) -> dict[Key, Answer]:
        """One row of each of several streams, stepped together. All rows are checked before any stream moves."""
        steps = {n: self.codec.push(row, self._memory.get(n) or self.codec.start()) for n, row in rows.items()}
        new = [n for n in rows if n not in self._rows]
        for n in new:
            self._open(n)
        try:
            outputs, state = self._step(steps)
        except BaseException:  # an interrupt too: no stream may be left between two rows
            for n in new:
                self.reset(n)
            raise
        _put(self._table, self._places(rows), state)
        self._memory.update({n: step.memory for n, step in steps.items()})
        return {n: Answer(self.codec.answer(outputs[n], step.memory), step.flags) for n, step in steps.items()}

    def reset(self, *keys: Key) -> None:
        """Forget these streams, or all of them: their next push begins anew."""
        for n in keys or tuple(self._rows):
            if n in self._rows:
                self._free.append(self._rows.pop(n))
                self._memory.pop(n, None)

    @property
    def streams(self) -> list[Key]:
        """The keys of the streams that have begun."""
        return list(self._rows)

    def snapshot(self, path: str | Path) -> None:
        """Write every stream's state to a safetensors file; `restore` goes on from there, in another process too.

        Raises:
            UsageError: a key is neither text nor a number.
        """
        for n in self._rows:
            if not isinstance(n, str | int):
                raise UsageError(f"expected keys of streams to be text or whole numbers to save them, got {n!r}")
        state = select(self._table, np.array(list(self._rows.values()), dtype=np.int64))
        arrays = {f"state.{i}": np.ascontiguousarray(leaf) for i, leaf in enumerate(leaves(state))}
        about = {"streams": json.dumps([[n, self._memory[n]] for n in self._rows]), "codec": self._fingerprint()}
        with replacing(Path(path)) as beside:
            save_file(arrays, beside, metadata=about)

    def restore(self, path: str | Path) -> None:
        """Replace all streams by those of a snapshot of the same model.

        Raises:
            RunError: the file is missing, damaged, or of a model with another state.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                streams, codec = json.loads(file.metadata()["streams"]), file.metadata()["codec"]
                values = [file.get_tensor(f"state.{i}") for i in range(len(list(file.keys())))]
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise RunError(f"{path}: expected a state that `snapshot` wrote, got {error}") from None
        expected = [(leaf.shape[1:], leaf.dtype) for leaf in leaves(self._initial)]
        if (
            codec != self._fingerprint()
            or [(value.shape[1:], value.dtype) for value in values] != expected
            or any(len(v) != len(streams) for v in values)
        ):
            raise RunError(f"{path}: the state is of another model; restore it into a stream of the run that wrote it")
        self._table = unflatten(self._initial, iter(values))
        self._rows = {n: row for row, (n, _) in enumerate(streams)}
        self._memory = dict(map(tuple, streams))
        self._free = []

    def _fingerprint(self) -> str:
        """Tells codecs apart, and so runs over different data whose states happen to have one shape."""
        return hashlib.sha256(json.dumps(self.codec.to_json(), sort_keys=True).encode()).hexdigest()

    def _opening(self) -> NumpyState:
        """The state of a stream before its first row: what the codec reads before every text is read here, once."""
        state = self._stepper.begin({}, 1)
        for inputs in _rows_of(self.codec.opening()):
            _, state = self._stepper.step({name: value[None] for name, value in inputs.items()}, state)
        return state

    def _open(self, n: Key) -> None:
        if not self._free:
            size = len(next(leaves(self._table), np.zeros(len(self._rows))))
            more = max(1, size)
            self._table = map_leaves(
                lambda table, row: np.concatenate([table, np.repeat(row, more, axis=0)]), self._table, self._initial
            )
            self._free = list(range(size + more - 1, size - 1, -1))
        self._rows[n] = self._free.pop()
        _put(self._table, self._places([n]), self._initial)

    def _places(self, keys: Iterable[Key]) -> Array:
        """The rows of the table where these streams lie."""
        return np.array([self._rows[n] for n in keys], dtype=np.int64)

    def _step(self, steps: Mapping[Key, Steps]) -> tuple[dict[Key, Array], NumpyState]:
        """Step every stream through all of its steps: the last output of each, and their states, not yet in the table."""
        keys = list(steps)
        outputs: dict[Key, Array] = {}
        state = select(self._table, self._places(keys))
        waiting = [_rows_of(step.inputs) for step in steps.values()]
        for number in range(max(map(len, waiting), default=0)):
            active = [place for place, rows in enumerate(waiting) if number < len(rows)]
            inputs = [waiting[place][number] for place in active]
            batch = {name: np.stack([one[name] for one in inputs]) for name in inputs[0]}
            output, after = self._stepper.step(batch, select(state, active))
            _put(state, np.array(active), after)
            outputs.update(zip((keys[place] for place in active), output, strict=True))
        return outputs, state


def _put(table: NumpyState, rows: Array, state: NumpyState) -> None:
    """Overwrite some rows of ``table`` in place."""

    def put(leaf: Array, new: Array) -> Array:
        leaf[rows] = new
        return leaf

    map_leaves(put, table, state)


def _rows_of(inputs: Mapping[str, Array]) -> list[dict[str, Array]]:
    """{name: (steps, ...)} -> a mapping for each step."""
    steps = len(next(iter(inputs.values()), ()))
    return [{name: value[i] for name, value in inputs.items()} for i in range(steps)]


def load(path: str | Path) -> StreamSession:
    """The stream of a trained run: ``load(path).push(x, time, future) -> y``.

    Raises:
        RunError: not a finished run. UsageError: the model is not causal and cannot be streamed.
    """
    import importlib

    from elman.data.codec import load_codec

    # by name: PyTorch is what computes the steps for now, and importing this module must not import it
    models: Any = importlib.import_module("elman.models.load")
    model = models.load_model(Path(path))
    if not model.causal:
        raise UsageError(
            f"{path}: the model reads each sequence to its end before it answers (not causal): it cannot stream; "
            "fit it with --no-bidirectional"
        )
    stepper = importlib.import_module("elman.models.stepper").TorchStepper(model)
    return StreamSession(load_codec(Path(path) / "codec.json"), stepper)
