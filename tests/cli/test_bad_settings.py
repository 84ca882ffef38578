"""Wrong words on the command line: what is told, and that it is told before anything is done."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Data, Line

FORECAST = ("fit", "forecast", "old.csv", "--time", "date", "--target", "load", "--horizon", "6")

WRONG = {
    "task": (("fit", "forcast", "old.csv"), "did you mean 'forecast'"),
    "encoder": ((*FORECAST, "--encoder", "gruu"), "did you mean 'gru'"),
    "option": ((*FORECAST, "--hiden", "8"), "--hidden"),
    "verb": (("evalute", "run"), "evalute"),
    "key": ((*FORECAST, "--set", "training.learning_rat=1"), "did you mean 'learning_rate'"),
    "section": ((*FORECAST, "--set", "trainin.epochs=1"), "did you mean 'training'"),
    "set": ((*FORECAST, "--set", "epochs=1"), "expected `--set section.key=value`, got 'epochs=1'"),
    "not a number": ((*FORECAST, "--set", "training.learning_rate=fast"), "expected a number, got 'fast'"),
    "not whole": ((*FORECAST, "--set", "training.batch_size=1.5"), "'batch_size'"),
    "too small": ((*FORECAST, "--hidden", "0"), "'hidden': expected at least 1, got 0"),
    "too large": ((*FORECAST, "--dropout", "1"), "'dropout': expected less than 1, got 1.0"),
    "cell option": ((*FORECAST, "--encoder", "lstm", "--set", "encoder.cell.forget_bia=1"), "'forget_bias'"),
    "cell value": (
        (*FORECAST, "--encoder", "lstm", "--set", "encoder.cell.forget_bias=high"),
        "encoder, 'cell.forget_bias': expected a valid number, got 'high'",
    ),
    "cell sizes": (
        (*FORECAST, "--encoder", "mlstm", "--hidden", "6", "--set", "encoder.cell.heads=4"),
        "`heads` that divide",
    ),
    "image": ((*FORECAST, "--encoder", "conv_lstm", "--set", "encoder.cell.height=97"), "set `height` and `width`"),
    "one unit": ((*FORECAST, "--encoder", "layer_norm_gru", "--hidden", "1"), "expected `hidden_size` >= 2, got 1"),
    "cell table": ((*FORECAST, "--set", "encoder.cell.a.b=1"), "'cell.a': expected one number, text, true or false"),
    "value as table": ((*FORECAST, "--set", "encoder.cell=1", "--set", "encoder.cell.a=1"), "not a table"),
    "budget": ((*FORECAST, "--budget", "5x"), "expected a duration like 90s, 10m or 1h30m, got '5x'"),
    "no budget": ((*FORECAST, "--budget", "0"), "above zero"),
    "no target": (("fit", "forecast", "old.csv", "--horizon", "6"), "needs 'target' (--target)"),
    "no horizon": (("fit", "forecast", "old.csv", "--target", "load"), "needs 'horizon' (--horizon)"),
    "horizon": ((*FORECAST[:-1], "0"), "'horizon': expected at least 1, got 0"),
    "long horizon": ((*FORECAST[:-1], "900"), "a horizon of 900 needs at least 1802"),
    "quantiles": ((*FORECAST, "--quantiles", "0.9,0.1"), "rising numbers between 0 and 1"),
    "other task": (
        (*FORECAST, "--level", "char"),
        "task forecast has no setting 'level', classify, language and regress have",
    ),
    "other task 2": (("fit", "language", "book.txt", "--horizon", "6"), "no setting 'horizon', forecast has"),
    "level": (("fit", "language", "book.txt", "--level", "wrd"), "'char' or 'word', got 'wrd'"),
    "both ways": ((*FORECAST, "--bidirectional"), "bidirectional"),
    "both ways 2": (("fit", "language", "book.txt", "--bidirectional"), "bidirectional"),
    "no window": ((*FORECAST, "--training.window=0"), "'window': expected at least 1, got 0"),
    "config": ((*FORECAST, "--config", "nosuch.toml"), "nosuch.toml: no such file"),
    "config is data": ((*FORECAST, "--config", "old.csv"), "old.csv: not TOML"),
    "no data": (("fit", "forecast"), "Missing argument 'DATA...'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_one_clear_message_and_nothing_done(elman: "Line", data: "Data", tmp_path: Path, case: str) -> None:
    for file in (data.old, data.text):
        (tmp_path / file.name).symlink_to(file)
    arguments, words = WRONG[case]
    done = elman(*arguments, *(("--out", "run") if arguments[0] == "fit" else ()))
    assert (done.code, done.out) == (2, "")
    assert words in done.message, done.message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["book.txt", "old.csv"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("training = 3", "expected a table [training], got 3"),
        ("[trainig]\nepochs = 3", "did you mean 'training'"),
        ("[training]\nepoch = 3", "did you mean 'epochs'"),
        ('task = "language"', "expected settings of the task forecast, got those of language"),
        ("[training", "not TOML"),
    ],
)
def test_a_bad_file_of_settings(elman: "Line", data: "Data", tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "s.toml").write_text(text)
    done = elman("fit", "forecast", data.old, "--target", "load", "--horizon", "6", "--config", "s.toml")
    assert (done.code, done.out) == (2, "")
    assert words in done.message, done.message


def test_settings_are_checked_before_the_data_is_read(elman: "Line") -> None:
    done = elman("fit", "forecast", "nosuch.csv", "--target", "y", "--horizon", "1", "--hidden", "0")
    assert "'hidden'" in done.message
    done = elman("fit", "language", "nosuch.txt", "--encoder", "indrnn", "--set", "encoder.weight_drop=0.2")
    assert done.code == 2
    assert "encoder, 'weight_drop': expected a cell with recurrent matrices, which IndRNN has not" in done.message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--length", "0"), "greater than or equal to 1"),
        (("--temperature", "-1"), "greater than or equal to 0"),
        (("--top-k", "-1"), "greater than or equal to 0"),
        (("--beam", "-1"), "greater than or equal to 0"),
        (("--beam", "2", "--temperature", "0.5"), "beam search draws nothing: leave out temperature, top-k and seed"),
        (("--beam", "2", "--top-k", "5"), "beam search draws nothing"),
        (("--prompt", "caf\udce9"), "--prompt: expected UTF-8 text"),
    ],
)
def test_generate_out_of_range(elman: "Line", data: "Data", arguments: tuple[str, ...], words: str) -> None:
    done = elman("generate", data.char, *arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.message, done.message


def test_a_verb_that_the_task_cannot_do(elman: "Line", data: "Data") -> None:
    done = elman("generate", data.load)
    assert (done.code, done.out) == (2, "")
    assert "expected a run of a task that generates" in done.message
    done = elman("evaluate", data.char, data.text, "--scaled")
    assert (done.code, done.out) == (2, "")
    assert "--scaled is for forecast" in done.message
