"""Reads ``.ts`` files, the format of the time series classification and regression archives (sktime, aeon)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from elman.data.label_cells import in_one_form
from elman.data.rows import counted
from elman.data.sequences import Cell, Floats, LabelKind, Layout, SequenceColumns, SequenceSet
from elman.data.source import Source, check_text, size_fault, too_large
from elman.errors import DataError

_BOM = b"\xef\xbb\xbf"
_KNOWN = {
    "problemname", "timestamps", "missing", "univariate", "dimension", "dimensions", "equallength", "serieslength",
    "classlabel", "targetlabel", "data",
}  # fmt: skip


def read_ts(sources: Sequence[Source], layout: Layout | None, *, required: bool) -> SequenceSet:
    """Cases of one or several files: one line each, channels parted by ``:``, values by ``,``, the label last.

    Missing values are ``?`` or ``NaN``. Channels of one case that differ in length are filled up with missing values.
    Channels are called "1" to "C".

    Args:
        sources: files of kind "ts", all with the same channels.
        layout: of the data that a model was fitted on; None: this is that data.
        required: whether labels must be there (``@classLabel true`` or ``@targetlabel true``, and no label ``?``).

    Raises: DataError that names file and line for anything malformed.
    """
    width = len(layout.names) if layout else None
    files: list[_File] = []
    for source in sources:
        files.append(_File(source, width, "as in training" if layout else f"as in {sources[0].name}"))
        width = width or files[0].width
    notes = [note for file in files for note in file.notes]
    cells = _labels(files, required, notes)
    kinds: tuple[LabelKind, ...] = ()
    if cells is not None:
        cells, kinds = in_one_form(cells, layout, together=False)
    names = tuple(str(number + 1) for number in range(width or 0))
    return SequenceSet(
        name=", ".join(file.name for file in files),
        layout=layout or Layout("ts", SequenceColumns(), names, label_kinds=kinds),
        texts=None,
        values=tuple(values for file in files for values in file.values),
        labels=None if cells is None else tuple((cell,) for cell in cells),
        ids=tuple(str(number + 1) for file in files for number in range(len(file.values))),
        places=tuple(f"{file.name}, line {line}" for file in files for line in file.lines),
        notes=tuple(notes),
    )


def _labels(files: "Sequence[_File]", required: bool, notes: list[str]) -> list[Cell] | None:
    for file in files:
        if not file.header.labelled:
            if required:
                raise DataError(f"{file.name}: expected labels, but the header says that there are none")
            return None
        missing = [line for line, label in zip(file.lines, file.labels, strict=True) if label == "?"]
        if missing and required:
            raise DataError(f"{file.name}, line {missing[0]}: the label is missing; fill it in or leave the case out")
        if missing:
            notes.append(f"{file.name}: {len(missing)} of {len(file.lines)} labels are missing; no label is used")
            return None
    return [(label,) for file in files for label in file.labels]


@dataclass(frozen=True)
class _Header:
    """What the lines with @ promise; None where they say nothing."""

    classes: tuple[str, ...] | None
    target: bool
    width: int | None
    length: int | None
    equal: bool

    @property
    def labelled(self) -> bool:
        return self.classes is not None or self.target


class _File:
    """One file, read.

    Args:
        source: the file.
        width: the channels that are expected; None: those that the header or the first case has.
        why: where that number is from, for the message.
    """

    def __init__(self, source: Source, width: int | None, why: str) -> None:
        data = source.read().removeprefix(_BOM)
        check_text(data, source.name)
        text = data.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self.name = source.name
        self.notes: list[str] = []
        self.values: list[Floats] = []
        self.labels: list[str] = []
        self.lines: list[int] = []
        start = self._read_header(text)
        if width is not None and self.header.width not in (None, width):
            raise DataError(
                f"{self.name}: expected {counted(width, 'channel')}, {why}, but the header says {self.header.width}"
            )
        self.width, self._why = (self.header.width, "as the header says") if width is None else (width, why)
        self._uneven = 0
        self._missing = 0
        for line, case in enumerate(text[start:], start + 1):
            if case.strip() and not case.lstrip().startswith("#"):
                self._read_case(case, line)
        if not self.values:
            raise DataError(f"{self.name}: expected cases after @data, got none; is the file whole?")
        if self._uneven:
            cases = counted(self._uneven, "case")
            self.notes.append(f"{self.name}: {cases} with channels of unequal length, filled up as missing")
        if self._missing:
            self.notes.append(f"{self.name}: {counted(self._missing, 'value')} missing")

    def _fail(self, line: int, message: str) -> DataError:
        return DataError(f"{self.name}, line {line}: {message}")

    def _read_header(self, text: Sequence[str]) -> int:
        """Read up to @data and give the number of lines that took."""
        words: dict[str, tuple[int, list[str]]] = {}
        for line, content in enumerate(text, 1):
            content = content.strip()
            if not content or content.startswith("#"):
                continue
            if not content.startswith("@"):
                raise self._fail(
                    line, f"expected a header line such as '@classLabel true a b', or @data, got {content[:40]!r}"
                )
            key, *rest = content[1:].split() or [""]
            if key.lower() == "data":
                self.header = self._header(words)
                return line
            if key.lower() not in _KNOWN:
                self.notes.append(f"{self.name}, line {line}: the unknown header @{key} is left alone")
            words[key.lower()] = (line, rest)
        raise DataError(f"{self.name}: expected a line @data and cases after it; is it a whole .ts file?")

    def _header(self, words: Mapping[str, tuple[int, list[str]]]) -> _Header:
        if self._flag(words, "timestamps"):
            raise self._fail(
                words["timestamps"][0],
                "cases with time stamps are not supported; write the values alone, at equal distances in time",
            )
        labelled, target = self._flag(words, "classlabel"), self._flag(words, "targetlabel")
        if labelled is None and target is None:
            raise DataError(f"{self.name}: expected a header line @classLabel (or @targetlabel) before @data, got none")
        if labelled and target:
            raise self._fail(words["targetlabel"][0], "expected @classLabel or @targetlabel, got both")
        width = self._number(words, "dimensions") or self._number(words, "dimension")
        if self._flag(words, "univariate"):
            if width not in (None, 1):
                raise self._fail(words["univariate"][0], f"@univariate true contradicts {width} dimensions")
            width = 1
        return _Header(
            classes=tuple(words["classlabel"][1][1:]) if labelled else None,
            target=bool(target),
            width=width,
            length=self._number(words, "serieslength"),
            equal=bool(self._flag(words, "equallength")),
        )

    def _flag(self, words: Mapping[str, tuple[int, list[str]]], key: str) -> bool | None:
        if key not in words:
            return None
        line, rest = words[key]
        if not rest or rest[0].lower() not in ("true", "false"):
            raise self._fail(line, f"expected true or false after @{key}, got {' '.join(rest)!r}")
        return rest[0].lower() == "true"

    def _number(self, words: Mapping[str, tuple[int, list[str]]], key: str) -> int | None:
        if key not in words:
            return None
        line, rest = words[key]
        if len(rest) != 1 or not rest[0].isdecimal() or int(rest[0]) < 1:
            raise self._fail(line, f"expected a whole number after @{key}, got {' '.join(rest)!r}")
        return int(rest[0])

    def _read_case(self, case: str, line: int) -> None:
        if case.startswith("@"):
            raise self._fail(line, "a header line after @data")
        channels = case.split(":")
        label = channels.pop().strip() if self.header.labelled else None
        if self.width is None:
            self.width, self._why = len(channels), "as in the first case"
        if len(channels) != self.width:
            fields = " and a label" if self.header.labelled else ""
            raise self._fail(
                line, f"expected {counted(self.width, 'channel')}{fields}, {self._why}, got {len(channels)}; is it cut?"
            )
        if label is not None:
            self.labels.append(self._label(label, line))
        self.values.append(
            self._case([self._channel(text, line, number) for number, text in enumerate(channels, 1)], line)
        )
        self.lines.append(line)

    def _label(self, label: str, line: int) -> str:
        if label == "?":
            return label
        if self.header.target:
            return self._target(label, line)
        classes = self.header.classes or ()
        if not label or (classes and label not in classes):
            known = ", ".join(classes[:20])
            raise self._fail(
                line, f"expected a class of @classLabel at the end ({known}), got {label[:40]!r}; is it cut?"
            )
        return label

    def _target(self, label: str, line: int) -> str:
        try:
            if np.isfinite(float(label)):
                return label
        except ValueError:
            pass
        raise self._fail(line, f"expected a finite number at the end, got {label[:40]!r}; is it cut?")

    def _channel(self, text: str, line: int, number: int) -> list[float]:
        if not text.strip():
            return []
        try:
            return _numbers(text)
        except ValueError:
            cell = next(cell for cell in text.split(",") if not _is_number(cell))
            cure = "missing values are written ?"
            raise self._fail(
                line, f"expected a number in channel {number}, got {cell.strip()[:40]!r}; {cure}"
            ) from None

    def _case(self, channels: list[list[float]], line: int) -> Floats:
        """(T, C)"""
        lengths = set(map(len, channels))
        longest = max(lengths)
        if not longest:
            raise self._fail(line, "expected values, got none in any channel")
        if len(lengths) > 1:
            self._uneven += 1
            self._missing -= sum(longest - len(channel) for channel in channels)  # told apart from those in the file
            channels = [channel + [np.nan] * (longest - len(channel)) for channel in channels]
        self._require_length(longest, len(lengths) > 1, line)
        values = np.array(channels).T
        if (large := too_large(values)).any():
            step, channel = np.argwhere(large)[0]
            fault, wanted = size_fault(values[step, channel])
            raise self._fail(line, f"value {step + 1} of channel {channel + 1} is {fault}; expected {wanted}")
        self._missing += int(np.isnan(values).sum())
        return np.ascontiguousarray(values)

    def _require_length(self, length: int, uneven: bool, line: int) -> None:
        if not self.header.equal:
            return
        if self.header.length is None:
            self.header = replace(self.header, length=length)
        if uneven or length != self.header.length:
            raise self._fail(
                line,
                f"expected {self.header.length} values in every channel, since the header says @equalLength true, got "
                f"{'unequal numbers' if uneven else length}; is it cut? If lengths differ, write @equalLength false",
            )


def _numbers(text: str) -> list[float]:
    if "_" in text:  # Python reads 1_000 as a number
        raise ValueError(text)
    return list(map(float, text.replace("?", "nan").split(",")))


def _is_number(cell: str) -> bool:
    try:
        _numbers(cell)
    except ValueError:
        return False
    return True
