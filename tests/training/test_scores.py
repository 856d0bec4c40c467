"""The metrics of the validation split, against scikit-learn."""

import pytest
import torch
from ignite.engine import Engine
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from covid_monai.training.scores import ClassificationScores


def test_scores_are_scikit_learns():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(90, 3, generator=generator)
    labels = torch.randint(0, 3, (90,), generator=generator)
    scores = ClassificationScores(["a", "b", "c"])
    engine = Engine(lambda _engine, batch: {"pred": logits[batch], "label": labels[batch]})
    scores.attach(engine, "auroc")
    engine.run([torch.arange(0, 40), torch.arange(40, 90)])
    metrics, probabilities = engine.state.metrics, logits.softmax(1).numpy()
    one_vs_rest = roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    assert metrics["auroc"] == pytest.approx(one_vs_rest, abs=1e-6)
    assert metrics["auroc_b"] == pytest.approx(roc_auc_score(labels == 1, probabilities[:, 1]), abs=1e-6)
    assert metrics["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, logits.argmax(1)))
    assert metrics["sensitivity_c"] == pytest.approx(
        (logits.argmax(1) == 2)[labels == 2].float().mean().item()
    )


def test_scores_of_no_images_are_an_error():
    scores = ClassificationScores(["a", "b"])
    scores.reset()
    with pytest.raises(ValueError, match="validation split is empty"):
        scores.compute()
