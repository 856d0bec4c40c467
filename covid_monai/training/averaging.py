"""A moving average of the weights, which is validated and kept instead of the weights of the last step."""

from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class AverageWeights:
    """Let one network follow the weights of another with an exponential moving average.

    The last steps of a training jump about the optimum, and images from elsewhere than the training images
    feel it most. The average does not jump. It starts as a copy, and its window is a tenth of the steps at
    most, so that short trainings do not average in the random start. Batch-norm statistics are averaged like
    weights; whole numbers are copied.

    Args:
        network: Trained network, without any parallel wrapper.
        average: Copy of it that holds the average.
        decay: Share of the average that stays at each step, in [0, 1); 0 switches the averaging off.

    Raises:
        ValueError: If `decay` is outside [0, 1).

    Reference: Polyak and Juditsky, Acceleration of stochastic approximation by averaging, 1992.
    """

    def __init__(self, network: nn.Module, average: nn.Module, *, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"ema_decay is {decay}. Choose a number in [0, 1); 0 switches the average off.")
        self._decay = decay
        # Collected once: at every step it would take three times as long as the averaging.
        pairs = list(zip(_tensors(average), _tensors(network), strict=True))
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        self._averages, self._current = [average for average, _ in floats], [value for _, value in floats]
        self._copied = [pair for pair in pairs if not pair[0].is_floating_point()]

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer."""
        if self._decay > 0:
            engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Follow the step that the trainer has completed."""
        steps = engine.state.iteration - 1
        decay = min(self._decay, (1 + steps) / (10 + steps)) if steps > 0 else 0.0
        get_ema_multi_avg_fn(decay)(self._averages, self._current, steps)
        for average, value in self._copied:
            average.copy_(value)


def _tensors(network: nn.Module) -> list[Tensor]:
    return [tensor.detach() for tensor in (*network.parameters(), *network.buffers())]
