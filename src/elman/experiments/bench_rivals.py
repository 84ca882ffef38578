"""What else trains a recurrence on this machine: torch.nn, and JAX's lax.scan where JAX is installed."""

import importlib
import importlib.util
import os
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from elman.experiments.bench_timing import Call, Shape, training_call

TORCH = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
"""By the first word of the kind of `elman.cells.VendorWeights`."""


def torch_module(kind: str, shape: Shape) -> nn.RNNBase:
    """torch's module of that kind, batch first."""
    module: nn.RNNBase = TORCH[kind](shape.inputs, shape.hidden, num_layers=shape.layers, batch_first=True)
    return module


def torch_call(module: nn.RNNBase, x: Tensor, slope: Tensor) -> Call:
    return training_call(module, lambda: module(x)[0], slope)


def has_jax() -> bool:
    return importlib.util.find_spec("jax") is not None


def _jax() -> Any:
    """Imported on first use, on the CPU: it is no dependency."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    return importlib.import_module("jax")


def scan_call(module: nn.RNNBase, x: Tensor, slope: Tensor) -> Callable[[], list[Any]]:
    """The same network with the same weights, compiled by JAX around lax.scan; call it for the gradients of the weights.

    On the CPU, time first, as lax.scan reads it, inputs multiplied for all steps at once: the form that is fastest there.
    The gradients come in the order of ``module.parameters()``, transposed.
    """
    jax = _jax()
    parameters = [jax.numpy.asarray(parameter.detach().numpy().T) for parameter in module.parameters()]
    inputs, slopes = (jax.numpy.asarray(tensor.transpose(0, 1).contiguous().numpy()) for tensor in (x, slope))
    step = {"LSTM": _lstm_step, "GRU": _gru_step, "RNN_TANH": _elman_step}[module.mode]

    def loss(parameters: Sequence[Any], values: Any) -> Any:
        for layer in range(module.num_layers):
            values = _scan(step, parameters[4 * layer : 4 * layer + 4], values)
        return (values * slopes).sum()

    compiled = jax.jit(jax.grad(loss))

    def call() -> list[Any]:
        gradients: list[Any] = jax.block_until_ready(compiled(parameters, inputs))
        return gradients

    return call


def _scan(step: Callable[..., Any], weights: Sequence[Any], inputs: Any) -> Any:
    """One layer over (time, batch, features)."""
    jax = _jax()
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    hidden = weight_hh.shape[0]
    zeros = jax.numpy.zeros((inputs.shape[1], hidden), inputs.dtype)

    def one(state: Any, projected: Any) -> Any:
        state = step(projected, state[0] @ weight_hh + bias_hh, state)
        return state, state[0]

    return jax.lax.scan(one, (zeros, zeros), inputs @ weight_ih + bias_ih)[1]


def _lstm_step(x: Any, h: Any, state: Any) -> Any:
    jax = _jax()
    write, keep, candidate, show = jax.numpy.split(x + h, 4, -1)
    memory = jax.nn.sigmoid(keep) * state[1] + jax.nn.sigmoid(write) * jax.numpy.tanh(candidate)
    return jax.nn.sigmoid(show) * jax.numpy.tanh(memory), memory


def _gru_step(x: Any, h: Any, state: Any) -> Any:
    jax = _jax()
    (x_reset, x_update, x_new), (h_reset, h_update, h_new) = (jax.numpy.split(part, 3, -1) for part in (x, h))
    update = jax.nn.sigmoid(x_update + h_update)
    candidate = jax.numpy.tanh(x_new + jax.nn.sigmoid(x_reset + h_reset) * h_new)
    return update * state[0] + (1 - update) * candidate, state[1]


def _elman_step(x: Any, h: Any, state: Any) -> Any:
    jax = _jax()
    return jax.numpy.tanh(x + h), state[1]
