"""Several processes that train as one: what torch's `DistributedDataParallel` leaves different.

It averages the gradients of the processes. Batch norm would still see a process's own images only, and a
weighted loss would divide by the weights of those: both are made to count the images of all processes here,
so that two processes with half the batch each take the steps of one with the whole batch.
"""

import logging
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from covid_monai.core.errors import exception_chain

logger = logging.getLogger("covid_monai.training")
_TERMINATED = 128 + signal.SIGTERM  # as a shell reports it
_WAY_OUT = "Start the same command again with --resume true: it continues after the last whole epoch."


def join_processes(device: torch.device, *, timeout_minutes: float) -> None:
    """Join the group that torchrun has started: NCCL on GPUs, gloo without.

    A process that is lost ends the others: torchrun stops them within seconds, and without torchrun's help (a
    machine gone) the wait for it ends after `timeout_minutes`. Either way the log says how to go on.

    Args:
        device: This process's.
        timeout_minutes: How long to wait for another process.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=timedelta(minutes=timeout_minutes))
    signal.signal(signal.SIGTERM, _stop)
    sys.excepthook = _explaining(sys.excepthook)


def leave_processes() -> None:
    """Leave the group, if this process is in one."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


class SharedLoss(nn.Module):
    """A mean loss over the images of all processes, for `DistributedDataParallel` to average its gradients.

    The mean of the processes' values is the value that one process would have found on all images.

    Args:
        loss: `torch.nn.CrossEntropyLoss` with `reduction="mean"`, with class weights or without.
    """

    def __init__(self, loss: nn.CrossEntropyLoss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of logits `[N, K]` and labels `[N]`, scaled by this process's share of the weight."""
        own = summed_weight(self.loss, labels)
        total = own.clone()
        distributed.all_reduce(total)
        return self.loss(logits, labels) * own * distributed.get_world_size() / total


def summed_weight(loss: nn.CrossEntropyLoss, labels: Tensor) -> Tensor:
    """What a mean over labels `[N]` divides by: their class weights, or their number without weights.

    >>> summed_weight(nn.CrossEntropyLoss(weight=torch.tensor([0.5, 2.0])), torch.tensor([0, 0, 1]))
    tensor(3.)
    """
    weights = torch.ones(len(labels), device=labels.device) if loss.weight is None else loss.weight[labels]
    return weights.sum()


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes; torch's own function with a gradient is deprecated."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        total = own.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradient)


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the images of all processes; `torch.nn.SyncBatchNorm` refuses a CPU.

    Every process must bring as many images: `EpochSampler` sees to it. Only training differs from
    `torch.nn.BatchNorm2d`; the state is the same.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's own name
        """Normalise `[N, C, H, W]`."""
        if not self.training:
            return super().forward(input)
        values = input.float()
        count = distributed.get_world_size() * values.numel() // values.shape[1]
        mean = _Sum.apply(values.sum(dim=(0, 2, 3))) / count
        centred = values - mean[:, None, None]
        variance = _Sum.apply((centred * centred).sum(dim=(0, 2, 3))) / count
        self._follow(mean.detach(), variance.detach() * count / max(count - 1, 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def share_norms(network: nn.Module, *, shared: bool = True) -> nn.Module:
    """Let every batch norm of a network count the images of all processes; the network itself is changed.

    Args:
        network: On its device.
        shared: False leaves each process to its own images, which is faster and trains another network.
    """
    if not shared:
        return network
    if next(network.parameters()).device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = SharedBatchNorm2d  # the same parameters, buffers and name in the state
        elif isinstance(module, _BatchNorm):
            raise ValueError(f"{type(module).__name__} cannot be shared on a CPU: set shared_norms to false")
    return network


def _stop(number: int, frame: FrameType | None) -> None:
    logger.error("%s was stopped, as torchrun does when another one is lost. %s", _self(), _WAY_OUT)
    sys.exit(_TERMINATED)


def _explaining(hook: Callable) -> Callable:
    """What an uncaught exception calls: `hook`, then how to go on if another process is gone."""

    def explain(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        hook(kind, error, traceback)
        said = " ".join(str(cause) for cause in exception_chain(error))
        if "gloo" in said or "NCCL" in said:  # there is no type of its own for it
            logger.error(
                "%s lost another process: torchrun's report names it. %s",
                _self(),
                _WAY_OUT,
            )

    return explain


def _self() -> str:
    return f"Rank {distributed.get_rank()} of {distributed.get_world_size()}"
