"""Polyphonic music, tuned on both sides: ``python benchmarks/jsb.py [--trials 10] [--encoders lstm,gru,tcn] --out DIR``.

The chorales of Bach as piano rolls (`jsb-chorales`), one quarter note a step, 88 independent notes. Each encoder gets the same
number of random trials; what they share (learning rate, width, dropout ...) is drawn alike. A trial learns from four fifths of the
train part and is judged by the last fifth; the best of each encoder is then trained on all of it, with three seeds, and scored once
on the validation part, the first step of each piece left out as it has nothing before it. Every trial is a line of
DIR/trials.jsonl; a command that was interrupted goes on from there.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from common import data
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.io import loadmat
from torch import Tensor, nn

from elman.cells.padding import real_steps
from elman.layers import SequenceLayer
from elman.layers.dropout import Dropout
from elman.models.build import EncoderConfig, build_encoder

NOTES = 88
ROWS = 16
Roll = NDArray[np.float32]
Settings = dict[str, Any]


def chorales(part: str) -> list[Roll]:
    """The pieces of a part, each (steps, 88) of zeros and ones."""
    cells = loadmat(data("jsb-chorales/JSB_Chorales_train_valid.mat"))[f"{part}data"][0]
    return [np.asarray(cell, np.float32) for cell in cells]


class Music(nn.Module):
    """Notes in, scores of the next step's notes out."""

    def __init__(self, encoder: EncoderConfig, dropout: float) -> None:
        super().__init__()
        self.read = nn.Linear(NOTES, encoder.hidden)
        self.dropout = Dropout(dropout)
        self.encoder: SequenceLayer = build_encoder(encoder, encoder.hidden)
        self.write = nn.Linear(self.encoder.output_size, NOTES)
        nn.init.constant_(self.write.bias, -3.0)  # about one note in twenty sounds

    def forward(self, notes: Tensor, lengths: Tensor) -> Tensor:
        encoded, _ = self.encoder(self.dropout(self.read(notes)), None, lengths)
        logits: Tensor = self.write(self.dropout(encoded))
        return logits


