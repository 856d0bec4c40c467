"""The Ignite handlers of a training."""

import pytest
import torch
from ignite.engine import Engine, Events

from covid_monai.training.handlers import AverageWeights, EarlyStop, StopWhenDiverged


def test_early_stop_counts_from_the_best_epoch_even_after_a_resume():
    evaluator = Engine(lambda _engine, _batch: None)
    evaluator.state.best_metric_epoch = 2
    stopped = []
    for start in (0, 3):
        trainer = Engine(lambda _engine, _batch: None)
        trainer.add_event_handler(
            Events.STARTED, lambda engine, start=start: setattr(engine.state, "epoch", start)
        )
        EarlyStop(evaluator, patience=3).attach(trainer)
        trainer.run([0], max_epochs=20)
        stopped.append(trainer.state.epoch)
    assert stopped == [5, 5]


def _train(network, average, *, decay, steps, start=0):
    """Train from step `start` up to step `steps`; in each the weights are the number of the step."""

    def step(engine, _batch):
        for tensor in (*network.parameters(), network.running_mean):
            tensor.data.fill_(engine.state.iteration - 1)

    def resume(engine):  # as `RunFolder` does
        engine.state.epoch = engine.state.iteration = start

    engine = Engine(step)
    engine.add_event_handler(Events.STARTED, resume)
    AverageWeights(network, average, decay=decay).attach(engine)
    engine.run([None], max_epochs=steps)
    return average


def _average(*, decay, steps):
    return _train(torch.nn.BatchNorm1d(1), torch.nn.BatchNorm1d(1), decay=decay, steps=steps)


def test_averaged_weights_and_statistics_follow_the_trained_ones_as_pandas_averages():
    pandas = pytest.importorskip("pandas")
    kept = _average(decay=0.1, steps=40)  # the warm-up starts at 0.1
    expected = pandas.Series(range(40)).ewm(alpha=0.9, adjust=False).mean().iloc[-1]
    for tensor in (kept.weight, kept.running_mean):
        assert tensor.item() == pytest.approx(expected, rel=1e-5)


def test_a_short_training_does_not_average_in_its_start():
    assert _average(decay=0.999, steps=30).weight.item() > 20


def test_an_average_that_is_saved_and_restored_goes_on_as_if_never_interrupted():
    whole = _average(decay=0.9, steps=20)
    first = _average(decay=0.9, steps=8)
    again = torch.nn.BatchNorm1d(1)
    again.load_state_dict(first.state_dict())
    _train(torch.nn.BatchNorm1d(1), again, decay=0.9, steps=20, start=8)
    assert torch.equal(whole.weight, again.weight)


def test_whole_numbers_are_copied():
    network, average = torch.nn.BatchNorm1d(1), torch.nn.BatchNorm1d(1)
    network.num_batches_tracked += 7
    assert _train(network, average, decay=0.9, steps=3).num_batches_tracked == 7


def test_without_a_decay_the_trained_network_itself_is_kept():
    network = torch.nn.BatchNorm1d(1)
    assert _train(network, network, decay=0, steps=3).weight.item() == 2.0
    with pytest.raises(ValueError, match="ema_decay"):
        AverageWeights(network, network, decay=1.0)


def _losses(losses, *, val_loss=0.5, best_epoch=-1, scaler=None):
    """Run one epoch with these losses under `StopWhenDiverged`, and return its message."""

    def step(_engine, loss):
        return {"loss": torch.tensor(loss)}

    evaluator = Engine(lambda _engine, _batch: None)
    evaluator.state.metrics, evaluator.state.best_metric_epoch = {"loss": val_loss}, best_epoch
    engine = Engine(step)
    engine.scaler = scaler
    StopWhenDiverged(evaluator).attach(engine)
    engine.run(losses, max_epochs=1)


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_no_number_ends_the_training(loss):
    with pytest.raises(ValueError, match="in epoch 1 the training loss is no longer a finite number"):
        _losses([1.0, loss, 1.0])
    with pytest.raises(ValueError, match="in epoch 1 the validation loss is no longer"):
        _losses([1.0, 2.0], val_loss=loss)
    _losses([1.0, 1e30])


def test_the_gradient_scaler_may_skip_a_few_steps():
    nan = float("nan")
    _losses([nan] * 20 + [1.0] + [nan] * 20, scaler=object())
    with pytest.raises(ValueError, match="training loss"):
        _losses([nan] * 21, scaler=object())
