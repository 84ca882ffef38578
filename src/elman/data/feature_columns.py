"""Columns of a table as features: numbers as they are, categories as 0/1 features."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from elman.data.rows import Rows, counted
from elman.data.series import MAX_CATEGORIES
from elman.data.tables import parse_numbers, text_of
from elman.data.time_reader import looks_like_time
from elman.errors import DataError

FEW_CATEGORIES = 10
"""More than these, and more than half as many as there are cells with text: it names things, or is free text."""


class FeatureColumns:
    """Reads columns as features.

    A column of text becomes one 0/1 feature per category; a missing cell is missing in each of them, a category that
    was not known is 0 in each. A column of false and true is 0/1.

    Args:
        rows: where the columns are.
        categories: column -> its categories, as training found them; other columns hold numbers. None: finds them.
        notes: what is repaired is told here.
    """

    def __init__(self, rows: Rows, categories: Mapping[str, Sequence[str]] | None, notes: list[str]) -> None:
        self._rows = rows
        self._fitted = categories is not None
        self._notes = notes
        self.categories: dict[str, tuple[str, ...]] = {name: tuple(known) for name, known in (categories or {}).items()}

    def read(self, columns: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.float64]]:
        """The features' names (C,) and values (rows, C). Raises DataError that names file and line."""
        features = [feature for column in columns for feature in self._features(column)]
        return tuple(name for name, _ in features), np.stack([values for _, values in features], axis=1)

    def _features(self, name: str) -> Iterator[tuple[str, NDArray[np.float64]]]:
        column = self._rows.column(name)
        if not self._fitted:
            self._refuse_times(column)
            if _is_text(column):
                self.categories[name] = self._find_categories(name)
        if name in self.categories:
            yield from self._categorical(name, self.categories[name])
            return
        values = _booleans(self._rows.strings(name)) if column.dtype == pl.String else None
        if values is None:
            values = self._rows.numbers(name)
        self._tell_missing(name, np.isnan(values))
        yield name, values

    def _categorical(self, name: str, known: Sequence[str]) -> Iterator[tuple[str, NDArray[np.float64]]]:
        text = self._rows.strings(name)
        missing = (text == "").to_numpy()
        self._tell_missing(name, missing)
        unseen = (text != "") & ~text.is_in(list(known))
        if count := int(unseen.sum()):
            self._notes.append(
                f"column {name!r}: {counted(count, 'value')} not seen in training (such as {text.filter(unseen)[0]!r}), "
                "taken as none of the categories"
            )
        for category in known:
            yield f"{name}={category}", np.where(missing, np.nan, (text == category).to_numpy().astype(np.float64))

    def _find_categories(self, name: str) -> tuple[str, ...]:
        text = self._rows.strings(name)
        found = text.filter(text != "").unique().sort().to_list()
        cells = int((text != "").sum())
        if len(found) > MAX_CATEGORIES or len(found) > max(FEW_CATEGORIES, cells / 2):
            raise DataError(
                f"{self._rows.name}: column {name!r} holds text with {len(found)} different values in {cells} cells (such as "
                f"{found[0][:40]!r}), too many for categories; if it is what is to be read, use --text {name}; if it only "
                "names things, leave it out by naming the columns to use with --features"
            )
        return tuple(found)

    def _refuse_times(self, column: pl.Series) -> None:
        if column.dtype.is_temporal() or looks_like_time(column):
            raise DataError(
                f"{self._rows.name}: column {column.name!r} holds times, which are no feature; order the rows of sequences "
                f"with --id COLUMN --time {column.name}, or leave it out by naming the columns to use with --features"
            )

    def _tell_missing(self, name: str, missing: NDArray[np.bool_]) -> None:
        if count := int(missing.sum()):
            share = 100 * count / len(missing)
            self._notes.append(f"column {name!r}: {counted(count, 'value')} missing ({share:.2g} %)")


def _is_text(column: pl.Series) -> bool:
    """Whether a column holds words; one of numbers, most of them well written, and one of false and true do not."""
    if column.dtype not in (pl.String, pl.Categorical, pl.Enum) or _booleans(text_of(column)) is not None:
        return False
    values, not_number = parse_numbers(column)
    return 2 * int(not_number.sum()) > int((~np.isnan(values) | not_number).sum())


def _booleans(text: pl.Series) -> NDArray[np.float64] | None:
    """false and true as 0 and 1, '' as missing; None if there is anything else."""
    lower = text.str.to_lowercase()
    known = lower.filter(lower != "")
    if known.is_empty() or not known.is_in(["false", "true"]).all():
        return None
    values: NDArray[np.float64] = (
        lower.replace_strict({"false": 0.0, "true": 1.0}, default=None, return_dtype=pl.Float64)
        .fill_null(np.nan)
        .to_numpy()
    )
    return values
