"""The conformance suite of encoders: the contract of layers, and what `Encoder` adds to it."""

import inspect
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from elman.cells.masks import share_of_rows
from elman.errors import ConfigError
from elman.layers.backward import Backward
from elman.models.encoder import ENCODERS, Encoder
from elman.state import leaves
from elman.testing.compare import assert_equal, run
from elman.testing.discover import concrete_classes
from elman.testing.layers import build, check_layer

EncoderFactory = Callable[..., Encoder]

INPUT_SIZE, HIDDEN_SIZE = 3, 4
TIME = 23
CUTS = (0, 1, 1, 2, 9, 16, 23)


def check_encoder(encoder: str | type[Encoder], **options: bool | int | float | str) -> None:
    """Check one encoder, with these options. Raises AssertionError that says what fails.

    Args:
        encoder: its registered name, or the class.
        options: the encoder's own options, where they are not the defaults.
    """
    kind: EncoderFactory = ENCODERS.get(encoder) if isinstance(encoder, str) else encoder
    factory = partial(kind, INPUT_SIZE, HIDDEN_SIZE, **options)
    for check in ENCODER_CHECKS:
        check(factory)
    check_layer(factory)
    check_layer(lambda: Backward(factory()))


def unregistered_encoders(package: str = "elman.models") -> list[str]:
    """Names of the package's encoders that have no registered name, so the suite misses them: there should be none."""
    registered = {ENCODERS.get(name) for name in ENCODERS.names()}
    return [found.__name__ for found in concrete_classes(package, Encoder) if found not in registered]


def check_documented(factory: EncoderFactory) -> None:
    """The docstring names the source and the shapes."""
    encoder = type(factory())
    text = inspect.getdoc(encoder) or ""
    for word in ("Source:", "Shapes:"):
        assert word in text, f"the docstring of {encoder.__name__} has no line '{word} ...'"


def check_own_file(factory: EncoderFactory) -> None:
    """An encoder of the package is in the file of its registered name."""
    encoder = type(factory())
    if not encoder.__module__.startswith("elman.models."):
        return
    names = [name for name in ENCODERS.names() if ENCODERS.get(name) is encoder]
    file = encoder.__module__.removeprefix("elman.models.")
    assert names == [file], f"{encoder.__name__} is in the file of {file!r}, but registered as {names}"


def check_constructor(factory: EncoderFactory) -> None:
    """Built by (input_size, hidden_size, *, layers, dropout, options), all with defaults; what is out of range is refused."""
    encoder = type(factory())
    make: EncoderFactory = encoder
    parameters = inspect.signature(encoder).parameters
    names = list(parameters)
    assert names[:2] == ["input_size", "hidden_size"], f"expected (input_size, hidden_size, *, ...), got {names}"
    for name in ("layers", "dropout"):
        assert name in parameters, f"{encoder.__name__} has no option `{name}`"
    for option in list(parameters.values())[2:]:
        assert option.kind is option.KEYWORD_ONLY, f"the option {option.name} is not keyword only"
        assert option.default is not option.empty, f"the option {option.name} has no default"
    wrong: tuple[tuple[int, int, dict[str, float]], ...] = (
        (0, HIDDEN_SIZE, {}),
        (INPUT_SIZE, 0, {}),
        (INPUT_SIZE, HIDDEN_SIZE, {"layers": 0}),
        (INPUT_SIZE, HIDDEN_SIZE, {"dropout": 1.0}),
    )
    for input_size, hidden_size, options in wrong:
        try:
            make(input_size, hidden_size, **options)
        except ConfigError:
            continue
        raise AssertionError(f"{encoder.__name__} accepts the sizes {(input_size, hidden_size)} with {options}")


def check_streams(factory: EncoderFactory) -> None:
    """It is causal, and over a longer sequence chunks of any size give what the whole gives, from the first step on."""
    encoder = build(factory)
    assert encoder.causal, f"{type(encoder).__name__} is not causal"
    x, lengths = _inputs(TIME), torch.tensor([TIME, 2, 12, 17])
    state = encoder.initial_state(len(x))
    expected = run(encoder, x, state, lengths)
    outputs = []
    for start, stop in pairwise(CUTS):
        y, state = encoder(x[:, start:stop], state, (lengths - start).clamp(0, stop - start))
        outputs.append(y)
    actual = {"the output": torch.cat(outputs, 1)} | dict(zip(list(expected)[1:], leaves(state), strict=True))
    assert_equal(actual, expected, "chunks of a longer sequence against the whole")


def check_no_rows(factory: EncoderFactory) -> None:
    """A batch without rows gives outputs without rows, and gradients of zero."""
    encoder = build(factory)
    y, _ = encoder(_inputs(TIME)[:0])
    assert y.shape == (0, TIME, encoder.output_size), f"no rows give outputs {tuple(y.shape)}"
    y.sum().backward()


@torch.no_grad()
def check_state_is_no_view(factory: EncoderFactory) -> None:
    """A state that is carried does not keep a whole chunk in memory."""
    encoder = build(factory)
    for batch in (1, 4):
        _, state = encoder(_inputs(TIME)[:batch])
        for leaf in leaves(state):
            kept = leaf.untyped_storage().nbytes()
            assert kept == leaf.nbytes, f"a state leaf {tuple(leaf.shape)} of {leaf.nbytes} bytes keeps {kept}"


def check_reach(factory: EncoderFactory) -> None:
    """An output depends on as many steps as `reach` says, and on no more."""
    encoder = build(factory)
    assert isinstance(encoder, Encoder)
    time = TIME if encoder.reach is None else encoder.reach + 1
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.abs_()  # else rectified units might shut the longest way, which is one among many
    x = _inputs(time).abs().requires_grad_()
    (gradient,) = torch.autograd.grad(encoder(x)[0][:, -1].square().sum(), x)
    oldest = int(gradient.any(-1).any(0).nonzero()[0])
    first = 0 if encoder.reach is None else 1
    assert oldest == first, f"the last of {time} outputs depends on steps from {oldest}, not from {first}"


def check_dropout(factory: EncoderFactory) -> None:
    """Dropout acts in training alone, and processes that share a batch drop what one would."""
    encoder, x = build(partial(factory, layers=2, dropout=0.5)), _inputs(TIME)

    def draw(rows: slice) -> tuple[Tensor, Tensor]:
        """A share's outputs, and the next number that is drawn: as many were drawn by each."""
        with torch.random.fork_rng(), share_of_rows(rows, len(x)):
            torch.manual_seed(3)
            return encoder(x[rows])[0], torch.rand(1)

    quiet, _ = draw(slice(None))
    encoder.train()
    whole, after = draw(slice(None))
    part, then = draw(slice(1, 3))
    assert not torch.equal(whole, quiet), "dropout does nothing in training"
    assert_equal({"the output": part}, {"the output": whole[1:3]}, "dropout on a part of a batch against the whole")
    assert torch.equal(then, after), "a part of a batch draws another number of masks than the whole"


def _inputs(time: int) -> Tensor:
    return torch.randn(4, time, INPUT_SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


ENCODER_CHECKS: tuple[Callable[[EncoderFactory], None], ...] = (
    check_documented,
    check_own_file,
    check_constructor,
    check_streams,
    check_no_rows,
    check_state_is_no_view,
    check_reach,
    check_dropout,
)
