"""The encoder-decoder, judged by its equations in NumPy, and by learning to turn digits around."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from elman.cells.masks import share_of_rows
from elman.decoding.beam import beam_search
from elman.decoding.greedy import greedy
from elman.errors import ConfigError, UsageError
from elman.layers import Recurrent
from elman.models.build import EncoderConfig, build_model, encoder_names
from elman.models.describe import describe_model
from elman.models.encoder_decoder import EncoderDecoder
from elman.models.load import load_model, save_model
from elman.models.stepper import TorchStepper
from elman.state import leaves, select
from elman.training.config import TrainingConfig
from elman.training.settings import Settings

SOURCES, TARGETS, E, H = 9, 7, 5, 4
B, S, T = 4, 6, 5
SOURCE_LENGTHS, LENGTHS = torch.tensor([6, 3, 1, 0]), torch.tensor([5, 1, 4, 0])

Numbers = NDArray[np.float64]


def encoder(name: str = "elman", layers: int = 1, **options: Any) -> dict[str, Any]:
    return EncoderConfig(name=name, hidden=H, layers=layers, **options).model_dump()


def model(name: str = "elman", layers: int = 3, **options: Any) -> EncoderDecoder:
    """In float64, all weights random."""
    torch.manual_seed(0)
    made = EncoderDecoder(encoder(name, layers), SOURCES, TARGETS, E, **options).double().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made


def context(rows: slice = slice(None)) -> dict[str, Tensor]:
    source = torch.randint(0, SOURCES, (B, S), generator=torch.Generator().manual_seed(1))
    return {"source": source[rows], "source_lengths": SOURCE_LENGTHS[rows]}


def symbols() -> Tensor:
    return torch.randint(0, TARGETS, (B, T), generator=torch.Generator().manual_seed(2))


def matrices(module: Any) -> tuple[Numbers, ...]:
    """Weight and bias of a linear layer; input weight, bias and recurrent weight of the cell of a layer."""
    if isinstance(module, nn.Linear):
        return tuple(parameter.detach().numpy() for parameter in module.parameters())
    (cell,) = (found for found in module.modules() if hasattr(found, "from_hidden"))
    return (*matrices(cell.from_input), *matrices(cell.from_hidden))


def run(layer: Any, xs: list[Numbers], h: Numbers) -> list[Numbers]:
    """An Elman layer over a list of steps."""
    W, b, U = matrices(layer)
    hidden = []
    for x in xs:
        h = np.tanh(W @ x + b + U @ h)
        hidden.append(h)
    return hidden


def encode_again(ours: EncoderDecoder, source: list[int]) -> list[Numbers]:
    """The memory of one source, step by step."""
    bottom, second, above = ours.source.layers.layers
    both: Any = bottom.get_submodule("layers.0")
    x = [ours.source.embedding.weight[symbol].detach().numpy() for symbol in source]
    ahead, back = run(both.forward_layer, x, np.zeros(H)), run(both.backward_layer, x[::-1], np.zeros(H))[::-1]
    x = run(second, [np.concatenate(pair) for pair in zip(ahead, back, strict=True)], np.zeros(H))
    third: Any = above.get_submodule("layers.0")
    return [a + b for a, b in zip(run(third, x, np.zeros(H)), x, strict=True)]


def logits_again(ours: EncoderDecoder, source: list[int], read: list[int]) -> Numbers:
    """One row of the whole model, teacher forced, for three layers and additive attention."""
    memory = encode_again(ours, source)
    ends = np.concatenate([memory[-1], memory[0]] if memory else [np.zeros(2 * H)])
    hidden = []
    for layer, bridge in zip(ours.layers, ours.bridges, strict=True):
        W, b = matrices(bridge)
        hidden += run(layer, [W @ ends + b], np.zeros(H))
    W_query, W_memory, v = (
        matrices(part)[0] for part in (ours.attention.from_query, ours.attention.from_memory, ours.attention.weigh)
    )
    W_combine, b_combine = matrices(ours.combine)
    W_output, b_output = matrices(ours.output)
    attended, outputs = np.zeros(H), []
    for symbol in read:
        x = ours.embedding.weight[symbol].detach().numpy()
        if ours.input_feeding:
            x = np.concatenate([x, attended])
        (hidden[0],) = run(ours.layers[0], [x], hidden[0])
        scores = np.array([float(v[0] @ np.tanh(W_query @ hidden[0] + W_memory @ m)) for m in memory])
        weights = np.exp(scores) / np.exp(scores).sum()
        attended = sum((w * m for w, m in zip(weights, memory, strict=True)), np.zeros(H))
        (hidden[1],) = run(ours.layers[1], [np.concatenate([hidden[0], attended])], hidden[1])
        (hidden[2],) = run(ours.layers[2], [np.concatenate([hidden[1], attended])], hidden[2])
        top = hidden[1] + hidden[2]
        outputs.append(W_output @ np.tanh(W_combine @ np.concatenate([top, attended]) + b_combine) + b_output)
    return np.array(outputs)


@pytest.mark.parametrize("input_feeding", [False, True])
def test_the_equations_again(input_feeding: bool) -> None:
    ours = model(input_feeding=input_feeding)
    given, read = context(), symbols()
    features, _ = ours({"symbols": read}, ours.begin(given, B), LENGTHS)
    for row, (length, source_length) in enumerate(zip(LENGTHS.tolist(), SOURCE_LENGTHS.tolist(), strict=True)):
        source = given["source"][row, :source_length].tolist()
        expected = logits_again(ours, source, read[row, :length].tolist()).reshape(length, TARGETS)
        actual = ours.head(features[row, :length]).detach().numpy()
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)
        assert not features[row, length:].any()


KINDS: dict[str, dict[str, Any]] = {
    "plain": {"name": "lstm", "layers": 1},
    "deep": {"name": "gru", "layers": 3},
    "fed": {"name": "lstm", "layers": 3, "input_feeding": True},
    "pyramid": {"name": "gru", "layers": 2, "pyramid": 2, "score": "general"},
    "monotonic": {"name": "gru", "layers": 2, "score": "dot", "place": "monotonic", "window": 1},
    "predictive": {"name": "elman", "layers": 2, "score": "general", "place": "predictive", "input_feeding": True},
    "mixed": {"name": "gru", "layers": 2, "decoder": encoder("lstm", 3), "tied": True},
}


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_and_steps_give_the_whole(kind: str) -> None:
    ours, read = model(**KINDS[kind]), symbols()
    whole, last = ours({"symbols": read}, ours.begin(context(), B), LENGTHS)
    alignments = ours.alignments({"symbols": read}, ours.begin(context(), B), LENGTHS)
    for cuts in ((0, 2, 2, 5), range(T + 1)):
        state, parts, weights = ours.begin(context(), B), [], []
        for start, stop in pairwise(cuts):
            chunk, lengths = {"symbols": read[:, start:stop]}, (LENGTHS - start).clamp(0, stop - start)
            weights.append(ours.alignments(chunk, state, lengths))
            features, state = ours(chunk, state, lengths)
            parts.append(features)
        torch.testing.assert_close(torch.cat(parts, 1), whole)
        torch.testing.assert_close(torch.cat(weights, 1), alignments)
        for got, expected in zip(leaves(state), leaves(last), strict=True):
            torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("name", encoder_names())
def test_any_encoder_by_its_name(name: str) -> None:
    ours, read = model(name, layers=2), symbols()
    state = ours.begin(context(), B)
    whole, _ = ours({"symbols": read}, state, LENGTHS)
    first, state = ours({"symbols": read[:, :2]}, state, LENGTHS.clamp(max=2))
    rest, _ = ours({"symbols": read[:, 2:]}, state, (LENGTHS - 2).clamp(min=0))
    torch.testing.assert_close(torch.cat([first, rest], 1), whole)
    assert bool(whole[0].any())


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_in_a_padded_batch_is_the_row_alone_whatever_the_padding_holds(kind: str) -> None:
    ours, read, given = model(**KINDS[kind]), symbols(), context()
    padded = given["source"].masked_fill(torch.arange(S) >= SOURCE_LENGTHS[:, None], -1)
    poisoned = read.masked_fill(torch.arange(T) >= LENGTHS[:, None], 99)
    state = ours.begin(given | {"source": padded}, B)
    features, after = ours({"symbols": poisoned}, state, LENGTHS)
    for row, (length, source_length) in enumerate(zip(LENGTHS.tolist(), SOURCE_LENGTHS.tolist(), strict=True)):
        one = slice(row, row + 1)
        start = ours.begin({"source": given["source"][one, :source_length]}, 1)
        alone, last = ours({"symbols": read[one, :length]}, start)
        torch.testing.assert_close(features[one, :length], alone)
        for got, expected in zip(leaves(select(after, one)), leaves(last), strict=True):
            torch.testing.assert_close(got[:, : expected.shape[1]] if got.ndim > 1 else got, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stepper_gives_what_the_model_gives(kind: str) -> None:
    ours, read = model(**KINDS[kind]).float(), symbols()
    expected = ours.head(ours({"symbols": read}, ours.begin(context(), B))[0])
    stepper = TorchStepper(ours)
    state = stepper.begin({name: value.numpy() for name, value in context().items()}, B)
    for t in range(T):
        logits, state = stepper.step({"symbols": read[:, t].numpy()}, state)
        np.testing.assert_allclose(logits, expected[:, t].detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_learns(kind: str) -> None:
    ours = model(**KINDS[kind])
    features, _ = ours({"symbols": symbols()}, ours.begin(context(), B), LENGTHS)
    loss = (ours.head(features[:2]) ** 2).sum()
    for name, gradient in zip(
        dict(ours.named_parameters()), torch.autograd.grad(loss, list(ours.parameters())), strict=True
    ):
        assert bool(gradient.isfinite().all()), name
        assert bool(gradient.any()), name


def test_alignments_are_distributions_over_the_source() -> None:
    ours = model()
    weights = ours.alignments({"symbols": symbols()}, ours.begin(context(), B), LENGTHS)
    expected = (torch.arange(T) < LENGTHS[:, None]) & (SOURCE_LENGTHS > 0)[:, None]
    torch.testing.assert_close(weights.sum(-1), expected.double())
    assert not weights[1, :, 3:].any()


def test_scheduled_sampling_reads_its_own_predictions_in_training_only() -> None:
    ours, read = model("gru", 2), symbols()
    state = ours.begin(context(), B)
    forced, _ = ours({"symbols": read}, state)
    ours.sampling = 1.0
    assert torch.equal(ours({"symbols": read}, state)[0], forced)  # evaluating
    sampled, last = ours.train()({"symbols": read}, state)
    own, parts, running = read[:, :1], [], state
    for _ in range(T):
        features, running = ours.eval()({"symbols": own}, running)
        own = ours.head(features).argmax(-1)
        parts.append(features)
    torch.testing.assert_close(sampled, torch.cat(parts, 1))
    for got, expected in zip(leaves(last), leaves(running), strict=True):
        torch.testing.assert_close(got, expected)
    assert not torch.allclose(sampled, forced)


def test_the_share_of_own_predictions_is_the_probability() -> None:
    ours = model("gru", 1, sampling=0.3).train()
    rows, read = 3000, torch.zeros(3000, 2, dtype=torch.long)
    state = ours.begin({"source": torch.ones(rows, 2, dtype=torch.long)}, rows)
    forced, _ = ours.eval()({"symbols": read}, state)
    torch.manual_seed(0)
    sampled, _ = ours.train()({"symbols": read}, state)
    share = float(((sampled - forced)[:, 1].abs() > 1e-6).any(-1).double().mean())
    assert ours.head(forced[0, 0]).argmax() != 0  # else its own prediction would be the true symbol
    assert abs(share - 0.3) < 0.04
    torch.manual_seed(0)
    with share_of_rows(slice(1000, 2000), rows):  # as one of three processes
        part, _ = ours({"symbols": read[:1000]}, select(state, slice(1000, 2000)))
    torch.testing.assert_close(part, sampled[1000:2000])


@pytest.mark.parametrize("tied", [False, True])
def test_saved_and_loaded(tmp_path: Any, tied: bool) -> None:
    ours = model("gru", 3, tied=tied, pyramid=1).float()
    about = {"task": "language", "options": {}, "model": ours.config()}
    Settings(version="0", encoder=EncoderConfig(), training=TrainingConfig(), **about).save(tmp_path)
    save_model(ours, tmp_path)
    again = load_model(tmp_path)
    assert isinstance(again, EncoderDecoder)
    assert (again.output.weight is again.embedding.weight) == tied
    expected, _ = ours({"symbols": symbols()}, ours.begin(context(), B))
    assert torch.equal(again({"symbols": symbols()}, again.begin(context(), B))[0], expected)
    assert build_model(ours.config()).config() == ours.config()


@pytest.mark.parametrize("kind", KINDS)
def test_described(kind: str) -> None:
    ours = model(**KINDS[kind])
    about = describe_model(ours)
    state = ours.begin({"source": torch.zeros(1, 8, dtype=torch.long)}, 1)
    steps = state.memory.values.shape[1]
    expected = about["state_numbers"] + steps * about["memory_numbers_per_step"]
    assert sum(leaf.numel() for leaf in leaves(state)) == expected
    assert len(about["layers"]) == len([layer for layer in ours.modules() if isinstance(layer, Recurrent)])


def test_dropout_in_training_only() -> None:
    ours, read = model("gru", 3, dropout=0.5, decoder=encoder("gru", 3, dropout=0.5)), symbols()
    state = ours.begin(context(), B)
    assert torch.equal(ours({"symbols": read}, state)[0], ours({"symbols": read}, state)[0])
    ours.train()
    assert not torch.equal(ours({"symbols": read}, state)[0], ours({"symbols": read}, state)[0])


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"expected `pyramid` >= 0 and `sampling` in 0\.\.1, got -1 and 0.0"):
        model(pyramid=-1)
    with pytest.raises(ConfigError, match=r"expected `pyramid` >= 0 and `sampling` in 0\.\.1, got 0 and 1.5"):
        model(sampling=1.5)
    with pytest.raises(ConfigError, match="expected vocabularies and an embedding of sizes >= 1, got 9, 0, 5"):
        EncoderDecoder(encoder(), SOURCES, 0, E)
    with pytest.raises(ConfigError, match="decoder, 'hiden': Extra inputs are not permitted, got 3"):
        EncoderDecoder(encoder(), SOURCES, TARGETS, E, decoder={"name": "gru", "hiden": 3})
    with pytest.raises(ConfigError, match="encoder, 'hidden': Input should be greater than or equal to 1, got 0"):
        EncoderDecoder({"name": "gru", "hidden": 0}, SOURCES, TARGETS, E)
    with pytest.raises(ConfigError, match="encoder, 'bidirectional': the shape of an encoder-decoder decides it"):
        EncoderDecoder(encoder(bidirectional=True), SOURCES, TARGETS, E)
    with pytest.raises(ConfigError, match="decoder, 'connections': the shape of an encoder-decoder decides it"):
        EncoderDecoder(encoder(), SOURCES, TARGETS, E, decoder=encoder(connections="residual"))
    with pytest.raises(ConfigError, match="the score 'dot' needs queries and memory of one size, got 4 and 8"):
        model("gru", 1, score="dot")


def test_a_source_is_needed() -> None:
    ours = model()
    with pytest.raises(UsageError, match=r'the context "source" as symbols \(batch, steps\), batch = 4; got none'):
        ours.begin({}, B)
    with pytest.raises(UsageError, match=r"batch = 3; got \(4, 6\)"):
        ours.begin(context(), 3)
    with pytest.raises(UsageError, match=r"expected `lengths` in 0\.\.6"):
        ours.begin(context() | {"source_lengths": SOURCE_LENGTHS + 1}, B)


DIGITS, START, END = 10, 10, 11


def reversed_digits(rows: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sources (rows, 6) of 3 to 6 digits, their lengths, and the digits backwards (rows, 7) with an end and padding of -1."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 7, rows)
    source, target = np.zeros((rows, 6), np.int64), np.full((rows, 7), -1)
    for row, length in enumerate(lengths):
        digits = rng.integers(0, DIGITS, length)
        source[row, :length] = digits
        target[row, : length + 1] = [*digits[::-1], END]
    return torch.from_numpy(source), torch.from_numpy(lengths), torch.from_numpy(target)


def trained(**options: Any) -> EncoderDecoder:
    torch.manual_seed(0)
    made = EncoderDecoder(EncoderConfig(name="gru", hidden=32).model_dump(), DIGITS, 12, 24, **options)
    optimizer, updates = torch.optim.Adam(made.parameters(), lr=1e-2), 150
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    for update in range(updates):
        source, lengths, target = reversed_digits(32, seed=update)
        read = torch.cat([torch.full_like(target[:, :1], START), target[:, :-1].clamp(min=0)], dim=1)
        state = made.begin({"source": source, "source_lengths": lengths}, len(source))
        features, _ = made({"symbols": read}, state, lengths + 1)
        loss = F.cross_entropy(made.head(features).flatten(0, 1), target.flatten(), ignore_index=-1)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(made.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return made


@pytest.mark.parametrize("options", [{}, {"score": "general", "input_feeding": True, "sampling": 0.2}])
def test_it_learns_to_turn_digits_around(options: dict[str, Any]) -> None:
    stepper = TorchStepper(trained(**options))
    source, lengths, target = reversed_digits(200, seed=-1 % 2**32)
    state = stepper.begin({"source": source.numpy(), "source_lengths": lengths.numpy()}, 200)
    first = np.full(200, START)
    expected = [tuple(row[row >= 0].tolist()) for row in target]
    walked = greedy(stepper, state, first, length=10, end=END)
    searched = beam_search(stepper, state, first, beam=4, length=10, end=END, alpha=0.6)
    assert sum(h.symbols == right for h, right in zip(walked, expected, strict=True)) >= 194
    assert sum(h[0].symbols == right for h, right in zip(searched, expected, strict=True)) >= 194
