"""Checkpoints: one file that holds everything a training run depends on, so that a resumed run is the uninterrupted one."""

import hashlib
import json
import math
import os
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from elman.data.files import replacing
from elman.errors import DataError, ElmanError, RunError, UsageError
from elman.layers.timings import Rows
from elman.models.load import FORMAT as RUN_FORMAT
from elman.tasks.task import Task
from elman.training.best import Best
from elman.training.history import History, finite
from elman.training.interrupt import Interrupt
from elman.training.phase import Phase, group
from elman.training.plan import Plan
from elman.training.processes import ALONE, Processes

FORMAT = 1
"""Version of the checkpoint. A reader refuses a higher one."""
NAME = "checkpoints/latest.safetensors"
SOONER = (
    0.1  # after a validation, which is a good place to go on from, a checkpoint is due after that share of the time
)
FREE = ("training.processes", "training.checkpoint_every")
"""Settings that may differ from those that the run was started with."""
LOOKED_AT = 1 << 26  # bytes of data, at most, that tell one set of data from another
ROWS, WINDOW = 16, 256  # of the batches that are looked at


@dataclass(frozen=True)
class About:
    """What a checkpoint says of the run that wrote it, besides where it is.

    Attributes:
        settings: complete, as they were before training. data: a `fingerprint`. plan: measured once, never again.
        version: of elman. threads: of PyTorch. processes: that trained together.
        timings: the table by which backends are chosen, see `elman.layers.timings`; None in runs from before there was one.
        kernels: the instruction set of the core; "none" without it.
    """

    settings: dict[str, Any]
    data: str
    plan: Plan
    version: str
    threads: int
    processes: int
    timings: Rows | None = None
    kernels: str = "none"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read: ``values`` holds what is JSON. One from before the first update has no tensors."""

    path: Path
    about: About
    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]

    @property
    def began(self) -> bool:
        """There is an update to go on from."""
        return bool(self.tensors)

    def check(self, settings: Mapping[str, Any], data: str) -> None:
        """Raises UsageError if other settings are asked for now, DataError if the data is another."""
        changed = differences(self.about.settings, settings)
        # a default may depend on the data: what the user says of the data comes first, then the data, then what follows
        said = {name: values for name, values in changed.items() if name.startswith("options.") or "." not in name}
        if data != self.about.data and not said and "training.seed" not in changed:
            raise DataError(
                f"{self.path.parent.parent}: the data differs from what the run was started with, so that it cannot be resumed; "
                "give the same data, or choose another `--out`"
            )
        if changed:
            listed = ", ".join(f"{name} was {before!r} and is {now!r}" for name, (before, now) in changed.items())
            raise UsageError(
                f"{self.path.parent.parent}: the settings differ from those the run was started with: {listed}; "
                "say the same, or choose another `--out`"
            )


def differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Settings that differ, by their dotted names."""
    found: dict[str, tuple[Any, Any]] = {}
    for key in dict.fromkeys((*before, *now)):
        one, other = before.get(key), now.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found |= differences(one, other, f"{prefix}{key}.")
        elif one != other and prefix + key not in FREE:
            found[prefix + key] = one, other
    return found


def fingerprint(task: Task) -> str:
    """A hash of what a task has read: its codec, its facts, and its first batches, which may be all of them."""
    known = [asdict(task.facts()), task.holds_out, task.codec.to_json()]
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode())
    left = LOOKED_AT
    for batch in task.batches("all", ROWS, WINDOW, 0):
        for part in (batch.inputs, batch.targets, batch.context):
            for name in sorted(part):
                content = part[name].contiguous().numpy().data
                digest.update(name.encode())
                digest.update(content)
                left -= content.nbytes
        if left <= 0:
            break
    return digest.hexdigest()


