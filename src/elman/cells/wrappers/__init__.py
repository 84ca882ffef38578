"""Wrappers: cells around cells, for what is done to any recurrence alike. They nest."""

from elman.cells.wrappers.drop_connect import DropConnect
from elman.cells.wrappers.learned_initial_state import LearnedInitialState
from elman.cells.wrappers.recurrent_dropout import RecurrentDropout
from elman.cells.wrappers.residual import Residual
from elman.cells.wrappers.variational_dropout import VariationalDropout
from elman.cells.wrappers.wrapper import CellWrapper, MaskedState
from elman.cells.wrappers.zoneout import Zoneout

__all__ = [
    "CellWrapper",
    "DropConnect",
    "LearnedInitialState",
    "MaskedState",
    "RecurrentDropout",
    "Residual",
    "VariationalDropout",
    "Zoneout",
]
