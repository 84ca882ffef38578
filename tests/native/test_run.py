"""The executor of plans against the equations: an LSTM by autograd of a plain loop, everything else by NumPy."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from elman import core
from tests.native import plans
from tests.native.plans import CHUNK, FIXED, INPUT, NEXT, SEQUENCE, STATE, TILE, VECTOR, Array, Call, Plan, at

if core.why_absent():
    pytest.skip("needs the compiled core", allow_module_level=True)

TOLERANCE = {core.FLOAT32: 2e-5, core.FLOAT64: 1e-11}


def assert_close(dtype: int, got: Array, expected: Array, what: str) -> None:
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    difference = float(np.abs(got - expected).max(initial=0))
    assert difference <= TOLERANCE[dtype] * scale, f"{what} differs by {difference}"


class LSTMCase:
    """Random arrays of one LSTM call, what autograd of the plain loop gives for them, and what the core gives."""

    def __init__(
        self,
        dtype: int,
        batch: int,
        steps: int,
        inputs: int,
        hidden: int,
        lengths: Array | None,
        time_major: bool,
        seed: int,
    ):
        self.dtype, self.batch, self.steps, self.inputs, self.hidden = dtype, batch, steps, inputs, hidden
        self.lengths, self.time_major, self.numbers = lengths, time_major, np.random.default_rng(seed)
        self.x, self.dy = self.series(inputs), self.series(hidden)
        self.h, self.c, self.dh, self.dc = (self.random(batch, hidden) for _ in range(4))
        self.w, self.u = self.random(4 * hidden, inputs, scale=0.4), self.random(4 * hidden, hidden, scale=0.4)
        self.bias = self.random(4 * hidden)
        self.real = np.full(batch, steps) if lengths is None else lengths

    def random(self, *shape: int, scale: float = 1.0) -> Array:
        values: Array = self.numbers.standard_normal(shape) * scale
        return values.astype(plans.DTYPES[self.dtype])

    def series(self, width: int) -> Array:
        """(batch, steps, width), batch-first or time-major, with columns of something else between the rows."""
        both = self.random(self.steps, self.batch, width + 3) if self.time_major else None
        values = self.random(self.batch, self.steps, width + 3) if both is None else both.swapaxes(0, 1)
        return values[:, :, 1 : 1 + width]

    def expected(self) -> dict[str, Array]:
        leaves = {
            name: torch.tensor(getattr(self, name), dtype=torch.float64) for name in ("x", "h", "c", "w", "u", "bias")
        }
        for leaf in leaves.values():
            leaf.requires_grad_()
        y, h, c = self.loop(**leaves)
        loss = (y * torch.tensor(self.dy)).sum() + (h * torch.tensor(self.dh)).sum() + (c * torch.tensor(self.dc)).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = {f"d{name}": leaf.grad for name, leaf in leaves.items()}
        values = {"y": y, "final h": h, "final c": c} | {
            name: torch.zeros_like(leaves[name[1:]]) if grad is None else grad for name, grad in gradients.items()
        }
        return {name: value.detach().numpy() for name, value in values.items()}

    def loop(
        self, x: Tensor, h: Tensor, c: Tensor, w: Tensor, u: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        outputs = [x.new_zeros(self.batch, self.hidden)]
        for step in range(self.steps):
            i, f, g, o = (x[:, step] @ w.T + h @ u.T + bias).chunk(4, dim=-1)
            new_c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            new_h = o.sigmoid() * new_c.tanh()
            real = torch.tensor(step < self.real)[:, None]
            h, c = torch.where(real, new_h, h), torch.where(real, new_c, c)
            outputs.append(torch.where(real, new_h, 0.0))
        return torch.stack(outputs, dim=1)[:, 1:], h, c

    def computed(self, threads: int, spare: int = 1) -> dict[str, Array]:
        forward = plans.lstm_forward(self.inputs, self.hidden, spare)
        kept = plans.sequence_memory(forward, self.dtype, int(self.real.sum()))
        got = {name: np.zeros_like(getattr(self, name)) for name in ("x", "h", "c", "w", "u", "bias")}
        y, h, c = np.zeros_like(self.dy), np.zeros_like(self.h), np.zeros_like(self.c)
        common: dict[str, Any] = {
            "batch": self.batch,
            "steps": self.steps,
            "lengths": self.lengths,
            "threads": threads,
            "vectors": [self.bias],
            "matrices": [self.w, self.u],
            "sequences": kept,
        }
        call = Call(inputs=[self.x], outputs=[y], initial=[self.h, self.c], final=[h, c], **common)
        plans.run(forward, self.dtype, call)
        call = Call(
            inputs=[self.dy, self.x],
            outputs=[got["x"]],
            initial=[self.dh, self.dc],
            final=[got["h"], got["c"]],
            sequence_initial=[self.h, self.c, None, None],
            matrix_gradients=[got["w"], got["u"]],
            vector_gradients=[got["bias"]],
            **common,
        )
        for gradient in ("w", "u", "bias"):
            got[gradient].fill(np.nan)  # overwritten, not added to
        plans.run(plans.lstm_backward(self.inputs, self.hidden, spare), self.dtype, call)
        return {"y": y, "final h": h, "final c": c} | {f"d{name}": value for name, value in got.items()}

    def check(self, threads: int, spare: int = 1) -> None:
        computed = self.computed(threads, spare)
        for name, expected in self.expected().items():
            assert_close(self.dtype, computed[name], expected, name)


@st.composite
def lstm_cases(draw: st.DrawFn) -> LSTMCase:
    batch, steps = draw(st.integers(0, 9)), draw(st.integers(0, 12))
    some = st.lists(st.integers(0, steps), min_size=batch, max_size=batch).map(
        lambda few: np.array(few, dtype=np.int64)
    )
    return LSTMCase(
        dtype=draw(st.sampled_from([core.FLOAT32, core.FLOAT64])),
        batch=batch,
        steps=steps,
        inputs=draw(st.integers(1, 20)),
        hidden=draw(st.integers(1, 37)),
        lengths=draw(st.none() | some),
        time_major=draw(st.booleans()),
        seed=draw(st.integers(0, 1000)),
    )


@pytest.mark.parametrize("kernels", core.runnable_kernels())
@settings(max_examples=40, deadline=None)
@given(case=lstm_cases(), threads=st.integers(1, 4))
def test_an_lstm_and_its_gradients(kernels: str, case: LSTMCase, threads: int) -> None:
    with core.use_kernels(kernels):
        case.check(threads)


@pytest.mark.parametrize("dtype", [core.FLOAT32, core.FLOAT64])
@pytest.mark.parametrize("lengths", ["all", "some", "one long"])
@pytest.mark.parametrize("threads", [1, 3])
def test_many_chunks(dtype: int, lengths: str, threads: int) -> None:
    steps = 90
    few = {
        "all": None,
        "some": np.random.default_rng(1).integers(0, steps + 1, 23),
        "one long": np.array([3] * 22 + [steps]),
    }
    LSTMCase(dtype, 23, steps, 17, 30, few[lengths], time_major=False, seed=4).check(threads, spare=4096)


def test_the_same_number_of_threads_gives_the_same_bits() -> None:
    case = LSTMCase(core.FLOAT32, 7, 40, 12, 24, np.array([40, 3, 17, 0, 40, 22, 9]), time_major=True, seed=8)
    first, second = case.computed(3), case.computed(3)
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("kernels", core.runnable_kernels())
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_everything_else(kernels: str, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from([core.FLOAT32, core.FLOAT64]))
    batch, steps, threads = data.draw(st.integers(0, 20)), data.draw(st.integers(0, 9)), data.draw(st.integers(1, 3))
    numbers = np.random.default_rng(data.draw(st.integers(0, 1000)))

    def random(*shape: int) -> Array:
        values: Array = numbers.standard_normal(shape)
        return values.astype(plans.DTYPES[dtype])

    weights = {"vector": random(7), "recurrent": random(6, 6) * 0.5, "readout": random(5, 8).T}
    call = Call(
        batch=batch,
        steps=steps,
        lengths=numbers.integers(0, steps + 1, batch) if data.draw(st.booleans()) else None,
        threads=threads,
        inputs=[random(batch, steps, 8)],
        outputs=[np.zeros((batch, steps, 4), plans.DTYPES[dtype]), np.zeros((batch, steps, 3), plans.DTYPES[dtype])],
        initial=[random(batch, 6)],
        final=[random(batch, 6)],
        fixed=[random(batch, 6)],
        vectors=[weights["vector"]],
        matrices=[weights["recurrent"], weights["readout"]],
    )
    with core.use_kernels(kernels):
        plans.run(plans.assorted(), dtype, call)
    outputs, final = plans.assorted_by_numpy(call, weights)
    assert call.final[0] is not None
    assert_close(dtype, call.outputs[0], outputs, "the output")
    assert_close(dtype, call.final[0], final, "the last state")
    real = np.arange(steps) < (np.full(batch, steps) if call.lengths is None else call.lengths)[:, None]
    assert np.array_equal(call.outputs[1], np.where(real[..., None], call.inputs[0][..., 2:5], 0))


def test_outputs_are_written_only_at_real_steps_and_inputs_read_only_there() -> None:
    case = LSTMCase(core.FLOAT64, 5, 8, 3, 4, np.array([8, 2, 0, 5, 7]), time_major=False, seed=3)
    padding = np.arange(8) >= case.real[:, None]
    case.x[padding] = case.dy[padding] = np.nan
    computed = case.computed(2)
    assert all(np.isfinite(value).all() for value in computed.values())
    assert not computed["y"][padding].any()
    assert not computed["dx"][padding].any()


@pytest.mark.parametrize("size", [1, 5, 16, 21, 64, 70])
@pytest.mark.parametrize("operation", core.operations())
def test_each_operation_on_each_kind_of_operand(operation: str, size: int) -> None:
    """What a plan computes on columns, splats and weights is what elman_apply gives for the same numbers."""
    code, numbers = core.operations().index(operation), np.random.default_rng(size)
    rows = [numbers.uniform(0.1, 2.0, (3, size)) for _ in range(2)] + [numbers.uniform(0.1, 2.0, size)]
    kinds = [
        [at(INPUT, 0), at(INPUT, 1), at(VECTOR)],
        [at(INPUT, 0, size // 2, True), at(INPUT, 1), at(VECTOR, 0, 0, True)],
        [at(VECTOR, 0), at(INPUT, 0, 0, True), at(INPUT, 1, 0, True)],
    ]
    for operands in kinds:
        count = operand_count(code)
        line = plans.pointwise(operation, size, at(CHUNK), *operands[:count])
        plan = Plan(inputs=[size, size], vectors=[size], chunks=[size], outputs=[(at(CHUNK), size)])
        plan.before = [plans.instructions(line)]
        got = np.zeros((3, 1, size))
        call = Call(batch=3, steps=1, inputs=[one[:, None] for one in rows[:2]], outputs=[got], vectors=[rows[2]])
        plans.run(plan, core.FLOAT64, call)
        read = [columns(operand, rows, size) for operand in operands[:count]]
        expected = np.zeros((3, size))
        addresses = [one.ctypes.data for one in read] + [None] * (3 - count)
        core.check(core.functions().elman_apply(core.FLOAT64, code, expected.size, *addresses, expected.ctypes.data))
        np.testing.assert_allclose(got[:, 0], expected, rtol=1e-14)


def columns(operand: list[int], rows: list[Array], size: int) -> Array:
    space, index, start, splat = operand
    values = np.broadcast_to(rows[2] if space == VECTOR else rows[index], (3, size))
    return np.ascontiguousarray(np.broadcast_to(values[:, start : start + 1], (3, size)) if splat else values)


def operand_count(code: int) -> int:
    """Found by what the core accepts."""
    for count in (1, 2, 3):
        plan = Plan(inputs=[1], chunks=[1])
        plan.before = [[0, 1, 0, code, 1, count, *at(CHUNK), *(at(INPUT) * count)]]
        if (address := plans.create(plan.words(core.FLOAT64))) is not None:
            core.functions().elman_plan_destroy(address)
            return count
    raise AssertionError(code)


@pytest.mark.parametrize("kernels", core.runnable_kernels())
@pytest.mark.parametrize("dtype", [core.FLOAT32, core.FLOAT64])
@pytest.mark.parametrize(("groups", "length"), [(1, 1), (3, 5), (1, 16), (2, 61), (1, 200), (7, 33)])
def test_sums_and_maxima(kernels: str, dtype: int, groups: int, length: int) -> None:
    width = groups * length
    x = np.random.default_rng(width).standard_normal((4, 1, width + 2)).astype(plans.DTYPES[dtype])
    x[:, :, 0] = x[:, :, -1] = np.inf  # what lies beside the columns is not looked at
    x[1, 0, 1 + length // 2] = np.nan
    plan = Plan(inputs=[width + 2], chunks=[2 * groups], outputs=[(at(CHUNK), 2 * groups)])
    lines = [plans.total(groups, length, at(CHUNK), at(INPUT, 0, 1))]
    lines += [plans.greatest(groups, length, at(CHUNK, 0, groups), at(INPUT, 0, 1))]
    plan.after = [plans.instructions(*lines)]
    got = np.zeros((4, 1, 2 * groups), plans.DTYPES[dtype])
    with core.use_kernels(kernels):
        plans.run(plan, dtype, Call(batch=4, steps=1, inputs=[x], outputs=[got]))
    parts = x[:, 0, 1:-1].reshape(4, groups, length)
    np.testing.assert_allclose(got[:, 0, :groups], parts.sum(axis=2), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(got[:, 0, groups:], parts.max(axis=2))


def test_stop() -> None:
    address = plans.create(plans.assorted().words(core.FLOAT32), plans.assorted().constants)
    assert address is not None
    zeros = np.zeros((2, 3, 8), np.float32)
    call = Call(
        batch=2,
        steps=3,
        inputs=[zeros],
        outputs=[zeros[..., :4], zeros[..., :3]],
        initial=[None],
        final=[None],
        fixed=[zeros[:, 0, :6]],
        vectors=[zeros[0, 0]],
        matrices=[np.zeros((6, 6), np.float32), np.zeros((8, 5), np.float32)],
    )
    assert call.run(address) == 0
    call.stop = 1
    assert call.run(address) == core.STOPPED
    core.functions().elman_plan_destroy(address)


def refusal(plan: Plan | list[int]) -> str:
    address = plans.create(plan if isinstance(plan, list) else plan.words(core.FLOAT32), [0.0] * 8)
    assert address is None
    message: bytes = core.functions().elman_error()
    return message.decode()


def small(**changes: Any) -> Plan:
    sections: dict[str, Any] = {"inputs": [4], "states": [(4, -1)], "fixed": [4], "vectors": [4], "matrices": [(4, 6)]}
    return Plan(**(sections | {"sequences": [4], "chunks": [4, 6], "tiles": [4]} | changes))


def line(result: list[int], *operands: list[int], operation: str = "neg", size: int = 4) -> list[list[int]]:
    return [plans.instructions(plans.pointwise(operation, size, result, *operands))]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (small(before=line(at(CHUNK), at(STATE))), "STATE, which is not allowed"),
        (small(after=line(at(CHUNK), at(FIXED))), "FIXED, which is not allowed"),
        (small(step=line(at(FIXED), at(INPUT))), "FIXED, which is not allowed"),
        (small(step=line(at(VECTOR), at(INPUT))), "VECTOR, which is not allowed"),
        (small(step=line(at(NEXT), at(INPUT, 0, 1))), "columns 1 to 5 of INPUT 0, which has 4"),
        (small(step=line(at(NEXT), at(INPUT, 1))), "the index of an operand is 1"),
        (small(step=line(at(NEXT), at(INPUT), at(INPUT))), "the number of operands is 2"),
        (small(step=line(at(CHUNK, 1), at(CHUNK, 1, 1))), "overlaps"),
        (small(states=[(4, 0)], step=line(at(NEXT), at(SEQUENCE, 0, 3, True))), "overlaps"),
        (small(states=[(4, 0)], step=line(at(STATE), at(INPUT))), "a state that is kept"),
        (small(states=[(4, 0)], reverse=True), "runs backward"),
        (small(states=[(3, 0)]), "not as wide"),
        (small(states=[(4, 0), (4, 0)]), "two states"),
        (small(outputs=[(at(TILE), 4)]), "TILE, which is not allowed"),
        (small(after=[plans.product(at(CHUNK), 4, 0, True, 6, at(CHUNK, 1))]), "a product of 4 by 6"),
        (small(after=[plans.product(at(TILE), 4, 0, False, 6, at(CHUNK, 1))]), "TILE, which is not allowed"),
        (small(after=[plans.instructions(plans.gather([3], [-1], at(CHUNK), at(INPUT, 0, 1)))]), "before the first"),
        (small(after=[plans.instructions(plans.gather([3], [2], at(CHUNK), at(INPUT)))]), "which has 4"),
        (small(gradients=[plans.matrix_gradient(0, at(INPUT), 4, at(CHUNK), 4)]), "shape of its weight"),
        (small(gradients=[plans.vector_gradient(1, at(INPUT), 4)]), "the weight of a gradient"),
        (small().words(core.FLOAT32)[:-1], "it ends where"),
        ([*small().words(core.FLOAT32), 0], "1 words follow"),
        ([core.INTERFACE + 1], "the version"),
    ],
)
def test_a_plan_that_is_wrong_is_refused(plan: Plan | list[int], message: str) -> None:
    assert message in refusal(plan)


def test_a_call_that_is_wrong_is_refused() -> None:
    address = plans.create(small().words(core.FLOAT32))
    values = np.zeros((2, 4), np.float32)
    good: dict[str, Any] = {"batch": 2, "steps": 0, "initial": [None], "final": [None], "fixed": [values]}
    good |= {"vectors": [values[0]], "matrices": [np.zeros((4, 6), np.float32)], "inputs": [values]}
    good |= {"sequences": plans.sequence_memory(small(), core.FLOAT32, 2)}
    assert address is not None
    assert Call(**good).run(address) == 0
    wrong: list[dict[str, Any]] = [{"batch": -1}, {"threads": 0}, {"lengths": np.array([0, 1])}, {"initial": []}]
    wrong += [{"steps": 1, "inputs": [None]}, {"fixed": [None]}, {"vectors": [None]}, {"batch": 2**40, "steps": 2**40}]
    for change in wrong:
        assert Call(**(good | change)).run(address) == 1, change
        assert "run: " in core.functions().elman_error().decode()
    assert core.functions().elman_run(None, None) == 1
    core.functions().elman_plan_destroy(address)


@pytest.mark.parametrize("seed", range(2))
def test_hostile_plans_never_crash(seed: int) -> None:
    """Thousands of plans with words changed at random, in a process of their own: refused, or run to some end."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.native.hostile", str(seed)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    refused, ran = map(int, done.stdout.split())
    assert refused > 1000
    assert ran > 100
