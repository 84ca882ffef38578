"""`--track tensorboard`: curves, histograms, settings, the graph and figures as event files in ``RUN/tensorboard``."""

import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from elman.models.model import Model
from elman.training.history import History
from elman.training.tracking import Tracked, Tracker, best_values, sample_text

FOLDER = "tensorboard"
GRAPH_STEPS = 4  # time steps of the sequence whose way through the model is shown


class TensorBoard(Tracker):
    """Writes what ``tensorboard --logdir RUN/tensorboard`` shows.

    A resumed run goes on in a file of its own, which also takes back what was written after its checkpoint.
    """

    def __init__(self, run: Tracked) -> None:
        super().__init__(run)
        self._writer: SummaryWriter | None = None

    @property
    def writer(self) -> SummaryWriter:
        assert self._writer is not None, "a tracker writes between `start` and `end`"
        return self._writer

    def start(self, history: History) -> None:
        folder = self.run.folder / FOLDER
        if not history.updates:
            shutil.rmtree(folder, ignore_errors=True)  # of a training that ended before its first checkpoint
        self._writer = SummaryWriter(folder, purge_step=history.updates + 1 if history.updates else None)
        if not history.updates:
            self.writer.add_text("settings", _as_code(self.run.settings.to_toml()), 0)
            self._add_graph()

    def scalars(self, values: Mapping[str, float], update: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, update)

    def histograms(self, values: Mapping[str, Tensor], update: int) -> None:
        for name, tensor in values.items():
            self.writer.add_histogram(name, tensor, update)

    def results(self, history: History) -> None:
        from PIL import Image

        for name, value in best_values(history).items():
            self.writer.add_scalar(name, value, history.updates)
        if text := sample_text(self.run):
            self.writer.add_text("sample", _as_code(text), history.updates)
        for name, path in self.run.figures().items():
            with Image.open(path) as picture:
                self.writer.add_image(name, np.asarray(picture.convert("RGB")), history.updates, dataformats="HWC")

    def close(self) -> None:
        if self._writer is not None:  # training may fail before it starts
            self._writer.close()

    def _add_graph(self) -> None:
        """The model as operations; a model that cannot be traced leaves a note instead."""
        model = self.run.model
        training = self.run.settings.training
        try:
            with _undisturbed(model):
                (batch,) = islice(self.run.task.batches("train", training.batch_size, training.window, 0), 1)
                names = list(batch.inputs)
                inputs = tuple(batch.inputs[name][:1, :GRAPH_STEPS] for name in names)
                context = {name: tensor[:1] for name, tensor in batch.context.items()}
                self.writer.add_graph(_Whole(model, names, context), inputs)
        except Exception as error:  # whatever a tracer does not know; training goes on
            self.writer.add_text("graph", f"the model could not be traced: {type(error).__name__}: {error}", 0)


class _Whole(nn.Module):
    """A model from its inputs to its outputs, as a tracer wants it: tensors in, tensors out."""

    def __init__(self, model: Model, names: Sequence[str], context: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.model, self._names, self._context = model, names, context

    def forward(self, *inputs: Tensor) -> Tensor:
        state = self.model.begin(self._context, 1)
        features, _ = self.model(dict(zip(self._names, inputs, strict=True)), state)
        return self.model.head(features)


@contextmanager
def _undisturbed(model: Model) -> Iterator[None]:
    """The model in eval mode for a while, in which it draws no random numbers, and its tracer's warnings unheard."""
    mode = model.training
    model.eval()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        model.train(mode)


def _as_code(text: str) -> str:
    """Text that Markdown leaves as it is: every line is indented."""
    return "".join(f"    {line}\n" for line in text.splitlines())
