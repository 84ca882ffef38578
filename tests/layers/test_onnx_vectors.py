"""The ONNX operators RNN, LSTM and GRU on elman's layers: the test vectors of the onnx package, and onnxruntime.

The package's vectors have weights that are all alike, so that no exchange of gates shows; the random cases have not.
"""

import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar, cast

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.backend.test.loader import DATA_DIR, load_model_tests
from torch import Tensor

from elman.cells import GRU, LSTM, Cell, Elman
from elman.cells.coupled_lstm import CoupledLSTM
from elman.cells.peephole_lstm import PeepholeLSTM
from elman.layers import Bidirectional, Recurrent, SequenceLayer
from elman.state import leaves, unflatten

Array: TypeAlias = np.ndarray[Any, Any]
C = TypeVar("C", bound=Elman | LSTM | CoupledLSTM | PeepholeLSTM | GRU)

OPERATORS = ("RNN", "LSTM", "GRU")
DIRECTIONS = ("forward", "reverse", "bidirectional")

# Every case of the package, opset 22. A new version's new cases must come here, and run.
CASES = (
    "test_gru_batchwise",
    "test_gru_bidirectional",
    "test_gru_defaults",
    "test_gru_reverse",
    "test_gru_seq_length",
    "test_gru_with_initial_bias",
    "test_lstm_batchwise",
    "test_lstm_bidirectional",
    "test_lstm_defaults",
    "test_lstm_reverse",
    "test_lstm_with_initial_bias",
    "test_lstm_with_peepholes",
    "test_rnn_seq_length",
    "test_simple_rnn_batchwise",
    "test_simple_rnn_bidirectional",
    "test_simple_rnn_defaults",
    "test_simple_rnn_reverse",
    "test_simple_rnn_with_initial_bias",
)

# ---- an operator as a layer of elman


class Inexpressible(Exception):  # noqa: N818  (no fault: a fact)
    """No cell of elman is this operator; the message says why."""


class Node(NamedTuple):
    """One operator with what it reads, by the names of its specification."""

    op: str
    attributes: dict[str, Any]
    inputs: Mapping[str, Array]


# The gates in the operator's order, at the places where the cell has them.
ORDER = {"RNN": [0], "LSTM": [0, 2, 3, 1], "GRU": [1, 0, 2]}  # LSTM i o f c -> i f c o; GRU z r h -> r z h
NONLINEARITIES = {"Tanh": "tanh", "Relu": "relu", "Sigmoid": "sigmoid"}
DEFAULT_ACTIVATIONS = {"RNN": ["Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"]}
HANDLED = {"hidden_size", "direction", "layout", "linear_before_reset", "activations", "input_forget"}
REFUSED = {
    "clip": "no cell bounds what enters its nonlinearities",
    "activation_alpha": "only activations that no cell has read it",
    "activation_beta": "only activations that no cell has read it",
}


def run_on_elman(node: Node) -> dict[str, Tensor]:
    """Y, Y_h and Y_c as the operator's specification has them. Raises Inexpressible."""
    layer, inputs = layer_of(node), {name: torch.tensor(array) for name, array in node.inputs.items()}
    batchwise = node.attributes.get("layout", 0) == 1
    x = inputs["X"] if batchwise else inputs["X"].transpose(0, 1)
    state = layer.initial_state(len(x))
    given = [inputs[name].unbind(1 if batchwise else 0) for name in ("initial_h", "initial_c") if name in inputs]
    if given:  # one leaf after another in each direction
        state = unflatten(state, iter([leaf for direction in zip(*given, strict=True) for leaf in direction]))
    y, last = layer(x, state, inputs.get("sequence_lens"))
    directions = torch.stack(y.chunk(inputs["W"].shape[0], dim=-1), dim=2)  # (batch, time, directions, hidden)
    kinds = 2 if node.op == "LSTM" else 1
    lasts = [torch.stack(list(leaves(last))[kind::kinds], dim=1 if batchwise else 0) for kind in range(kinds)]
    outputs = [directions if batchwise else directions.permute(1, 2, 0, 3), *lasts]
    return dict(zip(("Y", "Y_h", "Y_c"), outputs, strict=False))


def layer_of(node: Node) -> SequenceLayer:
    for name in node.attributes:
        if name not in HANDLED:
            raise Inexpressible(f"{name}: {REFUSED[name]}")
    direction = node.attributes.get("direction", "forward")
    cells = [cell_of(node, which) for which in range(node.inputs["W"].shape[0])]
    if direction == "bidirectional":
        return Bidirectional(Recurrent(cells[0]), Recurrent(cells[1], direction="backward"))
    return Recurrent(cells[0], direction="backward" if direction == "reverse" else "forward")


