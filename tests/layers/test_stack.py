import pytest
import torch
from torch import nn

from elman.cells import GRU, LSTM
from elman.errors import ConfigError
from elman.layers import Bidirectional, PerStep, Recurrent, Stack


def linear(inputs: int, outputs: int, value: float) -> PerStep:
    module = nn.Linear(inputs, outputs, bias=False)
    nn.init.constant_(module.weight, value)
    return PerStep(module)


def test_layers_follow_on_each_other() -> None:
    torch.manual_seed(0)
    first, second = Recurrent(LSTM(2, 3)), Recurrent(GRU(3, 4))
    x, lengths = torch.randn(3, 5, 2), torch.tensor([5, 2, 0])
    y, state = Stack([first, second])(x, None, lengths)
    below, below_state = first(x, None, lengths)
    expected, above_state = second(below, None, lengths)
    assert torch.equal(y, expected)
    assert torch.equal(state[0].cell, below_state.cell)
    assert torch.equal(state[1], above_state)


def test_residual_adds_the_input_where_sizes_match() -> None:
    x = torch.ones(1, 1, 2)
    y, _ = Stack([linear(2, 2, 0.5), linear(2, 3, 1.0), linear(3, 3, 1.0)], connections="residual")(x)
    # 1 + (0.5 + 0.5) = 2; then 2 + 2 = 4, without the residual as 2 != 3; then 4 + 12
    assert y.tolist() == [[[16.0, 16.0, 16.0]]]


def test_norm_before_leaves_the_residual_path_alone_and_norm_after_does_not() -> None:
    x = torch.tensor([[[3.0, 5.0]]])
    normed = torch.tensor([[[-1.0, 1.0]]])
    identity = linear(2, 2, 0.0)
    with torch.no_grad():
        identity.module.weight.copy_(torch.eye(2))  # type: ignore[operator]
    before, _ = Stack([identity], connections="residual", layer_norm="before")(x)
    after, _ = Stack([identity], connections="residual", layer_norm="after")(x)
    torch.testing.assert_close(before, x + normed, rtol=0, atol=1e-4)
    torch.testing.assert_close(after, normed, rtol=0, atol=1e-4)


def test_dropout_is_between_layers_only_and_in_training_only() -> None:
    torch.manual_seed(0)
    x = torch.ones(4, 50, 1)
    single = Stack([linear(1, 20, 1.0)], dropout=0.5)
    assert torch.equal(single(x)[0], torch.ones(4, 50, 20))
    double = Stack([linear(1, 20, 1.0), linear(20, 20, 1 / 20)], dropout=0.5)
    y, _ = double(x)
    assert y.std() > 0.1
    assert abs(float(y.mean().detach()) - 1) < 0.1
    torch.testing.assert_close(double.eval()(x)[0], torch.ones(4, 50, 20))


def test_dropout_spares_the_residual_path() -> None:
    stack = Stack([linear(4, 4, 0.0), linear(4, 4, 0.0)], connections="residual", dropout=0.9)
    x = torch.randn(2, 3, 4)
    assert torch.equal(stack(x)[0], x)


def gate(stack: Stack, level: int) -> nn.Linear:
    found = stack.gates[str(level)]
    assert isinstance(found, nn.Linear)
    return found


def test_a_highway_gate_divides_between_what_a_layer_reads_and_what_it_gives() -> None:
    torch.manual_seed(0)
    layer = Recurrent(GRU(3, 3))
    stack = Stack([linear(2, 3, 0.7), layer], connections="highway")
    assert list(stack.gates) == ["1"]  # sizes differ in the first
    x, lengths = torch.randn(2, 4, 2), torch.tensor([4, 2])
    below = (0.7 * x.sum(-1, keepdim=True).expand(2, 4, 3)) * (torch.arange(4) < lengths[:, None])[..., None]
    y, _ = layer(below, None, lengths)
    weight, bias = gate(stack, 1).weight, gate(stack, 1).bias
    transform = 1 / (1 + torch.exp(-(below @ weight.T + bias)))
    torch.testing.assert_close(stack(x, None, lengths)[0], transform * y + (1 - transform) * below)


def test_a_highway_carries_at_first_and_its_gate_can_be_shut_and_open() -> None:
    x = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    stack = Stack([linear(4, 4, 3.0)], connections="highway")
    assert torch.equal(gate(stack, 0).bias, torch.full((4,), -1.0))
    nn.init.constant_(gate(stack, 0).bias, -1e4)
    assert torch.equal(stack(x)[0], x)
    nn.init.constant_(gate(stack, 0).bias, 1e4)
    assert torch.equal(stack(x)[0], linear(4, 4, 3.0)(x)[0])


def test_a_dense_layer_reads_the_input_and_all_layers_below() -> None:
    torch.manual_seed(0)
    layers = [Recurrent(LSTM(2, 3)), Recurrent(GRU(5, 4)), linear(9, 1, 1.0)]
    x, lengths = torch.randn(3, 5, 2), torch.tensor([5, 2, 0])
    first, _ = layers[0](x, None, lengths)
    second, _ = layers[1](torch.cat([x, first], -1), None, lengths)
    real = torch.arange(5) < lengths[:, None]
    expected = (x.sum(-1) + first.sum(-1) + second.sum(-1)) * real
    stack = Stack(layers, connections="dense")
    torch.testing.assert_close(stack(x, None, lengths)[0], expected[..., None])
    assert stack.output_size == 1


def test_causal_if_all_layers_are() -> None:
    assert Stack([Recurrent(GRU(2, 2)), Recurrent(GRU(2, 2))]).causal
    both = Bidirectional(Recurrent(GRU(2, 2)), Recurrent(GRU(2, 2), direction="backward"))
    assert not Stack([both, Recurrent(GRU(4, 2))]).causal


def test_every_layer_needs_its_state() -> None:
    stack = Stack([Recurrent(GRU(2, 2)), Recurrent(GRU(2, 2))])
    with pytest.raises(ValueError, match="shorter"):
        stack(torch.zeros(1, 3, 2), stack.initial_state(1)[:1])


def test_wrong_settings_are_refused() -> None:
    layer = linear(2, 3, 1.0)
    with pytest.raises(ConfigError, match="expected one layer or more"):
        Stack([])
    with pytest.raises(ConfigError, match="layer 1 reads 2 features, but layer 0 gives 3"):
        Stack([layer, layer])
    with pytest.raises(ConfigError, match=r"layer 1 reads 2 features, but layer 0, with all .* gives 5"):
        Stack([layer, layer], connections="dense")
    with pytest.raises(ConfigError, match="expected `connections` among none, residual, highway, dense; got 'skip'"):
        Stack([layer], connections="skip")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"expected a probability of dropout in 0\.\.1 without 1, got 1.0"):
        Stack([layer], dropout=1.0)
    with pytest.raises(ConfigError, match="expected `layer_norm` 'none', 'before' or 'after', got 'pre'"):
        Stack([layer], layer_norm="pre")  # type: ignore[arg-type]