def read(folder: Path) -> Checkpoint | None:
    """The checkpoint of a run folder, if it has one. Raises RunError if it is damaged or of a newer format."""
    path = folder / NAME
    try:
        content = path.read_bytes()  # at once: another file may come into its place
        tensors, metadata = load(content), _metadata(content)
        said = json.loads(metadata["elman"])
        for what, found, known in (("checkpoint", said["format"], FORMAT), ("run", said["run_format"], RUN_FORMAT)):
            if found > known:
                raise RunError(
                    f"{path}: the {what} has format {found}, written by elman {said['about']['version']}; this elman reads "
                    f"formats up to {known}: install elman {said['about']['version']} or later"
                )
        if _check(metadata["elman"], tensors) != metadata["check"]:
            raise ValueError("its checksum does not fit")
        about = About(**{**said["about"], "plan": Plan(**said["about"]["plan"])})
        return Checkpoint(path, about, tensors, said["values"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise RunError(
            f"{path}: damaged ({reason}): the training cannot be resumed; remove {folder} and fit again"
        ) from error


def _other_kernels(before: str, now: str) -> list[str]:
    if before == now:
        return []
    return [
        f"the checkpoint was written by a training with the kernels {before!r} of elman's core, this one has {now!r}: "
        "the result may differ in its last digits"
    ]


def _metadata(content: bytes) -> dict[str, str]:
    """What a safetensors file says of itself: its header is JSON, after eight bytes that hold its length."""
    length = int.from_bytes(content[:8], "little")
    metadata: dict[str, str] = json.loads(content[8 : 8 + length])["__metadata__"]
    return metadata


class Checkpoints:
    """Writes ``checkpoints/latest.safetensors`` every so many seconds, and goes on from what was read from there.

    When one is written has no influence on the training. Tensors are in safetensors, all else is JSON in its header.

    Args:
        folder: the run. every: seconds.
        saved: to go on from.
    """

    def __init__(
        self,
        folder: Path,
        about: About | None,
        every: float,
        saved: Checkpoint | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self.path = folder / NAME
        self.kept = saved is not None and saved.began
        """There is an update to go on from, on the disk."""
        self._about, self._every, self._processes = about, every, processes
        self._saved = saved if saved and saved.began else None
        self._written = time.monotonic()

    @property
    def plan(self) -> Plan:
        assert self._about is not None
        return self._about.plan

    def begin(self) -> list[str]:
        """Write down the plan, before the first update; what may make a difference to a resumed run, in sentences."""
        if self._saved is None or self._about is None:
            self._write({}, {})
            return []
        before, now = self._saved.about, self._about
        counts = {"threads": (before.threads, now.threads), "processes": (before.processes, now.processes)}
        return [
            f"the checkpoint was written by a training in {one} {name}, this one is in {other}: the result may differ in its "
            "last digits"
            for name, (one, other) in counts.items()
            if one != other
        ] + _other_kernels(before.kernels, now.kernels)

    def resume(self, history: History, best: Best) -> None:
        if self._saved:
            history.resume(self._saved.values["history"])
            best.resume(group(self._saved.tensors, "best."), float(self._saved.values["best"]))

    def resume_phase(self, phase: Phase) -> None:
        """Only the phase that was under way goes on from where it was."""
        if self._saved and self._saved.values["phase"]["split"] == phase.split:
            phase.resume(self._saved.tensors, self._saved.values["phase"])

    def offer(self, phase: Phase, history: History, best: Best, interrupt: Interrupt | None = None) -> None:
        """Write a checkpoint after an update, if one is due.

        Raises: KeyboardInterrupt after the checkpoint, if training is to end.
        """
        ends = interrupt is not None and interrupt.wanted
        if not self._processes.agree(ends or self._is_due(history)):
            return
        if self._about is not None:
            self._save(phase, history, best)
        if self._processes.agree(ends):
            raise KeyboardInterrupt

    def _is_due(self, history: History) -> bool:
        age = time.monotonic() - self._written
        validated = bool(history.curve) and history.curve[-1][0] == history.updates and not history.finished
        return age >= self._every * (SOONER if validated else 1)

    def _save(self, phase: Phase, history: History, best: Best) -> None:
        tensors, values = phase.save()
        tensors |= {f"best.{name}": weight for name, weight in best.weights.items()}
        if self._processes.leads:
            self._write(tensors, {"history": history.to_json(), "best": finite(best.loss), "phase": values})
            self.kept = True
        self._written = time.monotonic()

    def clear(self) -> None:
        """Remove them: the run has finished."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
            self.path.parent.rmdir()  # where nothing else is in it

    def _write(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Replace the file; what was there stays until the new one is on the disk."""
        assert self._about is not None
        try:
            self.path.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise ElmanError(f"{self.path.parent}: cannot be made: {error.strerror or error}") from error
        said = {"format": FORMAT, "run_format": RUN_FORMAT, "about": asdict(self._about), "values": values}
        text = json.dumps(said, allow_nan=False)
        tensors = {
            name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
        }
        with replacing(self.path) as beside:
            save_file(tensors, beside, {"elman": text, "check": _check(text, tensors)})
            _flush(beside)
        _flush(self.path.parent)


NEVER = Checkpoints(Path(), None, math.inf)
"""Nothing is written and nothing resumed."""


def _check(text: str, tensors: Mapping[str, Tensor]) -> str:
    value = zlib.crc32(text.encode())
    for name in sorted(tensors):
        value = zlib.crc32(tensors[name].contiguous().numpy().reshape(-1).data, zlib.crc32(name.encode(), value))
    return f"{value:08x}"


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