def cell_of(node: Node, which: int) -> Cell:
    """The cell of one direction."""
    weight_ih, weight_hh = (reordered(node.op, node.inputs[name][which]) for name in ("W", "R"))
    hidden_size = weight_hh.shape[1]
    assert node.attributes.get("hidden_size", hidden_size) == hidden_size
    both = node.inputs["B"][which] if "B" in node.inputs else np.zeros(2 * len(weight_ih), weight_ih.dtype)
    bias_ih, bias_hh = (reordered(node.op, bias) for bias in np.split(both, 2))
    activations = activations_of(node, which)
    if node.op == "RNN":
        nonlinearity = cast(Literal["tanh", "relu", "sigmoid"], NONLINEARITIES[activations[0]])
        return loaded(
            Elman(weight_ih.shape[1], hidden_size, nonlinearity=nonlinearity), weight_ih, weight_hh, bias_ih + bias_hh
        )
    if node.op == "GRU":
        return gru(
            weight_ih,
            weight_hh,
            bias_ih,
            bias_hh,
            linear_before_reset=node.attributes.get("linear_before_reset", 0) == 1,
        )
    peepholes = node.inputs["P"][which] if "P" in node.inputs else None
    return lstm(weight_ih, weight_hh, bias_ih + bias_hh, peepholes, coupled=node.attributes.get("input_forget", 0) == 1)


def reordered(op: str, rows: Array) -> Array:
    blocks = np.split(rows, len(ORDER[op]))
    return np.concatenate([blocks[gate] for gate in ORDER[op]])


def activations_of(node: Node, which: int) -> list[str]:
    """Of one direction. Raises Inexpressible if no cell has them."""
    default = DEFAULT_ACTIVATIONS[node.op]
    named = node.attributes.get("activations", default * 2)[which * len(default) :][: len(default)]
    if named != default and (node.op != "RNN" or named[0] not in NONLINEARITIES):
        raise Inexpressible(f"activations: no cell of this kind has {', '.join(named)}")
    return cast(list[str], named)


def loaded(cell: C, weight_ih: Array, weight_hh: Array, bias: Array) -> C:
    with torch.no_grad():
        cell.from_input.weight.copy_(torch.tensor(weight_ih))
        cell.from_hidden.weight.copy_(torch.tensor(weight_hh))
        cell.from_input.bias.copy_(torch.tensor(bias))
    return cell


def gru(weight_ih: Array, weight_hh: Array, bias_ih: Array, bias_hh: Array, *, linear_before_reset: bool) -> GRU:
    size, hidden_size = weight_ih.shape[1], weight_hh.shape[1]
    if not linear_before_reset:
        return loaded(GRU(size, hidden_size, reset="before"), weight_ih, weight_hh, bias_ih + bias_hh)
    of_gates, of_candidate = np.split(bias_hh, [2 * hidden_size])
    bias = bias_ih + np.concatenate([of_gates, np.zeros_like(of_candidate)])
    cell = loaded(GRU(size, hidden_size, reset="after"), weight_ih, weight_hh, bias)
    with torch.no_grad():
        cell.candidate_bias.copy_(torch.tensor(of_candidate))
    return cell


def lstm(weight_ih: Array, weight_hh: Array, bias: Array, peepholes: Array | None, *, coupled: bool) -> Cell:
    size, hidden_size = weight_ih.shape[1], weight_hh.shape[1]
    if coupled and peepholes is not None:
        raise Inexpressible("input_forget: the cell with coupled gates has no peepholes")
    if coupled:  # here the operator has f = 1 - i and our cell i = 1 - f, which turns the sign before the sigmoid
        return loaded(CoupledLSTM(size, hidden_size), *(forget_of_input(rows) for rows in (weight_ih, weight_hh, bias)))
    if peepholes is None:
        return loaded(LSTM(size, hidden_size), weight_ih, weight_hh, bias)
    cell = loaded(PeepholeLSTM(size, hidden_size), weight_ih, weight_hh, bias)
    to_input, to_output, to_forget = np.split(peepholes, 3)
    with torch.no_grad():
        cell.from_cell.copy_(torch.tensor(np.concatenate([to_input, to_forget, to_output])))
    return cell


def forget_of_input(rows: Array) -> Array:
    to_input, _, candidate, output = np.split(rows, 4)
    return np.concatenate([-to_input, candidate, output])


# ---- the package's own vectors


