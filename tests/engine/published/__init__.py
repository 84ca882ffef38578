"""Cells of the literature that the package does not have: what the engine must run without knowing them."""

from tests.engine.published.antisymmetric_rnn import AntisymmetricRNN
from tests.engine.published.co_rnn import CoRNN
from tests.engine.published.fast_grnn import FastGRNN
from tests.engine.published.goru import GORU
from tests.engine.published.lem import LEM
from tests.engine.published.mogrifier_lstm import MogrifierLSTM
from tests.engine.published.scrn import SCRN
from tests.engine.published.ugrnn import UGRNN

__all__ = ["GORU", "LEM", "SCRN", "UGRNN", "AntisymmetricRNN", "CoRNN", "FastGRNN", "MogrifierLSTM"]
