"""`--track wandb`: the run in Weights & Biases; offline in ``RUN/wandb`` for whoever is not logged in."""

import netrc
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from torch import Tensor

from elman.data.files import write_text
from elman.errors import ElmanError
from elman.training.history import History
from elman.training.tracking import Tracked, Tracker, best_values, flat, sample_text

if TYPE_CHECKING:
    import wandb

PROJECT = "elman"  # where WANDB_PROJECT does not say otherwise
HOST = "https://api.wandb.ai"


class WeightsAndBiases(Tracker):
    """Logs into a run of Weights & Biases, whose config has the settings by dotted names, as a sweep sets them.

    The id of that run is kept in ``RUN/wandb/id``, so that a resumed training goes on in it. WANDB_MODE, WANDB_PROJECT and the
    other variables of the package mean what they mean there; without WANDB_MODE and without a key it is offline.
    """

    def __init__(self, run: Tracked) -> None:
        super().__init__(run)
        self._logged: wandb.Run | None = None

    @property
    def logged(self) -> "wandb.Run":
        assert self._logged is not None, "a tracker writes between `start` and `end`"
        return self._logged

    def start(self, history: History) -> None:
        import wandb

        folder = self.run.folder / "wandb"
        folder.mkdir(exist_ok=True)
        known = folder / "id"
        try:
            self._logged = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                name=os.environ.get("WANDB_NAME", self.run.folder.absolute().name),
                id=known.read_text(encoding="utf-8").strip() if history.updates and known.is_file() else None,
                resume="allow",
                dir=self.run.folder,
                config=flat(self.run.settings.model_dump(mode="json", exclude={"model"})),
                mode=None if "WANDB_MODE" in os.environ or is_logged_in() else "offline",
                settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
            )
        except wandb.Error as error:
            raise ElmanError(f"--track wandb: {error}; with WANDB_MODE=offline it stays on this machine") from error
        write_text(known, f"{self.logged.id}\n")

    def scalars(self, values: Mapping[str, float], update: int) -> None:
        self.logged.log(dict(values), step=update)

    def histograms(self, values: Mapping[str, Tensor], update: int) -> None:
        import wandb

        counted = {name: wandb.Histogram(tensor.flatten().tolist()) for name, tensor in values.items()}
        self.logged.log(counted, step=update)

    def results(self, history: History) -> None:
        import wandb

        self.logged.summary.update(best_values(history))
        shown: dict[str, object] = {name: wandb.Image(str(path)) for name, path in self.run.figures().items()}
        if text := sample_text(self.run):
            table = wandb.Table(columns=["text"], data=[[text]])
            shown["sample"] = table
        self.logged.log(shown, step=history.updates)

    def close(self) -> None:
        if self._logged is not None:  # training may fail before it starts
            self._logged.finish()


def is_logged_in() -> bool:
    """Whether there is a key for the server: in the environment, or in the file where ``wandb login`` writes it."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", HOST)).netloc
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
