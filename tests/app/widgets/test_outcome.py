"""How outcomes are displayed."""

from covid_monai.app.widgets.outcome import LEGEND, outcome_style
from covid_monai.core.vocabulary import Status
from covid_monai.inference.prediction import Prediction


def test_outcomes_differ_in_word_and_icon():
    assert len({style.words for style in LEGEND}) == len({style.icon for style in LEGEND}) == len(LEGEND) == 5
    model = {"name": "m", "version": "1", "weights_sha256": "0", "preprocessing_digest": "0"}
    kinds = {
        status: outcome_style(
            Prediction(file="f", status=status, model=model, predicted_class="normal", decision=None)
        ).kind
        for status in Status
    }
    assert kinds == {Status.OK: "normal", Status.REFUSED: "refused", Status.ERROR: "error"}
