"""Bad input of classify and regress, through the command line: the message, the exit code, and nothing left behind."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from elman.cli.main import run

if TYPE_CHECKING:
    from tests.cli.conftest import Data, Line

CHANCE = random.Random(0)
WORDS = ("great", "awful", "film", "plot", "so", "well", "it")


def texts(count: int) -> list[str]:
    return [" ".join(CHANCE.choices(WORDS, k=5)) for _ in range(count)]


def reading() -> str:
    return f"{CHANCE.gauss(0, 1):.3f}"


TEXTS = "text,stars\n" + "".join(f"{text},{1 + i % 2}\n" for i, text in enumerate(texts(40)))
TOPICS = "text,topics\n" + "".join(
    f"{text},{('news|sport', 'news', 'sport', '')[i % 4]}\n" for i, text in enumerate(texts(40))
)
CLIPS = "id,step,left,right,state\n" + "".join(
    f"c{clip},{step},{reading()},{reading()},{('no', 'yes')[clip % 2]}\n" for clip in range(20) for step in range(4)
)
STAMPED = "id,step,left,state\n" + "".join(
    f"c{clip},2026-01-0{1 + step} 0{clip % 7}:00,{reading()},{('no', 'yes')[clip % 2]}\n"
    for clip in range(20)
    for step in range(4)
)
VARYING = "id,step,left,state\n" + "".join(
    f"c{clip},{step},{reading()},{('no', 'yes')[(clip + step) % 2]}\n" for clip in range(20) for step in range(4)
)
PLAIN = "size,weight,colour,price,kind,who\n" + "".join(
    f"{reading()},{reading()},{('red', 'blue')[i % 2]},{100 + i},{('a', 'b')[i % 2]},g{i // 4}\n" for i in range(40)
)
FLAGS = "x,red,blue\n" + "".join(f"{reading()},{i % 2},{i // 2 % 2}\n" for i in range(40))
CASES = "@univariate false\n@classLabel true yes no\n@data\n" + "".join(
    f"{reading()},{reading()}:{reading()},{reading()}:{('no', 'yes')[i % 2]}\n" for i in range(20)
)
UNLABELLED = CASES.replace("@classLabel true yes no", "@classLabel false").replace(":yes", "").replace(":no", "")
GOOD = {
    "texts.csv": TEXTS,
    "topics.csv": TOPICS,
    "clips.csv": CLIPS,
    "stamped.csv": STAMPED,
    "varying.csv": VARYING,
    "plain.csv": PLAIN,
    "flags.csv": FLAGS,
    "cases.ts": CASES,
}
READ_TEXTS = ("classify", "--text", "text", "--label", "stars")
READ_CLIPS = ("classify", "--id", "id", "--time", "step", "--label", "state")
READ_PLAIN = ("classify", "--label", "kind")
READ_PRICES = ("regress", "--label", "price,weight", "--features", "size,colour")
QUICK = ("--hidden", "4", "--set", "training.updates=2", "--set", "training.validations=1")
RUNS = {
    "texts": ("texts.csv", *READ_TEXTS),
    "forward": ("texts.csv", *READ_TEXTS, "--no-bidirectional"),
    "clips": ("clips.csv", *READ_CLIPS),
    "timed": ("stamped.csv", *READ_CLIPS, "--gaps", "--no-bidirectional", "--encoder", "gru_d"),
    "varying": ("varying.csv", *READ_CLIPS, "--score", "all"),
    "plain": ("plain.csv", *READ_PLAIN),
    "prices": ("plain.csv", *READ_PRICES),
    "cases": ("cases.ts", "classify"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with each of `RUNS`."""
    folder = tmp_path_factory.mktemp("runs")
    for name, text in GOOD.items():
        (folder / name).write_text(text)
    for name, (file, task, *options) in RUNS.items():
        assert run(["fit", task, str(folder / file), *options, *QUICK, "--out", str(folder / name)]) == 0
    return folder


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The good files in the current folder."""
    for name, text in GOOD.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def cell(text: str, line: int, column: int, value: str) -> str:
    """A table with one cell replaced; lines and columns count from 1."""
    lines = text.splitlines()
    cells = lines[line - 1].split(",")
    cells[column - 1] = value
    lines[line - 1] = ",".join(cells)
    return "\n".join(lines) + "\n"


# --- fit ------------------------------------------------------------------------------------------------------------

WRONG_WORDS = {
    "no file": ((*READ_TEXTS, "text.csv"), "there is no file text.csv; did you mean texts.csv?"),
    "no text column": (
        ("classify", "--text", "txet", "--label", "stars", "texts.csv"),
        "no column 'txet'; did you mean 'text'",
    ),
    "no label column": (
        ("classify", "--text", "text", "--label", "star", "texts.csv"),
        "no column 'star'; did you mean 'stars'",
    ),
    "no group": ((*READ_PLAIN, "--group", "whom", "plain.csv"), "no column 'whom'; did you mean 'who'"),
    "no feature": ((*READ_PLAIN, "--features", "size,wieght", "plain.csv"), "did you mean 'weight'"),
    "no id": (("classify", "--id", "ids", "--label", "state", "clips.csv"), "did you mean 'id'"),
    "no label": (("classify", "--text", "text", "texts.csv"), "name the column that holds them with --label"),
    "no label, multi": (("classify", "--text", "text", "--multi", "texts.csv"), "with --label"),
    "text forgotten": (
        ("classify", "--label", "stars", "texts.csv"),
        "column 'text' holds text with 40 different values in 40 cells (such as",
    ),
    "time without id": (
        ("classify", "--label", "kind", "--time", "size", "plain.csv"),
        "name the column that tells sequences apart with --id",
    ),
    "time with text": ((*READ_TEXTS, "--time", "stars", "texts.csv"), "with --text every row is one; leave it out"),
    "two roles": ((*READ_PLAIN, "--features", "kind", "plain.csv"), "'kind' is named twice"),
    "several label columns": (
        ("classify", "--label", "red,blue", "flags.csv"),
        "several label columns; add --multi if they are labels that may come together",
    ),
    "not flags": (
        ("classify", "--multi", "--label", "red,x", "flags.csv"),
        "flags.csv, line 2: expected 0 or 1 in column 'x', got",
    ),
    "multi forgotten": (
        ("classify", "--text", "text", "--label", "topics", "topics.csv"),
        "topics.csv, line 5: the label is missing in column 'topics'",
    ),
    "multi of ts": (("classify", "--multi", "cases.ts"), "one label for each case; leave out --multi"),
    "gaps without time": (
        ("classify", "--id", "id", "--label", "state", "--gaps", "clips.csv"),
        "--gaps reads the time between the rows of a sequence; name the column of their time with --time",
    ),
    "gaps without id": (
        ("classify", "--time", "step", "--label", "state", "--gaps", "clips.csv"),
        "--time orders the rows of a sequence; name the column that tells sequences apart with --id",
    ),
    "gaps of plain rows": (
        (*READ_PLAIN, "--gaps", "plain.csv"),
        "with --time and the one that tells sequences apart with --id",
    ),
    "gaps of texts": ((*READ_TEXTS, "--gaps", "texts.csv"), "with --text every row is one; leave it out"),
    "gaps of ts": (
        ("classify", "--gaps", "cases.ts"),
        "cases.ts: a .ts file has no times for --gaps to read; leave it out",
    ),
    "columns of ts": (("classify", "--label", "1", "cases.ts"), "a .ts file has no columns, .* leave out --label"),
    "labels as numbers": (("regress", "cases.ts"), "cases.ts, line 4: expected a number as label, got 'no'"),
    "words as numbers": (
        ("regress", "--label", "kind", "--features", "size", "plain.csv"),
        "plain.csv, line 2: expected a number as label, got 'a'",
    ),
    "score": ((*READ_CLIPS, "--score", "al", "clips.csv"), "'score': expected 'last' or 'all', got 'al'"),
    "pooling": (
        (*READ_TEXTS, "--pooling", "sum", "texts.csv"),
        "'pooling': expected 'last', 'mean', 'max' or 'attention', got 'sum'",
    ),
    "class weights": (
        (*READ_TEXTS, "--class-weights", "heavy", "texts.csv"),
        "'class_weights': expected none, balanced, or a table with a number for each label, got 'heavy'",
    ),
    "a class weight": (
        (*READ_TEXTS, "--set", "options.class_weights.1=much", "texts.csv"),
        "a table with a number for each label",
    ),
    "weight of no class": (
        (*READ_TEXTS, "--set", "options.class_weights.9=2", "texts.csv"),
        "class_weights has the label '9', the data has 1, 2",
    ),
    "negative weight": (
        (*READ_TEXTS, "--set", "options.class_weights.1=-2", "texts.csv"),
        "class_weights of '1': expected a number above 0, got -2",
    ),
    "smoothing": ((*READ_TEXTS, "--set", "options.label_smoothing=1", "texts.csv"), "expected less than 1, got 1"),
    "weights of numbers": (
        (*READ_PRICES, "--class-weights", "balanced", "plain.csv"),
        "task regress has no setting 'class_weights', classify has",
    ),
    "horizon": ((*READ_PLAIN, "--horizon", "3", "plain.csv"), "no setting 'horizon', forecast has"),
    "two forms": ((*READ_TEXTS, "texts.csv", "cases.ts"), "expected data of one form, got texts.csv and cases.ts"),
    "no table": ((*READ_PLAIN, "book.txt"), "expected labelled sequences in a table or a .ts file, got txt"),
    "valid is train": (
        (*READ_TEXTS, "texts.csv", "--valid", "texts.csv"),
        "40 of 40 validation sequences are in the training data; remove them from one of the two",
    ),
    "valid has other columns": ((*READ_TEXTS, "texts.csv", "--valid", "plain.csv"), "plain.csv has no column 'text'"),
    "valid of another form": (
        (*READ_TEXTS, "texts.csv", "--valid", "cases.ts"),
        "cases.ts: expected a table, as the model was fitted on, got a .ts file",
    ),
}


@pytest.mark.parametrize("case", WRONG_WORDS)
def test_one_clear_message_and_nothing_done(elman: "Line", files: Path, case: str) -> None:
    (files / "book.txt").write_text("words")
    arguments, message = WRONG_WORDS[case]
    done = elman("fit", *arguments, "--out", "run")
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
    before, _, after = message.partition(".*")
    assert before in done.message, done.message
    assert after in done.message, done.message
    assert not (files / "run").exists()


BAD_FILES = {
    "empty": (READ_TEXTS, "", "bad.csv is empty"),
    "header only": (READ_TEXTS, "text,stars\n", "bad.csv has a header but no rows"),
    "one label": (READ_TEXTS, TEXTS.replace(",2\n", ",1\n"), "bad.csv: expected at least 2 different labels, got ['1']"),
    "a label missing": (READ_TEXTS, cell(TEXTS, 9, 2, ""), "line 9: the label is missing in column 'stars'; fill it in"),
    "no number": (READ_PRICES, cell(PLAIN, 9, 4, "cheap"), "line 9: expected a number as label, got 'cheap'"),
    "infinite": (READ_PRICES, cell(PLAIN, 9, 4, "inf"), "line 9: expected a finite number as label, got 'inf'"),
    "huge": (READ_PRICES, cell(PLAIN, 9, 4, "1e200"), "line 9: expected a number up to 1e+100 in size as label"),
    "second number": (READ_PRICES, cell(PLAIN, 9, 2, "12kg"), "line 9: expected a number as label, got '12kg'"),
    "a number missing": (READ_PRICES, cell(PLAIN, 9, 4, ""), "line 9: the label is missing in column 'price'"),
    "feature": (READ_PRICES, cell(PLAIN, 9, 1, "big"), "line 9: expected a number in column 'size', got 'big'"),
    "infinite feature": (READ_PRICES, cell(PLAIN, 9, 1, "-inf"), "line 9: column 'size' is infinite (-inf)"),
    "huge feature": (READ_PRICES, cell(PLAIN, 9, 1, "1e300"), "line 9: column 'size' is too large (1e300)"),
    "time twice": (READ_CLIPS, cell(CLIPS, 9, 2, "2"), "line 9: the time 2 is there already in this sequence (bad.csv, line"),
    "bad time": (READ_CLIPS, cell(CLIPS, 9, 2, "noon"), "line 9: expected an integer step like '0' in the first row, got 'noon'"),
    "bad stamp": ((*READ_CLIPS, "--gaps"), cell(STAMPED, 9, 2, "noon"), "line 9: expected a time like '2026-01-01 00:00'"),
    "no time": (READ_CLIPS, cell(CLIPS, 9, 2, ""), "line 9: the time is missing in column 'step'"),
    "no id": (READ_CLIPS, cell(CLIPS, 9, 1, ""), "line 9: the id is missing in column 'id'"),
    "no group": ((*READ_PLAIN, "--group", "who"), cell(PLAIN, 9, 6, ""), "line 9: the group is missing in column 'who'"),
    "group varies": ((*READ_CLIPS, "--group", "right"), CLIPS, "line 3: the group in column 'right' varies within sequence"),
    "ragged": (READ_PLAIN, cell(PLAIN, 9, 1, "1,2"), "line 9: expected 6 cells, as in the first line, got 7"),
    "open quote": (READ_TEXTS, cell(TEXTS, 9, 1, '"so'), "bad.csv, line 9: a quote is opened and never closed"),
    "channels": (("classify",), CASES.replace(":yes", ":1:yes", 1), "line 5: expected 2 channels and a label, as in the first"),
    "class": (("classify",), CASES.replace(":yes", ":maybe", 1), "line 5: expected a class of @classLabel at the end (yes, no)"),
    "value": (("classify",), CASES.replace(":yes", ",x:yes", 1), "line 5: expected a number in channel 2, got 'x'"),
    "infinite value": (("classify",), CASES.replace(":yes", ",inf:yes", 1), "line 5: value 3 of channel 2 is infinite"),
    "no data": (("classify",), CASES.partition("@data")[0], "expected a line @data and cases after it"),
    "no cases": (("classify",), CASES.partition("\n@data\n")[0] + "\n@data\n", "expected cases after @data, got none"),
    "no class label": (("classify",), CASES.replace("@classLabel true yes no\n", ""), "expected a header line @classLabel"),
    "no labels": (("classify",), UNLABELLED, "bad.ts: expected labels"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_told_with_its_line(elman: "Line", tmp_path: Path, case: str) -> None:
    arguments, content, message = BAD_FILES[case]
    name = "bad.csv" if len(arguments) > 1 else "bad.ts"
    (tmp_path / name).write_text(content)
    done = elman("fit", *arguments, name, "--out", "run")
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert done.message.startswith(f"elman: {name}"), done.message
    assert message in done.message, done.message
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_labels_of_validation_data_must_be_known(elman: "Line", files: Path) -> None:
    (files / "new.csv").write_text("text,stars\nso it,9\n")
    done = elman("fit", *READ_TEXTS, "texts.csv", "--valid", "new.csv", "--out", "run")
    assert (done.code, done.message) == (
        2,
        "elman: new.csv, line 2: label '9' was not seen in training; known: '1', '2'",
    )


@pytest.mark.usefixtures("files")
def test_a_score_that_changes_nothing_is_told(elman: "Line") -> None:
    done = elman("fit", *READ_CLIPS, "clips.csv", "--score", "all", "--dry-run")
    assert done.code == 0
    assert "labels do not vary within a sequence: each has one, and --score all changes nothing" in done.err
    assert "--score" not in elman("fit", *READ_CLIPS, "varying.csv", "--score", "all", "--dry-run").err


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    "arguments",
    [
        ("classify", "--text", "text", "--label", "topics", "--multi", "topics.csv"),
        ("classify", "--label", "red,blue", "--multi", "flags.csv"),
        ("classify", "--text", "text", "--label", "stars", "--class-weights", "balanced", "texts.csv"),
        ("classify", "--label", "kind", "--group", "who", "plain.csv"),
        ("regress", "--text", "text", "--label", "stars", "texts.csv"),
        (*READ_CLIPS, "--gaps", "clips.csv"),
        (*READ_CLIPS, "--gaps", "stamped.csv"),
    ],
)
def test_what_is_right_is_not_refused(elman: "Line", arguments: tuple[str, ...]) -> None:
    assert elman("fit", *arguments, "--dry-run").code == 0


# --- evaluate and predict -------------------------------------------------------------------------------------------

MORE_CHANNELS = CASES.replace(":yes", ":1,2:yes").replace(":no", ":1,2:no")
LATER = {
    "unseen label": ("texts", "text,stars\nso it,9\n", "line 2: label '9' was not seen in training; known: '1', '2'"),
    "no label column": ("texts", "text,star\nso it,1\n", "bad.csv has no column 'stars'; did you mean 'star'"),
    "a label missing": ("texts", "text,stars\nso it,\n", "line 2: the label is missing in column 'stars'"),
    "unseen class": ("cases", CASES.replace("yes", "maybe"), "line 5: label 'maybe' was not seen in training"),
    "no labels": ("cases", UNLABELLED, "bad.ts: expected labels, but the header says that there are none"),
    "no price": ("prices", cell(PLAIN, 9, 4, "cheap"), "line 9: expected a number as label, got 'cheap'"),
    "label varies": ("clips", cell(CLIPS, 3, 5, "yes"), "line 3: the label varies within sequence 'c0'; expected one for all"),
}  # fmt: skip
"""What only matters where labels do."""
ALWAYS = {
    "empty": ("texts", "", "bad.csv is empty"),
    "no text": ("texts", "txt,stars\nso it,1\n", "bad.csv has no column 'text'; did you mean 'txt'"),
    "channels": ("cases", MORE_CHANNELS, "line 4: expected 2 channels and a label, as in training, got 3"),
    "no feature": ("clips", CLIPS.replace("left", "lft"), "bad.csv has no column 'left'; did you mean 'lft'"),
    "steps for stamps": ("timed", CLIPS, "line 2: expected times as time stamps, as in training, got numbers"),
    "no stamp": ("timed", cell(STAMPED, 9, 2, ""), "line 9: the time is missing in column 'step'"),
    "no number": ("prices", cell(PLAIN, 9, 1, "big"), "line 9: expected a number in column 'size', got 'big'"),
    "infinite": ("prices", cell(PLAIN, 9, 1, "inf"), "line 9: column 'size' is infinite (inf)"),
    "time twice": ("clips", cell(CLIPS, 9, 2, "2"), "line 9: the time 2 is there already in this sequence"),
    "table for ts": ("cases", None, "texts.csv: expected a .ts file, as the model was fitted on, got a table"),
}


def given(folder: Path, run: str, content: str | None) -> str:
    if content is None:
        (folder / "texts.csv").write_text(TEXTS)
        return "texts.csv"
    name = "bad.ts" if run == "cases" else "bad.csv"
    (folder / name).write_text(content)
    return name


@pytest.mark.parametrize("case", [*LATER, *ALWAYS])
def test_bad_data_to_score(elman: "Line", runs: Path, tmp_path: Path, case: str) -> None:
    run, content, message = {**LATER, **ALWAYS}[case]
    name = given(tmp_path, run, content)
    done = elman("evaluate", runs / run, name, "--out", "scores.json")
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert message in done.message, done.message
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("case", ALWAYS)
def test_bad_data_to_predict(elman: "Line", runs: Path, tmp_path: Path, case: str) -> None:
    run, content, message = ALWAYS[case]
    name = given(tmp_path, run, content)
    done = elman("predict", runs / run, name, "--out", "p.csv")
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert message in done.message, done.message
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("case", LATER)
def test_labels_do_not_matter_to_predict(elman: "Line", runs: Path, tmp_path: Path, case: str) -> None:
    run, content, _ = LATER[case]
    done = elman("predict", runs / run, given(tmp_path, run, content), "--out", "p.jsonl")
    assert done.code == 0, done.message
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert len(rows) == {"texts": 1, "clips": 20, "prices": 40, "cases": 20}[run]


def test_repairs_are_told(elman: "Line", runs: Path, tmp_path: Path) -> None:
    (tmp_path / "odd.csv").write_text("text\nso zany\n")
    assert "1 of 2 symbols were not seen in training" in elman("predict", runs / "texts", "odd.csv").err
    (tmp_path / "odd.csv").write_text(cell(cell(cell(PLAIN, 3, 3, "mauve"), 4, 1, "999"), 5, 1, ""))
    told = elman("predict", runs / "prices", "odd.csv").err
    assert "column 'colour': 1 value not seen in training (such as 'mauve'), taken as none of the categories" in told
    assert "column 'size': 1 value outside the range of the training data, set to the nearest limit" in told
    assert "column 'size': 1 value missing" in told
    (tmp_path / "odd.csv").write_text("".join(CLIPS.splitlines(keepends=True)[i] for i in (0, 2, 1, 4, 3)))
    assert "2 rows out of time order; sorted" in elman("predict", runs / "clips", "odd.csv").err
    assert "40 of 40 sequences were seen in fitting" in elman("evaluate", runs / "texts", runs / "texts.csv").err


@pytest.mark.parametrize("name", ["load", "char"])
def test_explain_is_for_answers_about_sequences(elman: "Line", data: "Data", name: str) -> None:
    done = elman("predict", getattr(data, name), data.new if name == "load" else data.text, "--explain")
    assert (done.code, done.out) == (2, "")
    assert "--explain is not for" in done.message
    assert "which words or steps decided" in done.message


def test_verbs_that_the_task_cannot_do(elman: "Line", runs: Path) -> None:
    assert "expected a run of a task that generates" in elman("generate", runs / "texts").message
    assert "--scaled is for forecast" in elman("evaluate", runs / "texts", runs / "texts.csv", "--scaled").message


# --- streams --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["texts", "clips"])
def test_what_reads_to_the_end_cannot_stream(elman: "Line", runs: Path, name: str) -> None:
    done = elman("stream", runs / name, stdin=b'{"x": "so"}\n')
    assert (done.code, done.out) == (2, "")
    assert done.message.startswith(f"elman: {runs / name}: the model reads each sequence to its end before it answers")
    assert done.message.endswith("it cannot stream; fit it with --no-bidirectional")


BAD_LINES = {
    '{"x": "so well"}': 'expected "x" to be one word, got 2',
    '{"x": 3}': 'expected "x" to be one word as text, got 3',
    '{"x": ""}': "got ''",
    '{"y": 3}': 'expected a JSON object with "x"',
}


def test_bad_lines_of_a_stream_are_answered(elman: "Line", runs: Path) -> None:
    lines = ['{"x": "so"}', *BAD_LINES, '{"x": "so"}']
    done = elman("stream", runs / "forward", stdin="\n".join(lines).encode())
    first, *errors, last = map(json.loads, done.out.splitlines())
    assert done.code == 2
    for number, (error, message) in enumerate(zip(errors, BAD_LINES.values(), strict=True), 2):
        assert error["error"].startswith(f"line {number}: ")
        assert message in error["error"]
    assert set(first["y"]) == set(last["y"]) == {"1", "2"}


BAD_TIMES = {
    '{"x": [0.1]}': 'expected a "time" with every row: the model was fitted with --gaps and reads the time between rows',
    '{"x": [0.1], "time": "2026-01-01 06:00"}': "time 2026-01-01 06:00 is not later than that of the row before, 2026-01-01 07:00",
    '{"x": [0.1], "time": "2026-01-01 07:00"}': "is not later than that of the row before",
    '{"x": [0.1], "time": "noon"}': "the row's time: expected a time such as '2011-01-31 18:00' or an integer step, got 'noon'",
    '{"x": [0.1], "time": 17}': "the row's time: expected a time such as '2011-01-31 18:00', got the integer 17",
}


def test_bad_times_of_a_stream_are_answered(elman: "Line", runs: Path, tmp_path: Path) -> None:
    begin, end = '{"x": [0.1], "time": "2026-01-01 07:00"}', '{"x": [0.3], "time": "2026-01-03 07:00"}'
    done = elman("stream", runs / "timed", stdin="\n".join([begin, *BAD_TIMES, end]).encode())
    first, *errors, last = map(json.loads, done.out.splitlines())
    assert done.code == 2
    for number, (error, message) in enumerate(zip(errors, BAD_TIMES.values(), strict=True), 2):
        assert error["error"].startswith(f"line {number}: ")
        assert message in error["error"]
    good = elman("stream", runs / "timed", stdin=f"{begin}\n{end}\n".encode())
    assert good.code == 0
    assert list(map(json.loads, good.out.splitlines())) == [first, last]
    for line in (begin, end):
        kept = elman("stream", runs / "timed", "--state", tmp_path / "s", stdin=line.encode())
    assert json.loads(kept.out) == last


# --- damaged runs ---------------------------------------------------------------------------------------------------

FILES = ("config.toml", "codec.json", "tail.safetensors", "model.safetensors")
HARM: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[: len(data) // 2],
    "flipped": lambda data: data[:30] + bytes([data[30] ^ 4]) + data[31:],
    "garbage": lambda data: b"\x93\xffgarbage\0" * 20,  # noqa: ARG005
    "empty": lambda data: b"",  # noqa: ARG005
}


def copied(runs: Path, name: str, folder: Path) -> Path:
    return Path(shutil.copytree(runs / name, folder / "copy"))


@pytest.mark.parametrize("harm", [*HARM, "missing", "of a forecast"])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_run_says_which_file(
    elman: "Line", data: "Data", runs: Path, tmp_path: Path, name: str, harm: str
) -> None:
    file = copied(runs, "cases", tmp_path) / name
    content = file.read_bytes()
    file.unlink()
    if harm in HARM:
        file.write_bytes(HARM[harm](content))
    elif harm == "of a forecast":
        shutil.copy(data.load / name, file)
    done = elman("predict", "copy", runs / "cases.ts", "--out", "p.csv")
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1), done
    blamed = "codec.json" if (name, harm) == ("config.toml", "of a forecast") else name
    assert blamed in done.message, done.message
    assert not (tmp_path / "p.csv").exists()


@pytest.mark.parametrize("verb", ["evaluate", "predict", "stream", "report", "describe"])
def test_a_newer_run_is_refused(elman: "Line", runs: Path, tmp_path: Path, verb: str) -> None:
    config = copied(runs, "forward", tmp_path) / "config.toml"
    config.write_text(config.read_text().replace("format = 2", "format = 99"))
    done = elman(
        verb, "copy", *([runs / "texts.csv"] if verb in ("evaluate", "predict") else []), stdin=b'{"x": "so"}\n'
    )
    assert (done.code, done.out) == (2, "")
    assert "copy: the run has format 99" in done.message
    assert "reads formats up to 2" in done.message
