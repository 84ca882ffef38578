"""Training in one process or in several: the one file that knows Lightning Fabric.

Every process prepares all data alike and works on its share of the rows of each batch, with the states that belong to them.
Losses, counts and gradients are summed over the processes, so that all make the update that one process would make.
"""

import logging
import os
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from functools import partial
from multiprocessing import active_children, get_context, parent_process
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from elman.cells.masks import share_of_rows
from elman.data.batch import Batch
from elman.errors import ElmanError, TrainingError
from elman.state import State, map_leaves, select
from elman.training.interrupt import ASK, at_once, ended_by_sigterm

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess
    from multiprocessing.queues import SimpleQueue

    from lightning_fabric import Fabric

T = TypeVar("T")

PATIENCE = timedelta(minutes=10)
"""How long one process waits for another that is still there; one that is gone is noticed at once."""
GRACE = {ASK: 2.0, signal.SIGKILL: 30.0}
"""Seconds that processes have to write down what they learned and to end, before they are asked to, and made to."""
for greeting in ("utilities.distributed", "utilities.rank_zero"):
    logging.getLogger(f"lightning_fabric.{greeting}").setLevel(logging.WARNING)

GO_ON = "the last good state is kept: go on from it with `--resume`"


class ProcessLostError(TrainingError):
    """Another process of this training is gone."""


class Processes(ABC):
    """The processes that train together, as one of them sees them.

    Attributes:
        rank: the number of this process, from 0. The first writes files and speaks.
        count: how many there are.
    """

    rank: int
    count: int

    @abstractmethod
    def sum(self, *numbers: Tensor) -> tuple[Tensor, ...]:
        """The sum over the processes of each number."""

    @abstractmethod
    def sum_gradients(self, model: nn.Module) -> None:
        """Replace every gradient by its sum over the processes."""

    @abstractmethod
    def first(self, value: T) -> T:
        """What the first process has as ``value``, in every process."""

    @abstractmethod
    def agree(self, wish: bool) -> bool:
        """What the first process wishes; faster than `first`."""

    @abstractmethod
    def gather(self, state: State | None, total: int) -> State | None:
        """The state of all ``total`` rows, in the first process; anything in the others."""

    @property
    def leads(self) -> bool:
        """This is the process that writes files and speaks."""
        return self.rank == 0

    def rows(self, total: int) -> slice:
        """This process's share of ``total`` rows. One that has none repeats the first row, see `counts`."""
        start, stop = self.rank * total // self.count, (self.rank + 1) * total // self.count
        return slice(start, stop) if stop > start else slice(0, 1)

    def counts(self, total: int) -> bool:
        """Whether what this process works out counts: not if it has no rows of its own."""
        return (self.rank + 1) * total // self.count > self.rank * total // self.count

    def part(self, batch: Batch) -> Batch:
        """This process's share of a batch."""
        return batch if self.count == 1 else batch.part(self.rows(len(batch.lengths)))

    def sharing(self, batch: Batch) -> AbstractContextManager[None]:
        """Dropout inside is that of this process's share of the batch."""
        return share_of_rows(batch.rows, len(batch.whole.lengths))

    def select(self, state: State) -> State:
        """This process's share of a state of all rows."""
        return map_leaves(lambda leaf: select(leaf, self.rows(len(leaf))), state)


class Alone(Processes):
    """One process."""

    rank, count = 0, 1

    def sum(self, *numbers: Tensor) -> tuple[Tensor, ...]:
        return numbers

    def sum_gradients(self, model: nn.Module) -> None: ...

    def first(self, value: T) -> T:
        return value

    def agree(self, wish: bool) -> bool:
        return wish

    def gather(self, state: State | None, total: int) -> State | None:  # noqa: ARG002
        return state


ALONE = Alone()


