"""A run's settings: what the user said over what the defaults say, checked, complete, and kept as TOML."""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError

from elman.data.files import write_text
from elman.errors import ConfigError, RunError
from elman.models.build import EncoderConfig, check_config
from elman.models.load import FORMAT, read_config
from elman.registry import suggest
from elman.tasks.task import TASKS, Task, TaskOptions
from elman.training.config import TrainingConfig
from elman.training.defaults import defaults

M = TypeVar("M", bound=BaseModel)
Sections = dict[str, dict[str, Any]]
SECTIONS = ("options", "encoder", "training")
OF_EVERY_ENCODER = ("hidden", "bidirectional", "dropout")
"""Settings that are kept where an encoder takes the place of another one; depth, norms and options suit only what they were for."""
HOW_LONG = ("epochs", "updates", "budget")
LIMITS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
KINDS = {
    "int_": "a whole number",
    "float_": "a number",
    "bool_": "true or false",
    "string_": "text",
    "dict_": "a table",
}
KINDS_OF_SCALAR = (("bool",), ("int",), ("float",), ("str",))


class Settings(BaseModel):
    """Everything that `fit` decided before training: `config.toml` of a run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    version: str
    """Of elman, that wrote the run."""
    task: str
    options: dict[str, Any]
    """The task's options."""
    encoder: EncoderConfig
    training: TrainingConfig
    model: dict[str, Any] = {}
    """What builds the model again, see `elman.models.Model.config`."""

    def to_toml(self) -> str:
        return tomli_w.dumps(_without_none(self.model_dump()))

    def save(self, folder: Path) -> None:
        write_text(folder / "config.toml", self.to_toml())


def load_settings(folder: Path) -> Settings:
    """Raises RunError if the folder is not a run, damaged, or written by a newer version."""
    values = read_config(folder)
    try:
        return checked(Settings, values, "the run")
    except ConfigError as error:
        raise RunError(f"{folder / 'config.toml'}: damaged: {error}") from None


def make_task(name: str, options: Mapping[str, Any]) -> Task:
    """A task from its name and options. Raises ConfigError for unknown or bad options."""
    task = TASKS.get(name)
    return task(checked(task.Options, options, f"task {name}"))


def check(said: Sections) -> None:
    """Raises ConfigError for what is wrong whatever the data is, so that it is told before the data is read."""
    encoder = checked(EncoderConfig, said.get("encoder", {}), "encoder")
    if "name" in said.get("encoder", {}):
        check_config(encoder)
    checked(TrainingConfig, said.get("training", {}), "training")


def resolve(name: str, task: Task, said: Sections, version: str) -> Settings:
    """Settings from defaults that fit the data, and over them what the user said. ``task`` has read its data."""
    base = defaults(name, task.facts(), said.get("encoder", {}).get("name"))
    wanted = said.get("training", {})
    shape, suggested = base.encoder.model_dump(), base.training.model_dump()
    if task.reads_whole and wanted.get("window"):
        shape["bidirectional"] = False
    # by way of its own model, which knows the names that settings had in earlier versions
    asked = checked(EncoderConfig, said.get("encoder", {}), "encoder").model_dump(exclude_unset=True)
    encoder = checked(EncoderConfig, merged(shape, asked), "encoder")
    check_config(encoder)
    if "epochs" in wanted:  # two ways to say how long: what the user said counts
        suggested["updates"] = None
    training = checked(TrainingConfig, {**suggested, **wanted}, "training")
    _check_window(task, encoder, training)
    return Settings(
        version=version, task=name, options=task.options.model_dump(mode="json"), encoder=encoder, training=training
    )


def _check_window(task: Task, encoder: EncoderConfig, training: TrainingConfig) -> None:
    if training.window == 0 and not task.reads_whole:
        raise ConfigError(
            f"training, 'window': expected at least 1, got 0: the streams of {task.name} have no end to read to"
        )
    if training.window and task.reads_whole and encoder.bidirectional:
        raise ConfigError(
            f"training, 'window': {training.window} steps at a time are for encoders of one direction, a bidirectional one reads "
            "each sequence to its end; leave the window out, or use --no-bidirectional"
        )


def checked(model: type[M], values: Mapping[str, Any], where: str) -> M:
    """``model`` from values; every problem in one ConfigError, unknown keys with the nearest valid one."""
    try:
        return model(**values)
    except ValidationError as error:
        problems = [_explain(model, where, problem) for problem in error.errors()]
        raise ConfigError("; ".join(dict.fromkeys(problems))) from None


