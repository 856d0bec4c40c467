"""The MLflow run of a training: how it ends when the training or the store fails."""

import signal
import sys
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine
from mlflow import MlflowException

from covid_monai.training import tracking
from covid_monai.training.tracking import RunTracker


class _Store:
    """Stands for MLflow's client, whose store cannot be written to."""

    def set_terminated(self, *_arguments):
        raise MlflowException("database is locked")


def _tracker(**parts):
    tracker = RunTracker.__new__(RunTracker)  # without opening a store
    run = SimpleNamespace(info=SimpleNamespace(run_id="a"))
    vars(tracker).update({"cur_run": run, "client": _Store()} | parts)
    return tracker


@pytest.mark.parametrize(("error", "raised"), [(KeyboardInterrupt(), SystemExit), (OSError(), OSError)])
def test_a_store_that_cannot_be_written_to_does_not_hide_why_a_run_ended(caplog, error, raised):
    with pytest.raises(raised):
        _tracker().fail(Engine(lambda _engine, _batch: None), error)
    assert "cannot be marked" in caplog.text
    assert "database is locked" in caplog.text


@pytest.mark.parametrize(("error", "status"), [(None, "FAILED"), (KeyboardInterrupt(), "KILLED")])
def test_a_run_that_is_open_when_the_process_ends_is_marked(monkeypatch, error, status):
    store = SimpleNamespace(set_terminated=lambda *arguments: marked.append(arguments))
    marked = []
    monkeypatch.setattr(tracking, "_unfinished", {"a": store})
    monkeypatch.setattr(sys, "last_value", error, raising=False)
    tracking._terminate_unfinished()
    tracking._terminate_unfinished()
    assert marked == [("a", status)]


def test_ctrl_c_has_to_wait_while_an_epoch_is_written_to_the_store():
    def write(*_arguments, **_named):
        seen.append(signal.getsignal(signal.SIGINT))

    seen = []
    engine = Engine(lambda _engine, _batch: None)
    engine.optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored
    try:
        _tracker(evaluator=engine, _log_metrics=write).epoch_completed(engine)
        assert seen[0] is not signal.default_int_handler
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
