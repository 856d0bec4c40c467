"""Several processes that train as one.

`DistributedDataParallel` averages the gradients of the processes. Batch norm would still see a process's own
images only, and a weighted loss would divide by the weights of those images. Here both count the images of
all processes, so that two processes with half the batch each take the same steps as one with the whole batch.
"""

import logging
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from types import FrameType, TracebackType
from typing import Any

import ignite.distributed as idist
import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from covid_monai.core.errors import exception_chain

logger = logging.getLogger("covid_monai.training")
_TERMINATED = 128 + signal.SIGTERM  # as a shell reports it
_ADVICE = "Start the same command again with --resume true: it continues after the last complete epoch."


def join_processes(device: torch.device, *, timeout_minutes: float) -> None:
    """Join the process group that torchrun has started: NCCL on GPUs, gloo on CPUs.

    If one process is lost, torchrun stops the others within seconds. If torchrun is gone too (the machine is
    down), the others wait for `timeout_minutes`. In both cases the log says how to continue.
    """
    backend = "nccl" if device.type == "cuda" else "gloo"
    idist.initialize(backend, timeout=timedelta(minutes=timeout_minutes))
    signal.signal(signal.SIGTERM, _stop)
    sys.excepthook = _with_advice(sys.excepthook)


class SharedLoss(nn.Module):
    """Mean loss over the images of all processes, whose gradients `DistributedDataParallel` averages.

    The mean of the processes' values is the value that one process would find on all images.

    Args:
        loss: Cross-entropy with `reduction="mean"`, with or without class weights.
    """

    def __init__(self, loss: nn.CrossEntropyLoss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of logits `[N, K]` and labels `[N]`, scaled by the share of this process."""
        own = summed_weight(self.loss, labels)
        total = own.clone()
        distributed.all_reduce(total)
        loss: Tensor = self.loss(logits, labels) * own * distributed.get_world_size() / total
        return loss


def summed_weight(loss: nn.CrossEntropyLoss, labels: Tensor) -> Tensor:
    """Return what a mean loss over labels `[N]` divides by: the sum of class weights, or N without weights.

    >>> summed_weight(nn.CrossEntropyLoss(weight=torch.tensor([0.5, 2.0])), torch.tensor([0, 0, 1]))
    tensor(3.)
    """
    weights = torch.ones(len(labels), device=labels.device) if loss.weight is None else loss.weight[labels]
    return weights.sum()


class _Sum(torch.autograd.Function):
    """Sum of a tensor over all processes, with a gradient; torch's own function is deprecated."""

    @staticmethod
    def forward(_ctx: Any, own: Tensor) -> Tensor:
        total = own.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradient)


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the images of all processes, for CPUs: `torch.nn.SyncBatchNorm` needs a GPU.

    Every process must bring as many images; `EpochSampler` makes sure of that. Only training differs from
    `torch.nn.BatchNorm2d`; the state is the same.
    """

    @classmethod
    def copy_of(cls, norm: nn.BatchNorm2d) -> "SharedBatchNorm2d":
        """Return a layer with the same parameters, buffers and mode."""
        copy = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        copy.load_state_dict(norm.state_dict(keep_vars=True), assign=True)
        return copy.train(norm.training)

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
        output: Tensor = (centred * scale[:, None, None] + self.bias[:, None, None]).to(input.dtype)
        return output

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        buffers: Any = self  # torch declares the buffers and the momentum as optional
        buffers.num_batches_tracked += 1
        buffers.running_mean.lerp_(mean, self.momentum)
        buffers.running_var.lerp_(variance, self.momentum)


def share_norms(network: nn.Module, *, shared: bool = True) -> nn.Module:
    """Let every batch norm of a network count the images of all processes, and return the network.

    Args:
        network: Network on its device.
        shared: False leaves each process to its own images, which is faster and trains another network.
    """
    if not shared:
        return network
    if next(network.parameters()).device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return converted
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, SharedBatchNorm2d.copy_of(child))
            elif isinstance(child, _BatchNorm):
                raise ValueError(
                    f"{type(child).__name__} cannot be shared on a CPU. Set shared_norms to false."
                )
    return network


def _stop(_number: int, _frame: FrameType | None) -> None:
    logger.error("%s was stopped, as torchrun does when another process is lost. %s", _rank(), _ADVICE)
    sys.exit(_TERMINATED)


def _with_advice(hook: Callable[..., Any]) -> Callable[..., None]:
    """Return an exception hook that calls `hook` and says how to continue if another process is lost."""

    def explain(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        hook(kind, error, traceback)
        messages = " ".join(str(cause) for cause in exception_chain(error))
        if "gloo" in messages or "NCCL" in messages:  # this failure has no exception type of its own
            logger.error("%s lost another process, which torchrun's report names. %s", _rank(), _ADVICE)

    return explain


def _rank() -> str:
    return f"Rank {idist.get_rank()} of {idist.get_world_size()}"
