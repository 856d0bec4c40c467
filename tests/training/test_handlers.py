"""The Ignite handlers of a training."""

from ignite.engine import Engine, Events

from covid_monai.training.handlers import EarlyStop


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
