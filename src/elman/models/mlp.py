"""A perceptron on windows of the last inputs."""

from typing import Literal

from torch import Tensor, nn

from elman.errors import ConfigError
from elman.layers.causal_convolution import CausalConvolution
from elman.layers.dense import Dense
from elman.layers.dropout import Dropout
from elman.models.encoder import Encoder, register
from elman.registry import suggest
from elman.state import State

Activation = Literal["relu", "gelu", "none"]
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "none": nn.Identity}


@register("mlp")
class MLP(Encoder):
    """Multilayer perceptron on the last W inputs, the same at every step.

        h_1 = f(W_1 [x_{t-W+1}, ..., x_t] + b_1)            inputs before the first are zero
        h_n = f(W_n h_{n-1} + b_n)                          n = 2 .. layers
        y_t = h_layers

    Source: Rumelhart, Hinton, Williams, "Learning representations by back-propagating errors", 1986,
    doi:10.1038/323533a0; on windows: Lapedes, Farber, "Nonlinear signal processing using neural networks", 1987.
    Differs: computed as a convolution over time, so that neighbouring windows are never copied; rectified units, begun as
    He et al. 2015, arXiv:1502.01852.
    Parameters: W I H + H + (layers - 1) (H H + H).

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: units of each layer, H >= 1.
        layers: hidden layers. dropout: see `Encoder`.
        window: inputs it sees, W.
        activation: f: "relu", "gelu" or "none". With one layer and none, what follows is a plain perceptron on windows.
    Shapes: x (batch, time, I); y (batch, time, H); state (batch, W - 1, I), the last inputs.
    Raises: ConfigError if a size is below 1 or an option is out of range.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        layers: int = 2,
        dropout: float = 0.0,
        window: int = 32,
        activation: Activation = "relu",
    ) -> None:
        super().__init__(input_size, hidden_size, layers=layers, dropout=dropout)
        if activation not in ACTIVATIONS:
            raise ConfigError(f"there is no activation {activation!r}; {suggest(activation, ACTIVATIONS)}")
        self.reach = window
        self.window = CausalConvolution(input_size, hidden_size, window)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(Dense(hidden_size, hidden_size) for _ in range(layers - 1))
        for linear in [self.window.convolution, *self.layers]:
            nn.init.kaiming_normal_(linear.weight, nonlinearity="linear" if activation == "none" else "relu")
            nn.init.zeros_(linear.bias)

    def initial_state(self, batch_size: int) -> State:
        return self.window.initial_state(batch_size)

    def encode(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        x, state = self.window(x, state, lengths)
        x = self.activation(x)
        for layer in self.layers:
            x = self.activation(layer(self.dropout(x)))
        return x, state
