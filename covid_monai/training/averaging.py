"""A moving average of the weights, which is validated and kept instead of the last step's."""

from typing import Any

from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class AverageWeights:
    """Follow the weights with an exponential moving average (Polyak and Juditsky 1992).

    The last steps of a training jump about the optimum, and images from elsewhere than the training
    images feel it most; the average does not jump. While few steps are behind it, its window is a tenth
    of them, so that short trainings do not average in the random start. Batch-norm statistics are
    averaged like weights; what is counted in whole numbers is taken over.

    Args:
        network: The one that is trained, without any parallel wrapper.
        decay: Share of the average that stays at each step, in [0, 1); 0 keeps the network itself.

    Attributes:
        network: What is to be validated and kept: the average, or with decay 0 the network itself.

    Raises:
        ValueError: If `decay` is outside [0, 1).
    """

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"ema_decay is {decay}: give a number from 0 (off) to below 1")
        self._trained = network
        self._decay = decay
        self._average = AveragedModel(network, use_buffers=True) if decay else None
        self.network = network if self._average is None else self._average.module
        # Looked up once: at every step it would take three times as long as the averaging.
        pairs = list(zip(_tensors(self.network), _tensors(network), strict=True))
        self._followed = tuple(zip(*[pair for pair in pairs if pair[0].is_floating_point()], strict=True))
        self._copied = [pair for pair in pairs if not pair[0].is_floating_point()]

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer."""
        if self._average is not None:
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._update)

    def state_dict(self) -> dict[str, Any]:
        """The average and the count of its steps; nothing with decay 0."""
        return {} if self._average is None else self._average.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` gave."""
        if self._average is not None:
            self._average.load_state_dict(state)

    def _update(self) -> None:
        assert self._average is not None
        steps = int(self._average.n_averaged)
        if steps == 0:
            self._average.update_parameters(self._trained)  # starts as a copy
            return
        decay = min(self._decay, (1 + steps) / (10 + steps))
        get_ema_multi_avg_fn(decay)(*self._followed, steps)
        for average, current in self._copied:
            average.copy_(current)
        self._average.n_averaged += 1


def _tensors(network: nn.Module) -> list[Tensor]:
    return [tensor.detach() for tensor in (*network.parameters(), *network.buffers())]