def _explain(model: type[BaseModel], where: str, problem: Any) -> str:
    loc = problem["loc"]
    section = model.model_fields[loc[0]].annotation if len(loc) > 1 and loc[0] in model.model_fields else None
    if isinstance(section, type) and issubclass(section, BaseModel):
        return _explain(section, str(loc[0]), {**problem, "loc": loc[1:]})
    if loc[-1:] in KINDS_OF_SCALAR:
        key = ".".join(map(str, loc[:-1]))
        return f"{where}, {key!r}: expected one number, text, true or false, got {problem['input']!r}"
    key = ".".join(map(str, loc))
    if problem["type"] == "extra_forbidden":
        others = [name for name in TASKS.names() if key in TASKS.get(name).Options.model_fields]
        if issubclass(model, TaskOptions) and others:
            *most, last = others
            have = f"{', '.join(most)} and {last} have" if most else f"{last} has"
            return f"{where} has no setting {key!r}, {have}"
        return f"{where} has no setting {key!r}; {suggest(key, model.model_fields)}"
    if problem["type"] == "missing":
        option = f" (--{key})" if issubclass(model, TaskOptions) else ""
        return f"{where} needs {key!r}{option}"
    message = _expected(problem)
    return f"{where}, {key!r}: {message}, got {problem['input']!r}" if key else f"{where}: {message}"


def _expected(problem: Any) -> str:
    """What a value should have been, in our words where pydantic's are long."""
    limits = problem.get("ctx", {})
    for limit, words in LIMITS.items():
        if limit in limits:
            return f"expected {words} {limits[limit]:g}"
    kind = next((words for start, words in KINDS.items() if problem["type"].startswith(start)), None)
    message: str = problem["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    return f"expected {kind}" if kind else message


def parse_set(text: str) -> tuple[str, str, Any]:
    """Section, key and value of ``section.key=value``; the value is TOML, or else a string.

    >>> parse_set("training.learning_rate=1e-3")
    ('training', 'learning_rate', 0.001)
    """
    key, equals, value = text.partition("=")
    section, dot, name = key.strip().partition(".")
    if not (equals and dot and name):
        raise ConfigError(f"expected `--set section.key=value`, got {text!r}; sections: {', '.join(SECTIONS)}")
    if section not in SECTIONS:
        raise ConfigError(f"there is no section {section!r} in the settings; {suggest(section, SECTIONS)}")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    return section, name, parsed


def put(said: Sections, section: str, name: str, value: Any) -> None:
    """Set ``section.name``; a dotted name goes into a table inside it, as in ``encoder.cell.forget_bias``."""
    table = said.setdefault(section, {})
    *inner, last = name.split(".")
    for part in inner:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{section}.{name}: {part!r} is a value already, not a table of settings")
    table[last] = value


def load_config(path: Path, task: str) -> Sections:
    """The sections of a TOML file of settings for ``task``; what else a run's own `config.toml` has is left out."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    unknown = set(values) - {*SECTIONS, "format", "version", "task", "model"}
    if unknown:
        key = sorted(unknown)[0]
        raise ConfigError(f"{path}: there is no section {key!r} in the settings; {suggest(key, SECTIONS)}")
    if values.get("task", task) != task:
        raise ConfigError(f"{path}: expected settings of the task {task}, got those of {values['task']}")
    for section in SECTIONS:
        if not isinstance(values.get(section, {}), dict):
            raise ConfigError(f"{path}: expected a table [{section}], got {values[section]!r}")
    return {section: values[section] for section in SECTIONS if section in values}


def over(file: Sections, said: Sections, tell: Callable[[str], None]) -> Sections:
    """What is said over what a file says, without what that says of another encoder, or of how long to train where that is said.

    A run's own file has every setting, those that nobody asked for too; ``tell`` is told what is left out of its encoder.
    """
    encoder, training = file.get("encoder", {}), file.get("training", {})
    name = said.get("encoder", {}).get("name")
    if name is not None and encoder.get("name", name) != name:
        tell(
            f"the settings file is of encoder {encoder['name']}: for {name}, only {', '.join(OF_EVERY_ENCODER[:-1])} and "
            f"{OF_EVERY_ENCODER[-1]} are taken from its section [encoder]"
        )
        encoder = {key: value for key, value in encoder.items() if key in OF_EVERY_ENCODER}
    if any(key in said.get("training", {}) for key in HOW_LONG):
        training = {key: value for key, value in training.items() if key not in HOW_LONG}
    return merged({**file, "encoder": encoder, "training": training}, said)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Values with others over them; tables inside are merged likewise.

    >>> merged({"name": "mlp", "cell": {"window": 9}}, {"cell": {"activation": "tanh"}})
    {'name': 'mlp', 'cell': {'window': 9, 'activation': 'tanh'}}
    """
    values = dict(below)
    for key, value in above.items():
        both_tables = isinstance(value, Mapping) and isinstance(values.get(key), Mapping)
        values[key] = merged(values[key], value) if both_tables else value
    return values


def _without_none(values: Any) -> Any:
    """TOML has no null: what is None is left out, and None is the default of every such setting."""
    if isinstance(values, dict):
        return {key: _without_none(value) for key, value in values.items() if value is not None}
    if isinstance(values, list | tuple):
        return [_without_none(value) for value in values]
    return values
