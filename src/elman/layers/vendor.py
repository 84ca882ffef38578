"""A cell that is exactly torch's, on torch's own kernel."""

import torch
from torch import Tensor

from elman.cells.cell import VendorWeights
from elman.cells.padding import real_steps, zero_padding
from elman.cells.scan import final
from elman.state import State, leaves, unflatten

# Added to a gate before its sigmoid, it gives exactly 0 or 1 in every float type, with a gradient of exactly 0.
SATURATED = 1e4


def run_vendor(weights: VendorWeights, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
    """Run it over time: see `elman.cells.scan.loop` for x, the state, the lengths and the result.

    Packed sequences would take several times as long as their padding, so the padding is computed, without effect.
    """
    if x.shape[0] == 0 or x.shape[1] == 0:  # which torch's kernels refuse
        return x.new_zeros(*x.shape[:2], weights.weight_hh.shape[1]), state
    weight_ih = weights.weight_ih
    if lengths is not None:
        hold = _hold(weights)
        if hold is not None:
            padding = ~real_steps(lengths, x.shape[1])
            x = torch.cat([x, padding[..., None].to(x.dtype)], dim=-1)
            weight_ih = torch.cat([weight_ih, hold[:, None]], dim=1)
    parameters = [weight_ih, weights.weight_hh, weights.bias_ih, weights.bias_hh]
    given = list(leaves(state))
    count = 2 if weights.kind == "lstm" else 1
    masks = given[count:]  # of a wrapper, from training: in evaluation they do nothing, and stay
    first = [leaf[None].contiguous() for leaf in given[:count]]
    y, last = _call_kernel(weights.kind, x, first, parameters)
    if lengths is None:
        return y, unflatten(state, iter([*last, *masks]))
    hidden = final(y, first[0][0], lengths)
    return zero_padding(y, lengths), unflatten(state, iter([hidden, *last[1:], *masks]))


def _hold(weights: VendorWeights) -> Tensor | None:
    """The weight (gates*H,) of an input that is 1 on padding and keeps the state from moving there.

    An LSTM's forget gate becomes 1 and its input gate 0, so that its final cell is the one after the last real step. A
    relu network is switched off, since it could grow to infinity over the padding. The others are bounded: they may run
    on, for their final state is read from the outputs.
    """
    signs = {"lstm": (-1.0, 1.0, 0.0, 0.0), "rnn_relu": (-1.0,)}.get(weights.kind)
    if signs is None:
        return None
    bias = weights.bias_ih
    return bias.new_tensor(signs).mul(SATURATED).repeat_interleave(len(bias) // len(signs))


def _call_kernel(kind: str, x: Tensor, first: list[Tensor], parameters: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    # The kernels' `train` is about keeping what the backward pass needs; without dropout it changes no value.
    keep = torch.is_grad_enabled()
    if kind == "lstm":
        y, hidden, cell = torch.lstm(x, first, parameters, True, 1, 0.0, keep, False, True)
        return y, [hidden[0], cell[0]]
    kernel = {"gru": torch.gru, "rnn_tanh": torch.rnn_tanh, "rnn_relu": torch.rnn_relu}[kind]
    y, hidden = kernel(x, first[0], parameters, True, 1, 0.0, keep, False, True)
    return y, [hidden[0]]
