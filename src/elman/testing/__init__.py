"""The conformance suites, for cells, layers, encoders and tasks of one's own as well as the package's."""

from elman.testing.cells import check_cell
from elman.testing.encoders import check_encoder
from elman.testing.layers import check_layer
from elman.testing.tasks import check_task

__all__ = ["check_cell", "check_encoder", "check_layer", "check_task"]
