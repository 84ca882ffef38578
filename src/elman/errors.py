"""Every exception elman raises on purpose, each with the exit code of the command line; and what it warns of."""


class ElmanError(Exception):
    """The work failed. The message says what was expected, what came, where, and what to do."""

    exit_code = 1


class UsageError(ElmanError):
    """The request was wrong: options that contradict each other, an unknown name."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting is unknown, out of range, or contradicts another."""


class DataError(UsageError):
    """The data cannot be used as it is. The message names the file and the line or column."""


class RunError(UsageError):
    """A run folder is missing, damaged, or written by a newer version."""


class TrainingError(ElmanError):
    """Training cannot go on: non-finite loss or gradients, a lost worker. The last good weights are kept."""


class SlowWarning(UserWarning):
    """Something works, but more slowly than it could, and the message says why."""