def batches(pieces: list[Roll], rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """One pass in random order: notes (batch, steps, 88) and lengths (batch,)."""
    order = rng.permutation(len(pieces))
    for start in range(0, len(order), ROWS):
        yield pad([pieces[i] for i in order[start : start + ROWS]])


def pad(rows: list[Roll]) -> tuple[Tensor, Tensor]:
    padded = nn.utils.rnn.pad_sequence([torch.from_numpy(row) for row in rows], batch_first=True)
    return padded, torch.tensor([len(row) for row in rows])


def nats(model: Music, notes: Tensor, lengths: Tensor) -> tuple[Tensor, int]:
    """Negative log-likelihood of every step but the first of each piece: its sum, and the number of steps."""
    logits = model(notes[:, :-1], lengths - 1)
    steps = F.binary_cross_entropy_with_logits(logits, notes[:, 1:], reduction="none").sum(-1)
    return steps[real_steps(lengths - 1, steps.shape[1])].sum(), int((lengths - 1).sum())


def score(model: Music, pieces: list[Roll]) -> float:
    """Nats per step."""
    model.eval()
    with torch.inference_mode():
        total, count = nats(model, *pad(pieces))
    return float(total) / count


def draw(encoder: str, trial: int) -> Settings:
    """The settings of a trial: those that all encoders have first, so that they are the same for each."""
    rng = np.random.default_rng([17, trial])
    settings: Settings = {
        "learning_rate": float(10 ** rng.uniform(-3.2, -2.0)),
        "weight_decay": float(10 ** rng.uniform(-2, 0)),
        "dropout": float(rng.uniform(0.1, 0.5)),
        "hidden": int(rng.choice([128, 192, 256])),
        "epochs": int(rng.choice([30, 60])),
    }
    if encoder == "tcn":
        options = {"kernel": int(rng.choice([3, 5])), "channel_dropout": bool(rng.choice([True, False]))}
        shape: Settings = {"layers": int(rng.choice([2, 3, 4])), "cell": options}
    else:
        shape = {"layers": int(rng.choice([1, 2])), "weight_drop": float(rng.choice([0.0, 0.25, 0.5]))}
    return {**settings, "encoder": shape}


def train(encoder: str, settings: Settings, pieces: list[Roll], seed: int) -> Music:
    """Adam with decoupled decay; the rate rises over the first twentieth and falls along a cosine."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    config = EncoderConfig(name=encoder, hidden=settings["hidden"], dropout=settings["dropout"], **settings["encoder"])
    model = Music(config, settings["dropout"])
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=settings["learning_rate"], weight_decay=settings["weight_decay"]
    )
    updates = settings["epochs"] * math.ceil(len(pieces) / ROWS)
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings["learning_rate"], total_steps=updates, pct_start=0.05, cycle_momentum=False
    )
    model.train()
    for _ in range(settings["epochs"]):
        for notes, lengths in batches(pieces, rng):
            total, count = nats(model, notes, lengths)
            optimiser.zero_grad()
            (total / count).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            rate.step()
    return model


def search(encoders: list[str], trials: int, log: Path) -> list[Settings]:
    """All trials, one encoder after the other in turn; those in the log already are not run again."""
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    seen = {(one["encoder"], one["trial"]) for one in done}
    pieces = chorales("train")
    held = np.random.default_rng(17).permutation(len(pieces))[: len(pieces) // 5]
    learned = [piece for i, piece in enumerate(pieces) if i not in held]
    todo = [(name, trial) for trial in range(trials) for name in encoders if (name, trial) not in seen]
    for name, trial in track(todo, "trials", console=Console(stderr=True)):
        settings, begin = draw(name, trial), time.perf_counter()
        model = train(name, settings, learned, seed=1)
        result = {
            "encoder": name, "trial": trial, "settings": settings, "inner_nats": score(model, [pieces[i] for i in held]),
            "parameters": sum(p.numel() for p in model.parameters()), "seconds": round(time.perf_counter() - begin),
        }  # fmt: skip
        done.append(result)
        with log.open("a") as file:
            file.write(json.dumps(result) + "\n")
    return [one for one in done if one["encoder"] in encoders and one["trial"] < trials]


def final(best: Settings, seeds: list[int]) -> list[float]:
    """The chosen settings on the whole train part, scored on the validation part."""
    pieces, unseen = chorales("train"), chorales("valid")
    return [score(train(best["encoder"], best["settings"], pieces, seed), unseen) for seed in seeds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", default="lstm,gru,tcn")
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument(
        "--no-score", action="store_true", help="stop after the trials; the validation part stays unseen"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/jsb"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    encoders, seeds = given.encoders.split(","), [int(seed) for seed in given.seeds.split(",")]
    trials = search(encoders, given.trials, given.out / "trials.jsonl")
    table = Table("encoder", "trials", "parameters", "inner, best", "inner, median", "validation", "seeds", "seconds")
    for name in encoders:
        own = sorted((one for one in trials if one["encoder"] == name), key=lambda one: one["inner_nats"])
        scores = [] if given.no_score else final(own[0], seeds)
        table.add_row(
            name, str(len(own)), f"{own[0]['parameters']:,}", f"{own[0]['inner_nats']:.3f}",
            f"{own[len(own) // 2]['inner_nats']:.3f}", f"{mean(scores):.3f}" if scores else "",
            ", ".join(f"{one:.3f}" for one in scores), str(own[0]["seconds"]),
        )  # fmt: skip
        if scores:
            with (given.out / "scores.jsonl").open("a") as file:
                file.write(json.dumps({"encoder": name, "settings": own[0]["settings"], "nats": scores}) + "\n")
    Console().print(table)


if __name__ == "__main__":
    main()
