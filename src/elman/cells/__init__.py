"""Cells: each recurrence, written once, as one time step."""

from elman.cells.cell import CELLS, Cell, VendorWeights, register
from elman.cells.cfc import CfC
from elman.cells.conv_lstm import ConvLSTM
from elman.cells.coupled_lstm import CoupledLSTM
from elman.cells.elman import Elman
from elman.cells.gru import GRU
from elman.cells.gru_d import GRUD
from elman.cells.highway import Highway
from elman.cells.indrnn import IndRNN
from elman.cells.jordan import Jordan
from elman.cells.layer_norm_gru import LayerNormGRU
from elman.cells.layer_norm_lstm import LayerNormLSTM
from elman.cells.lru import LRU
from elman.cells.lstm import LSTM
from elman.cells.lstm_1997 import LSTM1997
from elman.cells.ltc import LTC
from elman.cells.mgu import MGU
from elman.cells.min_gru import MinGRU
from elman.cells.min_lstm import MinLSTM
from elman.cells.mlstm import MLSTM
from elman.cells.peephole_lstm import PeepholeLSTM
from elman.cells.projected_lstm import ProjectedLSTM
from elman.cells.qrnn import QRNN
from elman.cells.rg_lru import RGLRU
from elman.cells.slstm import SLSTM
from elman.cells.sru import SRU

__all__ = [
    "CELLS",
    "GRU",
    "GRUD",
    "LRU",
    "LSTM",
    "LSTM1997",
    "LTC",
    "MGU",
    "MLSTM",
    "QRNN",
    "RGLRU",
    "SLSTM",
    "SRU",
    "Cell",
    "CfC",
    "ConvLSTM",
    "CoupledLSTM",
    "Elman",
    "Highway",
    "IndRNN",
    "Jordan",
    "LayerNormGRU",
    "LayerNormLSTM",
    "MinGRU",
    "MinLSTM",
    "PeepholeLSTM",
    "ProjectedLSTM",
    "VendorWeights",
    "register",
]
