"""The operators of ONNX, as an independent source of what a cell should give."""

from collections.abc import Callable, Mapping

import numpy as np
import onnx
import onnxruntime
import pytest
from torch import Tensor

OnnxOperator = Callable[..., list[np.ndarray]]


@pytest.fixture
def onnx_operator() -> OnnxOperator:
    """Runs one operator of version 22: its name, inputs by name, outputs in order ("": not wanted), attributes."""
    return _run_operator


def _run_operator(
    operator: str, inputs: Mapping[str, Tensor], outputs: tuple[str, ...], **attributes: int
) -> list[np.ndarray]:
    names = _with_gaps(operator, inputs)
    node = onnx.helper.make_node(operator, names, outputs)
    node.attribute.extend(onnx.helper.make_attribute(name, value) for name, value in attributes.items())
    declare = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node],
        "one operator",
        [declare(name, onnx.TensorProto.FLOAT, value.shape) for name, value in inputs.items()],
        [declare(name, onnx.TensorProto.FLOAT, None) for name in outputs if name],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 22)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    results: list[np.ndarray] = session.run(None, {name: value.detach().numpy() for name, value in inputs.items()})
    return results


def _with_gaps(operator: str, inputs: Mapping[str, Tensor]) -> list[str]:
    """The operator's inputs in its order, "" for one that is not given: operators are told them by their place."""
    known = [parameter.name for parameter in onnx.defs.get_schema(operator, 22).inputs]
    assert set(inputs) <= set(known), f"{operator} has the inputs {known}"
    return [name if name in inputs else "" for name in known]