@cache
def cases_of_the_package() -> dict[str, Any]:
    """All its test cases with a recurrent operator anywhere in the model, by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # cases of other operators divide by zero on purpose
        nodes = load_model_tests(kind="node")
    found = {case.name: case for case in nodes if case.model and recurrent_operators(case.model.graph)}
    for path in sorted(Path(DATA_DIR).rglob("*.onnx")):
        assert not recurrent_operators(onnx.load(path).graph), f"a stored model with a recurrent operator: {path}"
    return found


def recurrent_operators(graph: Any) -> list[Any]:
    """The nodes of a graph, graphs within it included."""
    found = [node for node in graph.node if node.op_type in OPERATORS]
    inner = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return found + [node for graph in inner for node in recurrent_operators(graph)]


def node_of(case: Any, arrays: Sequence[Array]) -> Node:
    (node,) = case.model.graph.node
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    names = [
        slot.name for slot, given in zip(onnx.defs.get_schema(node.op_type).inputs, node.input, strict=False) if given
    ]
    return Node(
        node.op_type,
        {name: in_words(value) for name, value in attributes.items()},
        dict(zip(names, arrays, strict=True)),
    )


def in_words(value: Any) -> Any:
    if isinstance(value, list):
        return [in_words(part) for part in value]
    return value.decode() if isinstance(value, bytes) else value


def test_every_case_of_the_package_is_run() -> None:
    assert len(CASES) == 18
    assert sorted(cases_of_the_package()) == sorted(CASES)


@pytest.mark.parametrize("name", CASES)
def test_case_of_the_package(name: str) -> None:
    case = cases_of_the_package()[name]
    ((arrays, expected),) = case.data_sets
    outputs = run_on_elman(node_of(case, arrays))
    (node,) = case.model.graph.node
    asked = [slot for slot, given in zip(("Y", "Y_h", "Y_c"), node.output, strict=False) if given]
    assert len(asked) == len(expected) > 0
    for slot, value in zip(asked, expected, strict=True):
        assert_close(outputs[slot], value)


def assert_close(actual: Tensor, expected: Array) -> None:
    torch.testing.assert_close(actual.detach(), torch.tensor(expected), rtol=1e-5, atol=1e-6)


# ---- onnxruntime, on random weights

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "rnn": ("RNN", {}),
    "rnn relu": ("RNN", {"activations": ["Relu"]}),
    "rnn sigmoid": ("RNN", {"activations": ["Sigmoid"]}),
    "lstm": ("LSTM", {}),
    "lstm with peepholes": ("LSTM", {}),
    "lstm with coupled gates": ("LSTM", {"input_forget": 1}),
    "gru, reset before": ("GRU", {}),
    "gru, reset after": ("GRU", {"linear_before_reset": 1}),
}
GIVEN = [(), ("B",), ("sequence_lens",), ("initial_h",), ("B", "sequence_lens", "initial_h")]
BATCH, TIME, FEATURES, HIDDEN = 4, 5, 3, 6


def random_node(variant: str, direction: str, given: tuple[str, ...], **more: Any) -> Node:
    op, attributes = VARIANTS[variant]
    directions, gates = 1 + (direction == "bidirectional"), len(ORDER[op])
    if "activations" in attributes:
        attributes = {**attributes, "activations": attributes["activations"] * directions}
    shapes = {
        "X": (TIME, BATCH, FEATURES),
        "W": (directions, gates * HIDDEN, FEATURES),
        "R": (directions, gates * HIDDEN, HIDDEN),
        "B": (directions, 2 * gates * HIDDEN),
        "initial_h": (directions, BATCH, HIDDEN),
        "initial_c": (directions, BATCH, HIDDEN),
        "P": (directions, 3 * HIDDEN),
    }
    names = {"X", "W", "R", *given}
    if op == "LSTM" and "initial_h" in given:
        names.add("initial_c")
    if variant == "lstm with peepholes":
        names.add("P")
    rng = np.random.default_rng(0)
    inputs = {name: rng.normal(0, 0.7, shape).astype(np.float32) for name, shape in shapes.items() if name in names}
    if "sequence_lens" in given:
        inputs["sequence_lens"] = np.array([TIME, 1, 3, 2], np.int32)
    return Node(op, {"hidden_size": HIDDEN, "direction": direction, **attributes, **more}, inputs)


def run_on_onnxruntime(node: Node) -> dict[str, Array]:
    schema = onnx.defs.get_schema(node.op)
    names = [slot.name if slot.name in node.inputs else "" for slot in schema.inputs]
    outputs = [slot.name for slot in schema.outputs]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(node.op, names, outputs, **node.attributes)],
        "one node",
        [
            onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in node.inputs.items()
        ],
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 22)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(outputs, session.run(None, dict(node.inputs)), strict=True))


def batchwise(node: Node) -> Node:
    """The same with ``layout`` 1, which onnxruntime has not: batch before time, and before directions in a state."""
    swapped = {
        name: array.swapaxes(0, 1) if name in ("X", "initial_h", "initial_c") else array
        for name, array in node.inputs.items()
    }
    return Node(node.op, {**node.attributes, "layout": 1}, swapped)


@pytest.mark.parametrize("given", GIVEN, ids=lambda given: "+".join(given) or "bare")
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_equal_to_onnxruntime(variant: str, direction: str, given: tuple[str, ...]) -> None:
    node = random_node(variant, direction, given)
    expected = run_on_onnxruntime(node)
    outputs, turned = run_on_elman(node), run_on_elman(batchwise(node))
    assert outputs.keys() == expected.keys() == turned.keys()
    for name, value in expected.items():
        assert_close(outputs[name], value)
        # Y (T, D, B, H) is (B, T, D, H) batchwise; Y_h and Y_c (D, B, H) are (B, D, H)
        assert_close(turned[name], value.transpose(2, 0, 1, 3) if name == "Y" else value.swapaxes(0, 1))


def test_each_direction_may_have_its_own_nonlinearity() -> None:
    node = random_node("rnn", "bidirectional", GIVEN[-1], activations=["Relu", "Sigmoid"])
    outputs = run_on_elman(node)
    for name, value in run_on_onnxruntime(node).items():
        assert_close(outputs[name], value)


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_empty_sequence_keeps_its_state_which_onnxruntime_sets_to_zero(variant: str) -> None:
    node = random_node(variant, "bidirectional", GIVEN[-1])
    node.inputs["sequence_lens"][-1] = 0
    outputs, expected = run_on_elman(node), run_on_onnxruntime(node)
    assert_close(outputs["Y"], expected["Y"])
    for name in ("h", "c") if node.op == "LSTM" else ("h",):
        assert_close(outputs[f"Y_{name}"][:, :-1], expected[f"Y_{name}"][:, :-1])
        assert_close(outputs[f"Y_{name}"][:, -1], node.inputs[f"initial_{name}"][:, -1])
        assert not expected[f"Y_{name}"][:, -1].any()


@pytest.mark.parametrize("variant", ["lstm", "gru, reset before", "gru, reset after"])
def test_two_exchanged_gates_are_caught(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    node = random_node(variant, "forward", GIVEN[-1])
    monkeypatch.setitem(ORDER, node.op, [*ORDER[node.op][1::-1], *ORDER[node.op][2:]])
    with pytest.raises(AssertionError, match="not close"):
        assert_close(run_on_elman(node)["Y"], run_on_onnxruntime(node)["Y"])


# ---- what no cell can express


def test_every_attribute_and_input_of_the_operators_is_known() -> None:
    schemas = [onnx.defs.get_schema(op) for op in OPERATORS]
    assert {name for schema in schemas for name in schema.attributes} == HANDLED | REFUSED.keys()
    inputs = {"X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"}
    assert {slot.name for schema in schemas for slot in schema.inputs} == inputs


@pytest.mark.parametrize(
    ("variant", "attributes", "reason"),
    [
        *((variant, {"clip": 0.3}, "clip: no cell bounds") for variant in ("rnn", "lstm", "gru, reset after")),
        ("rnn", {"activations": ["Softsign"]}, "activations: no cell of this kind has Softsign"),
        (
            "rnn",
            {"activations": ["LeakyRelu"], "activation_alpha": [0.1]},
            "activation_alpha: only activations that no cell has read it",
        ),
        (
            "rnn",
            {"activations": ["HardSigmoid"], "activation_alpha": [0.2], "activation_beta": [0.5]},
            "activation_alpha: only activations",
        ),
        ("lstm", {"activations": ["Sigmoid", "Relu", "Tanh"]}, "no cell of this kind has Sigmoid, Relu, Tanh"),
        ("gru, reset after", {"activations": ["Tanh", "Tanh"]}, "no cell of this kind has Tanh, Tanh"),
        ("lstm with peepholes", {"input_forget": 1}, "input_forget: the cell with coupled gates has no peepholes"),
    ],
)
def test_what_no_cell_can_express_is_refused(variant: str, attributes: dict[str, Any], reason: str) -> None:
    node = random_node(variant, "forward", GIVEN[-1], **attributes)
    with pytest.raises(Inexpressible, match=reason):
        run_on_elman(node)
    nearest = run_on_elman(random_node(variant, "forward", GIVEN[-1]))["Y"]
    assert not torch.allclose(nearest, torch.tensor(run_on_onnxruntime(node)["Y"]), atol=1e-2)  # it does matter
