"""Cells: each recurrence, written once, as one time step."""

from elman.cells.cell import CELLS, Cell, VendorWeights, register
from elman.cells.elman import Elman
from elman.cells.gru import GRU
from elman.cells.lstm import LSTM

__all__ = ["CELLS", "GRU", "LSTM", "Cell", "Elman", "VendorWeights", "register"]