class Together(Processes):
    """Several processes that Fabric has connected.

    Raises: ProcessLostError from every method if another process is gone.
    """

    def __init__(self, fabric: "Fabric") -> None:
        self._fabric = fabric
        self.rank, self.count = fabric.global_rank, fabric.world_size

    def sum(self, *numbers: Tensor) -> tuple[Tensor, ...]:
        summed = self._sum(torch.stack([number.double() for number in numbers]))
        return tuple(one.to(number.dtype) for one, number in zip(summed, numbers, strict=True))

    def sum_gradients(self, model: nn.Module) -> None:
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        summed = self._sum(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, one in zip(gradients, torch.split(summed, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(one.view_as(gradient))

    def first(self, value: T) -> T:
        with connected():
            return self._fabric.broadcast(value)

    def agree(self, wish: bool) -> bool:
        flag = torch.tensor(wish)
        with connected():
            torch.distributed.broadcast(flag, 0)
        return bool(flag)

    def gather(self, state: State | None, total: int) -> State | None:
        own = state if self.counts(total) else None
        everything: list[Any] | None = [None] * self.count if self.leads else None
        with connected():
            torch.distributed.gather_object(own, everything)
        parts = [part for part in everything or [] if part is not None]
        return map_leaves(lambda *leaves: torch.cat(leaves), *parts) if parts else None

    def _sum(self, values: Tensor) -> Tensor:
        with connected():
            summed = self._fabric.all_reduce(values, reduce_op="sum")
        assert isinstance(summed, Tensor)
        return summed


@contextmanager
def connected() -> Iterator[None]:
    """What goes wrong inside is that another process is gone."""
    try:
        yield
    except RuntimeError as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # whoever watches over the processes ends them now: save first
        raise ProcessLostError(f"another process of this training was lost; {GO_ON}") from error


def launch(wanted: int, work: Callable[[Processes], None]) -> None:
    """Run ``work`` in each of as many processes as are wanted, or in those that torchrun has started.

    Args:
        wanted: processes on this machine; if more than one, they are new ones and end with this one.
        work: what can be pickled. An ElmanError, OSError, MemoryError or KeyboardInterrupt in it is raised here.

    Raises:
        TrainingError: a process was lost.
    """
    if started_by_torchrun():
        here = int(os.environ["LOCAL_WORLD_SIZE"])
        _fabric("popen", here, int(os.environ["WORLD_SIZE"]) // here).launch(partial(_work_with, work=work))
    elif wanted == 1:
        work(ALONE)
    else:
        _start(wanted, work)


def started_by_torchrun() -> int:
    """How many processes torchrun has started to train together; 0 if it has not."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 0


def _fabric(start: Literal["popen", "spawn"], here: int, machines: int = 1) -> "Fabric":
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
    from lightning_fabric.strategies.ddp import DDPStrategy

    environment = LightningEnvironment() if start == "spawn" else TorchElasticEnvironment()
    strategy = DDPStrategy(
        cluster_environment=environment, process_group_backend="gloo", start_method=start, timeout=PATIENCE
    )
    return Fabric(accelerator="cpu", devices=here, num_nodes=machines, strategy=strategy)


def _work_with(fabric: "Fabric", work: Callable[[Processes], None]) -> None:
    """In each process, once all are connected."""
    work(Together(fabric))
    torch.distributed.destroy_process_group()  # not after a failure: the others notice it by the end of the process


def _work_as_child(fabric: "Fabric", work: Callable[[Processes], None], errors: "SimpleQueue[BaseException]") -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # sent when another one fails: that is noticed and saved here
    signal.signal(ASK, at_once)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as under nohup
        signal.signal(signal.SIGINT, at_once)
    threading.Thread(target=_watch_parent, daemon=True).start()
    try:
        _work_with(fabric, work)
    except (ElmanError, KeyboardInterrupt, OSError, MemoryError) as error:
        errors.put(error)
        raise SystemExit(1) from error


def _watch_parent() -> None:
    """Nobody waits for what a process does whose parent was killed."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), ASK)


def _start(count: int, work: Callable[[Processes], None]) -> None:
    """Start processes and wait for their end."""
    from torch.multiprocessing.spawn import ProcessExitedException

    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)  # what it tells is told below
    errors: SimpleQueue[BaseException] = get_context("spawn").SimpleQueue()
    others, port = set(active_children()), os.environ.get("MASTER_PORT")
    try:
        with ended_by_sigterm():
            _fabric("spawn", count).launch(partial(_work_as_child, work=work, errors=errors))
    except ProcessExitedException as error:
        reason = None if errors.empty() else errors.get()
        # one that noticed the end of another may be ended by a signal itself, as it leaves its connections
        if reason is None or (error.signal_name and isinstance(reason, ProcessLostError)):
            how = f"by {error.signal_name}" if error.signal_name else f"with exit code {error.exit_code}"
            raise TrainingError(
                f"process {error.error_index + 1} of {count} was lost: it was ended {how}; {GO_ON}"
            ) from None
        raise reason from None
    finally:
        _end(set(active_children()) - others)
        if port is None:
            os.environ.pop("MASTER_PORT", None)  # Fabric leaves it here, for its next processes to meet at


def _end(children: "set[BaseProcess]") -> None:
    """Wait until children have ended: by themselves, as they do after Ctrl-C, asked to, or made to."""
    for ask, seconds in GRACE.items():
        for child in children:
            child.join(seconds / len(children))
        for child in children:
            if child.is_alive() and child.pid:
                os.kill(child.pid, ask)
    for child in children:
        child.join()
