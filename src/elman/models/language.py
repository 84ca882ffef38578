"""The language model: symbols in, scores of the next symbol out."""

from typing import Any, ClassVar

from torch import Tensor, nn

from elman.layers.dense import Dense
from elman.layers.dropout import Dropout
from elman.models.build import EncoderConfig, build_encoder
from elman.models.model import Model, Tensors, register
from elman.state import State


@register("language")
class LanguageModel(Model):
    """Embedding, encoder, and a linear head over the vocabulary.

    Source: Mikolov et al., "Recurrent neural network based language model", Interspeech 2010; dropout on the
    non-recurrent connections as Zaremba, Sutskever, Vinyals, 2014, arXiv:1409.2329; the head shares the embedding's
    weights where sizes match and ``tied`` is set, as Press and Wolf, 2017, arXiv:1608.05859.

    Args:
        encoder: as a mapping of `EncoderConfig`'s fields.
        vocabulary_size: symbols, V >= 1.
        embedding_size: features of an embedded symbol, E.
        tied: the head uses the embedding's weights; needs E = the encoder's output size.
        dropout: on embedded symbols and on the encoder's outputs.

    Shapes: inputs["symbols"] (batch, time) integers in 0..V-1; outputs (batch, time, V) logits of the symbol that follows.
    """

    kind: ClassVar[str] = "language"

    def __init__(
        self,
        encoder: dict[str, Any],
        vocabulary_size: int,
        embedding_size: int,
        *,
        tied: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self._config = {
            "encoder": encoder,
            "vocabulary_size": vocabulary_size,
            "embedding_size": embedding_size,
            "tied": tied,
            "dropout": dropout,
        }
        self.embedding = nn.Embedding(vocabulary_size, embedding_size)
        self.encoder = build_encoder(EncoderConfig(**encoder), embedding_size)
        self.dropout = Dropout(dropout)
        self.output = Dense(self.encoder.output_size, vocabulary_size)
        self.causal = self.encoder.causal
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        nn.init.zeros_(self.output.bias)
        if tied:
            self.output.weight = self.embedding.weight

    def begin(self, context: Tensors, batch_size: int) -> State:  # noqa: ARG002  (nothing is known before the first symbol)
        return self.encoder.initial_state(batch_size)

    def forward(self, inputs: Tensors, state: State, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        embedded = self.dropout(self.embedding(inputs["symbols"]))
        features, state = self.encoder(embedded, state, lengths)
        return self.dropout(features), state

    def head(self, features: Tensor) -> Tensor:
        logits: Tensor = self.output(features)
        return logits

    def config(self) -> dict[str, Any]:
        return {"kind": self.kind, **self._config}
