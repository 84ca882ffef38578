"""A causal transformer with a sliding window of attention."""

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elman.errors import ConfigError
from elman.layers.dense import Dense
from elman.layers.dropout import Dropout
from elman.layers.history import extend
from elman.models.encoder import Encoder, check_positive, register
from elman.registry import suggest
from elman.state import State

FeedForwardKind = Literal["gelu", "swiglu"]
FEED_FORWARDS = ("gelu", "swiglu")
SLOWEST = 10_000.0
"""Rotary positions: the pairs of features turn by 1 to nearly 1 / SLOWEST radians a step."""


class Memory(NamedTuple):
    """Keys and values of the last W - 1 steps in one block, (batch, W - 1, H) each, not rotated."""

    keys: Tensor
    values: Tensor


class TransformerState(NamedTuple):
    """``seen``: how many of the remembered steps there really were, integers (batch,) in 0..W-1; a `Memory` per block."""

    seen: Tensor
    memories: tuple[Memory, ...]


class Windows(NamedTuple):
    """How a chunk is cut into blocks of queries; each attends to its own steps and to the W - 1 before.

    ``mask`` (batch * blocks, 1, size, W - 1 + size): True where a query may look; ``angles`` (W - 1 + size, d / 2), by place
    in the block.
    """

    size: int
    mask: Tensor
    angles: Tensor


