"""One answer for a sequence: symbols or numbers in, scores of classes or numbers out."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elman.layers.completed import joined_width
from elman.layers.dense import Dense
from elman.layers.dropout import Dropout
from elman.layers.pooling import Mode, Pooling
from elman.models.build import EncoderConfig, build_encoder
from elman.models.model import Model, Tensors, register
from elman.state import State


class SymbolEmbedding(nn.Module):
    """A vector for each symbol, and for the parts it is made of, so that a rare word is like those it shares parts with.

    Source: Bojanowski et al., "Enriching Word Vectors with Subword Information", 2017, arXiv:1607.04606.
    Differs: the mean of the parts is added to the symbol's own vector, not their sum.

    Args:
        symbols: V. parts: numbers that parts are known by, of which 0 is none; 0: symbols have no parts. size: of the vectors, E.
    Shapes: symbols (batch, time), parts (batch, time, P) or None -> (batch, time, E).
    """

    def __init__(self, symbols: int, parts: int, size: int) -> None:
        super().__init__()
        self.symbols = nn.Embedding(symbols, size)
        self.parts = nn.Embedding(parts, size) if parts else None
        for table in (self.symbols, self.parts):
            if table is not None:
                nn.init.uniform_(table.weight, -0.1, 0.1)

    def forward(self, symbols: Tensor, parts: Tensor | None) -> Tensor:
        embedded: Tensor = self.symbols(symbols)
        if self.parts is None or parts is None:
            return embedded
        real = parts > 0
        starts = real.sum(-1).flatten().cumsum(0).roll(1)
        starts[:1] = 0
        mean = F.embedding_bag(parts[real], self.parts.weight, starts, mode="mean")  # gathers real parts only
        return embedded + mean.view_as(embedded)


class Member(nn.Module):
    """One network: embedding or none, encoder, pooling, and a linear head."""

    def __init__(
        self,
        encoder: EncoderConfig,
        outputs: int,
        pooling: Mode,
        embedding: SymbolEmbedding | None,
        width: int,
        reads: Sequence[str],
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.encoder = build_encoder(encoder, width, reads=reads)
        self.pooling = Pooling(pooling, self.encoder.output_size)
        self.output = Dense(self.encoder.output_size, outputs)
        nn.init.zeros_(self.output.bias)

    def initial_state(self, batch_size: int) -> State:
        return self.encoder.initial_state(batch_size), self.pooling.initial_state(batch_size)

    def forward(self, read: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        memory, pool = state
        encoded, memory = self.encoder(read, memory, lengths)
        pooled, pool = self.pooling(encoded, pool, lengths)
        return pooled, (memory, pool)


@register("many_to_one")
class ManyToOne(Model):
    """Embedding, encoder, pooling, and a linear head: at every step an answer from what was read so far.

    The answer for a sequence is the one at its last step. Several such networks may stand side by side, each learning on its own;
    the answer is the mean of their scores. Dropout of whole symbols as Dai and Le, "Semi-supervised Sequence Learning", 2015,
    arXiv:1511.01432; temperature as Guo et al., "On Calibration of Modern Neural Networks", 2017, arXiv:1706.04599.

    Args:
        encoder: as a mapping of `EncoderConfig`'s fields.
        outputs: scores or numbers in an answer, K.
        pooling: see `elman.layers.Pooling`.
        vocabulary_size, parts, embedding_size: see `SymbolEmbedding`; without symbols the first is 0.
        features: numbers read at each step, C; 0 for symbols.
        masked: beside each number stands whether it was there.
        timed: beside the numbers stands the time since the step before, which is never dropped out.
        members: networks side by side, M.
        symbol_dropout: probability of zeroing an embedded symbol whole; in training only.
        dropout: of what the encoder reads and of what the head reads.

    Shapes: inputs["symbols"] (batch, time) integers in 0..V-1, with inputs["parts"] (batch, time, P) where there are any; or
    inputs["values"] (batch, time, C) with, if masked, inputs["observed"] (batch, time, C) and, if timed, inputs["gap"]
    (batch, time, 1); outputs (batch, time, K). In eval mode they are divided by ``temperature``, which learning does not see.
    """

    kind: ClassVar[str] = "many_to_one"
    temperature: Tensor

    def __init__(
        self,
        encoder: dict[str, Any],
        outputs: int,
        *,
        pooling: Mode = "last",
        vocabulary_size: int = 0,
        parts: int = 0,
        embedding_size: int = 0,
        features: int = 0,
        masked: bool = False,
        timed: bool = False,
        members: int = 1,
        symbol_dropout: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self._config = {
            "encoder": encoder,
            "outputs": outputs,
            "pooling": pooling,
            "vocabulary_size": vocabulary_size,
            "parts": parts,
            "embedding_size": embedding_size,
            "features": features,
            "masked": masked,
            "timed": timed,
            "members": members,
            "symbol_dropout": symbol_dropout,
            "dropout": dropout,
        }
        self.masked, self.timed, self.reads_symbols = masked, timed, vocabulary_size > 0
        reads = ("x", *(["mask"] if masked else []), *(["gap"] if timed else []))
        width = embedding_size or joined_width(features, reads)

        def member() -> Member:
            embedding = SymbolEmbedding(vocabulary_size, parts, embedding_size) if vocabulary_size else None
            return Member(EncoderConfig(**encoder), outputs, pooling, embedding, width, reads)

        self.members = nn.ModuleList(member() for _ in range(members))
        self.symbol_dropout, self.dropout = Dropout(symbol_dropout), Dropout(dropout)
        self.register_buffer("temperature", torch.ones(()))
        self.causal = all(member.encoder.causal for member in self._members())

    def begin(self, context: Tensors, batch_size: int) -> State:  # noqa: ARG002  (nothing is known before the first step)
        return tuple(member.initial_state(batch_size) for member in self._members())

    def embed(self, inputs: Tensors) -> Tensor:
        """(batch, time, features): what the encoders read; embedded symbols of one member after the other."""
        if not self.reads_symbols:
            observed = [inputs["observed"]] if self.masked else []
            return torch.cat([inputs["values"], *observed, *([inputs["gap"]] if self.timed else [])], -1)
        parts = [
            m.embedding(inputs["symbols"], inputs.get("parts")) for m in self._members() if m.embedding is not None
        ]
        kept = [self.symbol_dropout(torch.ones_like(part[..., :1])) for part in parts]
        return torch.cat([part * mask for part, mask in zip(parts, kept, strict=True)], -1)

    def forward(self, inputs: Tensors, state: State, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        return self.encode(self.embed(inputs), state, lengths)

    def encode(self, embedded: Tensor, state: State, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """What `forward` does with embedded inputs."""
        count = len(self.members)
        read = embedded.chunk(count, -1) if self.reads_symbols else [embedded] * count
        both = [m(self._dropped(x), one, lengths) for m, x, one in zip(self._members(), read, state, strict=True)]
        return self.dropout(torch.cat([pooled for pooled, _ in both], -1)), tuple(after for _, after in both)

    def _dropped(self, read: Tensor) -> Tensor:
        """Dropout of all but the gap: a clock that stops or runs faster would tell another time in training than in use."""
        if self.timed:
            return torch.cat([self.dropout(read[..., :-1]), read[..., -1:]], -1)
        dropped: Tensor = self.dropout(read)
        return dropped

    def head(self, features: Tensor) -> Tensor:
        outputs = self.each(features).mean(0)
        return outputs if self.training else outputs / self.temperature

    def each(self, features: Tensor) -> Tensor:
        """The outputs of every member, (M, batch, time, K): what each learns from on its own."""
        own = features.chunk(len(self.members), -1)
        return torch.stack([member.output(one) for member, one in zip(self._members(), own, strict=True)])

    def _members(self) -> list[Member]:
        return [member for member in self.members if isinstance(member, Member)]

    def config(self) -> dict[str, Any]:
        return {"kind": self.kind, **self._config}
