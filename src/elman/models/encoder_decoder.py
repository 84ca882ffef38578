"""The encoder-decoder: a whole source sequence in, a target sequence of another length out."""

from typing import Any, ClassVar, NamedTuple

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from elman.cells.masks import keep_mask
from elman.cells.padding import check_lengths, zero_padding
from elman.errors import ConfigError, UsageError
from elman.layers import SequenceLayer, Stack, at_end
from elman.layers.attention import Attention, Memory, Place, Score
from elman.layers.dense import Dense
from elman.layers.dropout import Dropout
from elman.layers.pyramid import Pyramid
from elman.models.build import EncoderConfig, build_encoder
from elman.models.model import Model, Tensors, register
from elman.state import State

RESIDUAL_FROM = 2  # the third layer, counted from 0: the first two change the size of what they read


class DecoderState(NamedTuple):
    """What the decoder carries; batch first, as every state.

    memory: the encoded source, the same at every step. layers: the states of the decoder's layers. position (batch,): target
    steps so far. context (batch, M): what was attended to in the last step, with input feeding; else ().
    """

    memory: Memory
    layers: tuple[State, ...]
    position: Tensor
    context: State


class SourceEncoder(nn.Module):
    """Embedding, a bidirectional layer, further layers forward in time, residual from the third on; then a pyramid, if any.

    Shapes: source (batch, S) integers; lengths (batch,). Returns the memory (batch, S', M) and its lengths.
    """

    def __init__(
        self, config: EncoderConfig, vocabulary_size: int, embedding_size: int, pyramid: int, dropout: float
    ) -> None:
        super().__init__()
        self.embedding = _embedding(vocabulary_size, embedding_size)
        self.dropout = Dropout(dropout)
        layers = [_layer(config, embedding_size, bidirectional=True)]
        while len(layers) < (config.layers or 1):
            layers.append(_layer(config, layers[-1].output_size))
        above = layers[RESIDUAL_FROM:]
        if above:
            layers[RESIDUAL_FROM:] = [Stack(above, connections="residual", dropout=config.dropout)]
        self.layers = Stack(layers, dropout=config.dropout)
        levels: list[SequenceLayer] = []
        self.output_size = self.layers.output_size
        for _ in range(pyramid):
            levels.append(_layer(config, 2 * self.output_size, bidirectional=True))
            self.output_size = levels[-1].output_size
        self.pyramid = Pyramid(levels) if levels else None

    def forward(self, source: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        embedded = self.dropout(self.embedding(zero_padding(source, check_lengths(lengths, source))))
        memory, _ = self.layers(embedded, None, lengths)
        return (memory, lengths) if self.pyramid is None else self.pyramid(memory, lengths)


@register("encoder_decoder")
class EncoderDecoder(Model):
    """A source encoder, and a decoder that attends to it at every step.

        m = encoder(source)                                        the memory
        h1_t = layer_1(E y_{t-1}, or with input feeding [E y_{t-1}; c_{t-1}])
        c_t = attention(h1_t, m)
        hn_t = layer_n([h(n-1)_t; c_t])                            + h(n-1)_t from the third layer on
        o_t = tanh(W [hN_t; c_t])                                  features; the head is linear in them

    Source: Wu et al., "Google's Neural Machine Translation System", 2016, arXiv:1609.08144, section 3: a bidirectional first layer,
    residuals, attention fed to all layers above the first; o_t and input feeding: Luong, Pham, Manning, 2015, arXiv:1508.04025,
    eq. 5 and section 3.3; scheduled sampling: Bengio et al., "Scheduled Sampling for Sequence Prediction with Recurrent Neural
    Networks", 2015, arXiv:1506.03099; the pyramid: see `elman.layers.pyramid.Pyramid`.
    Differs: attention is asked by the first layer's output of this step, not of the one before, so that without input feeding a
    target that is known runs layer by layer, each over all steps at once. A decoder layer begins with a step that reads a linear
    map of both ends of the memory, which fits the state of any cell. The scheduled prediction is the likeliest symbol.

    Args:
        encoder: as a mapping of `EncoderConfig`'s fields, but for those that the shape above decides.
        source_vocabulary_size, target_vocabulary_size: symbols, >= 1.
        embedding_size: features of an embedded symbol and of o_t, E.
        decoder: as `encoder`; None: the same.
        score, place, window: see `elman.layers.attention.Attention`.
        input_feeding: the first layer reads the last step's context too; training then goes step by step, and is slower.
        pyramid: levels that halve the source's steps, >= 0.
        tied: the head uses the target embedding's weights.
        dropout: of embedded symbols and of what o_t is made of; `EncoderConfig.dropout` is the one between layers.
        sampling: probability that the decoder reads its own prediction in place of a true symbol, in training. It is an
            attribute, to be raised as training goes on. The first symbol of a call is always the true one.

    Shapes: context["source"] (batch, S) integers and, if there is padding, context["source_lengths"] (batch,); inputs["symbols"]
    (batch, time) integers, the symbols before those to be predicted; outputs (batch, time, V) logits of the symbol that follows.
    Causal: its output is streamed, the source being known before the first step.
    Raises: ConfigError if an option is out of range or decided by the shape; UsageError at `begin` without a source.
    """

    kind: ClassVar[str] = "encoder_decoder"

    def __init__(
        self,
        encoder: dict[str, Any],
        source_vocabulary_size: int,
        target_vocabulary_size: int,
        embedding_size: int,
        *,
        decoder: dict[str, Any] | None = None,
        score: Score = "additive",
        place: Place = "global",
        window: int = 10,
        input_feeding: bool = False,
        pyramid: int = 0,
        tied: bool = False,
        dropout: float = 0.0,
        sampling: float = 0.0,
    ) -> None:
        super().__init__()
        decoder = encoder if decoder is None else decoder
        self._config = {
            "encoder": encoder,
            "source_vocabulary_size": source_vocabulary_size,
            "target_vocabulary_size": target_vocabulary_size,
            "embedding_size": embedding_size,
            "decoder": decoder,
            "score": score,
            "place": place,
            "window": window,
            "input_feeding": input_feeding,
            "pyramid": pyramid,
            "tied": tied,
            "dropout": dropout,
            "sampling": sampling,
        }
        _check_sizes(source_vocabulary_size, target_vocabulary_size, embedding_size)
        if pyramid < 0 or not 0 <= sampling <= 1:
            raise ConfigError(f"expected `pyramid` >= 0 and `sampling` in 0..1, got {pyramid} and {sampling}")
        below, above = _checked(encoder, "encoder"), _checked(decoder, "decoder")
        self.input_feeding = input_feeding
        self.sampling = sampling
        self.source = SourceEncoder(below, source_vocabulary_size, embedding_size, pyramid, dropout)
        memory_size = self.source.output_size
        self.embedding = _embedding(target_vocabulary_size, embedding_size)
        self.dropout = Dropout(dropout)
        self.between = Dropout(above.dropout)
        layers = [_layer(above, embedding_size + (memory_size if input_feeding else 0))]
        while len(layers) < (above.layers or 1):
            layers.append(_layer(above, layers[-1].output_size + memory_size))
        self.layers = nn.ModuleList(layers)
        self.bridges = nn.ModuleList(Dense(2 * memory_size, layer.input_size) for layer in layers)
        self.attention = Attention(score, layers[0].output_size, memory_size, place=place, window=window)
        self.combine = Dense(layers[-1].output_size + memory_size, embedding_size)
        self.output = Dense(embedding_size, target_vocabulary_size)
        nn.init.zeros_(self.output.bias)
        if tied:
            self.output.weight = self.embedding.weight

    def begin(self, context: Tensors, batch_size: int) -> DecoderState:
        source = context.get("source")
        if source is None or source.ndim != 2 or len(source) != batch_size:
            came = "none" if source is None else str(tuple(source.shape))
            raise UsageError(
                f'expected the context "source" as symbols (batch, steps), batch = {batch_size}; got {came}'
            )
        memory = self.attention.remember(*self.source(source, context.get("source_lengths")))
        ends = torch.cat(
            [at_end(memory.values, reach) for reach in (memory.lengths, memory.lengths.clamp(max=1))], dim=-1
        )
        layers = tuple(layer(bridge(ends)[:, None])[1] for layer, bridge in zip(self.layers, self.bridges, strict=True))
        nothing = memory.values.new_zeros(batch_size, memory.values.shape[-1])
        return DecoderState(memory, layers, torch.zeros_like(memory.lengths), nothing if self.input_feeding else ())

    def forward(self, inputs: Tensors, state: State, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        features, _, state = self._run(inputs, state, lengths)
        return features, state

    def alignments(self, inputs: Tensors, state: State, lengths: Tensor | None = None) -> Tensor:
        """The weights of attention (batch, time, S'): which steps of the memory each target step looked at; zero in the padding."""
        _, weights, _ = self._run(inputs, state, lengths)
        return zero_padding(weights, check_lengths(lengths, weights))

    def head(self, features: Tensor) -> Tensor:
        logits: Tensor = self.output(features)
        return logits

    def config(self) -> dict[str, Any]:
        return {"kind": self.kind, **self._config}

    def _run(self, inputs: Tensors, state: State, lengths: Tensor | None) -> tuple[Tensor, Tensor, DecoderState]:
        """Features, weights of attention, state."""
        assert isinstance(state, DecoderState)
        lengths = check_lengths(lengths, inputs["symbols"])
        symbols = zero_padding(inputs["symbols"], lengths)
        samples = self.training and self.sampling > 0
        if symbols.shape[1] > 1 and (samples or self.input_feeding):
            return self._step_by_step(symbols, state, lengths, self.sampling if samples else 0.0)
        return self._decode(symbols, state, lengths)

    def _step_by_step(
        self, symbols: Tensor, state: DecoderState, lengths: Tensor | None, sampling: float
    ) -> tuple[Tensor, Tensor, DecoderState]:
        features: list[Tensor] = []
        weights: list[Tensor] = []
        for t in range(symbols.shape[1]):
            read = symbols[:, t : t + 1]
            if sampling and features:
                own = keep_mask(features[-1][:, :, 0], 1 - sampling).bool()
                read = self.head(features[-1]).argmax(-1).where(own, read)
            real = None if lengths is None else (lengths > t).long()
            feature, weight, state = self._decode(read, state, real)
            features.append(feature)
            weights.append(weight)
        return torch.cat(features, dim=1), torch.cat(weights, dim=1), state

    def _decode(
        self, symbols: Tensor, state: DecoderState, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor, DecoderState]:
        """All steps at once; with input feeding there must be one at most."""
        read = self.dropout(self.embedding(symbols))
        if isinstance(state.context, Tensor):
            read = torch.cat([read, state.context[:, None].expand(-1, read.shape[1], -1)], dim=-1)
        y, after = self.layers[0](read, state.layers[0], lengths)
        context, weights = self.attention.attend(y, state.memory, state.position)
        states = [after]
        for level, layer in enumerate(self.layers[1:], start=1):
            above, after = layer(self.between(torch.cat([y, context], dim=-1)), state.layers[level], lengths)
            y = y + above if level >= RESIDUAL_FROM and y.shape == above.shape else above
            states.append(after)
        features = torch.tanh(self.combine(self.dropout(torch.cat([y, context], dim=-1))))
        position = state.position + (symbols.shape[1] if lengths is None else lengths)
        fed = _last(context, state.context, lengths)
        return zero_padding(features, lengths), weights, DecoderState(state.memory, tuple(states), position, fed)


def _last(context: Tensor, before: State, lengths: Tensor | None) -> State:
    """The context of the one step there is; what was ``before`` where there is none, () where it is not fed."""
    if not isinstance(before, Tensor) or context.shape[1] == 0:
        return before
    return context[:, 0] if lengths is None else context[:, 0].where((lengths > 0)[:, None], before)


def _layer(config: EncoderConfig, input_size: int, *, bidirectional: bool = False) -> SequenceLayer:
    """One layer of ``config``."""
    one = config.model_copy(update={"layers": 1, "dropout": 0.0, "bidirectional": bidirectional})
    return build_encoder(one, input_size)


def _embedding(vocabulary_size: int, size: int) -> nn.Embedding:
    embedding = nn.Embedding(vocabulary_size, size)
    nn.init.uniform_(embedding.weight, -0.1, 0.1)
    return embedding


def _check_sizes(*sizes: int) -> None:
    if min(sizes) < 1:
        raise ConfigError(f"expected vocabularies and an embedding of sizes >= 1, got {', '.join(map(str, sizes))}")


def _checked(values: dict[str, Any], part: str) -> EncoderConfig:
    """Raises ConfigError for a setting that is unknown, out of range, or decided by the shape of the model."""
    try:
        config = EncoderConfig(**values)
    except ValidationError as error:
        problem = error.errors()[0]
        setting = ".".join(map(str, problem["loc"]))
        raise ConfigError(f"{part}, {setting!r}: {problem['msg']}, got {problem['input']!r}") from None
    for name in ("bidirectional", "connections", "feedforward"):
        if getattr(config, name) != EncoderConfig.model_fields[name].default:
            raise ConfigError(
                f"{part}, {name!r}: the shape of an encoder-decoder decides it: a bidirectional first layer in the encoder, "
                "residuals from the third layer on; leave it out"
            )
    return config