@register("transformer")
class Transformer(Encoder):
    """Causal transformer: every step looks at the last W steps, its own included, in each of its blocks.

        r = W x_t + b                                       then, for each block:
        q, k, v = W_qkv LayerNorm(r) + b_qkv                in heads of d = H / heads features
        w_s = softmax_s(R_t q_t . R_s k_s / sqrt(d))        s = t - W + 1 .. t, where there was such a step
        r = r + W_o sum_s w_s v_s + b_o                     R_t turns feature pair i by t 10000^(-2 i / d)
        r = r + W_2 gelu(W_1 LayerNorm(r) + b_1) + b_2      4 H units; swiglu: W_2 (silu(W_1 n + b_1) * (W_3 n + b_3)), 8/3 H
        y_t = LayerNorm(r)

    Source: Vaswani et al., "Attention Is All You Need", 2017, arXiv:1706.03762; norm before: Xiong et al., "On Layer
    Normalization in the Transformer Architecture", 2020, arXiv:2002.04745; positions: Su et al., "RoFormer: Enhanced
    Transformer with Rotary Position Embedding", 2021, arXiv:2104.09864, eq. 15; window: Beltagy et al., "Longformer", 2020,
    arXiv:2004.05150; SwiGLU: Shazeer, "GLU Variants Improve Transformer", 2020, arXiv:2002.05202.
    Differs: a pair is features i and i + d / 2 of a head, not two neighbours; the last of an odd number is not turned. Keys
    are kept as they are and turned by their place in the window where they are used: only distances count, and an endless
    stream loses no precision.
    Parameters: I H + H + layers (12 H H + 13 H) + 2 H with gelu.

    Args:
        input_size: features per time step, I >= 1.
        hidden_size: features between blocks, H >= 1.
        layers: blocks. dropout: see `Encoder`; of what a block adds.
        heads: a divisor of H; 0: the one next to H / 32.
        window: steps that a step looks at, W. An output depends on 1 + layers (W - 1) steps.
        feed_forward: "gelu" or "swiglu".
    Shapes: x (batch, time, I); y (batch, time, H); state: `TransformerState`. Training takes memory of order time * W at most.
    Second derivatives exist where torch has them: call it inside ``torch.nn.attention.sdpa_kernel(SDPBackend.MATH)``.
    Raises: ConfigError if a size is below 1 or an option is out of range.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        layers: int = 2,
        dropout: float = 0.0,
        heads: int = 0,
        window: int = 128,
        feed_forward: FeedForwardKind = "gelu",
    ) -> None:
        super().__init__(input_size, hidden_size, layers=layers, dropout=dropout)
        check_positive(window=window)
        if feed_forward not in FEED_FORWARDS:
            raise ConfigError(
                f"there is no feed-forward layer {feed_forward!r}; {suggest(feed_forward, FEED_FORWARDS)}"
            )
        self.reach = 1 + layers * (window - 1)
        self.window = window
        self.heads = _heads(heads, hidden_size)
        self.read = Dense(input_size, hidden_size)
        self.blocks = nn.ModuleList(
            TransformerBlock(hidden_size, self.heads, feed_forward, dropout, layers) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(hidden_size)
        nn.init.xavier_normal_(self.read.weight)
        nn.init.zeros_(self.read.bias)

    def initial_state(self, batch_size: int) -> TransformerState:
        nothing = self.read.bias.new_zeros(batch_size, self.window - 1, self.output_size)
        seen = torch.zeros(batch_size, dtype=torch.long, device=nothing.device)
        return TransformerState(seen, tuple(Memory(nothing, nothing.clone()) for _ in self.blocks))

    def encode(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        seen, memories = state
        assert isinstance(seen, Tensor)
        windows = self._windows(seen, x.shape[1])
        x, after = self.read(x), []
        for block, memory in zip(self.blocks, memories, strict=True):
            x, memory = block(x, memory, windows, lengths)
            after.append(memory)
        seen = (seen + (x.shape[1] if lengths is None else lengths)).clamp(max=self.window - 1)
        return self.norm(x), TransformerState(seen, tuple(after))

    def _windows(self, seen: Tensor, time: int) -> Windows:
        before = self.window - 1
        count = math.ceil(time / self.window)
        size = math.ceil(time / count)
        query = torch.arange(size, device=seen.device)[:, None]
        key = torch.arange(before + size, device=seen.device)
        near = (query <= key) & (key <= query + before)
        place = key + size * torch.arange(count, device=seen.device)[:, None]  # among past and chunk, (count, keys)
        real = place >= before - seen[:, None, None]
        mask = (near & real[:, :, None]).flatten(0, 1)[:, None]
        pairs = self.output_size // self.heads // 2
        pace = SLOWEST ** -(torch.arange(pairs, device=seen.device, dtype=torch.double) / max(1, pairs))
        return Windows(size, mask, key[:, None] * pace)


class TransformerBlock(nn.Module):
    """Attention, then a feed-forward layer, each with a norm before it and a way around."""

    def __init__(self, size: int, heads: int, feed_forward: FeedForwardKind, dropout: float, layers: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.project = Dense(size, 3 * size)
        self.mix = Dense(size, size)
        self.feed_forward = TransformerFeedForward(size, feed_forward)
        self.dropout = Dropout(dropout)
        for block in self.project.weight.chunk(3):
            nn.init.xavier_normal_(block)
        # What 2 `layers` of them add together then has the size of what one would.
        nn.init.xavier_normal_(self.mix.weight, gain=1 / math.sqrt(2 * layers))
        self.feed_forward.down.weight.data.div_(math.sqrt(2 * layers))
        nn.init.zeros_(self.project.bias)
        nn.init.zeros_(self.mix.bias)

    def forward(self, x: Tensor, memory: Memory, windows: Windows, lengths: Tensor | None) -> tuple[Tensor, Memory]:
        queries, keys, values = self.project(self.attention_norm(x)).chunk(3, -1)
        keys, past_keys = extend(keys, memory.keys, lengths)
        values, past_values = extend(values, memory.values, lengths)
        attended = attend(queries, keys, values, windows, self.heads)
        x = x + self.dropout(self.mix(attended))
        x = x + self.dropout(self.feed_forward(self.norm(x)))
        return x, Memory(past_keys, past_values)


class TransformerFeedForward(nn.Module):
    """One hidden layer at every step by itself: GELU with 4 H units, or SwiGLU with 8/3 H, which has as many weights."""

    def __init__(self, size: int, kind: FeedForwardKind) -> None:
        super().__init__()
        self.gated = kind == "swiglu"
        units = math.ceil(8 * size / 3) if self.gated else 4 * size
        self.up = Dense(size, 2 * units if self.gated else units)
        self.down = Dense(units, size)
        for block in self.up.weight.chunk(1 + self.gated):
            nn.init.kaiming_normal_(block, nonlinearity="relu")
        nn.init.kaiming_normal_(self.down.weight, nonlinearity="linear")
        nn.init.zeros_(self.up.bias)
        nn.init.zeros_(self.down.bias)

    def forward(self, x: Tensor) -> Tensor:
        up = self.up(x)
        if self.gated:
            opened, through = up.chunk(2, -1)
            hidden = F.silu(opened) * through
        else:
            hidden = F.gelu(up)
        y: Tensor = self.down(hidden)
        return y


def attend(queries: Tensor, keys: Tensor, values: Tensor, windows: Windows, heads: int) -> Tensor:
    """Attention within windows: queries (batch, time, H), keys and values (batch, W - 1 + time, H) -> (batch, time, H)."""
    batch, time, features = queries.shape
    before, size = keys.shape[1] - time, windows.size
    missing = -time % size
    count = batch * ((time + missing) // size)  # of blocks; never -1 in a shape, which a batch without rows leaves open

    def cut(joined: Tensor) -> Tensor:
        """(batch, W - 1 + time, H) -> (batch * blocks, heads, W - 1 + size, d), blocks overlapping."""
        blocks = F.pad(joined, (0, 0, 0, missing)).unfold(1, before + size, size)
        return blocks.reshape(count, heads, features // heads, before + size).mT

    asked = F.pad(queries, (0, 0, 0, missing)).reshape(count, size, heads, features // heads).transpose(1, 2)
    asked, offered = rotate(asked, windows.angles[before:]), rotate(cut(keys), windows.angles)
    attended = F.scaled_dot_product_attention(asked, offered, cut(values), windows.mask)
    return attended.transpose(1, 2).reshape(batch, time + missing, features)[:, :time]


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turn feature pairs (i, i + d / 2) of x (..., time, d) by angles (time, d / 2)."""
    cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    pairs = angles.shape[-1]
    first, second, rest = x.tensor_split([pairs, 2 * pairs], -1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine, rest], -1)


def _heads(heads: int, size: int) -> int:
    """Raises ConfigError if they do not divide the size."""
    divisors = [number for number in range(1, size + 1) if size % number == 0]
    if heads == 0:
        return min(divisors, key=lambda number: abs(number - size / 32))
    if heads not in divisors:
        raise ConfigError(f"expected `heads` that divide {size} features ({divisors}), or 0 to choose; got {heads}")
    return heads
