"""The conformance suites, for cells and layers of one's own as well as the package's."""

from elman.testing.cells import check_cell
from elman.testing.layers import check_layer

__all__ = ["check_cell", "check_layer"]
