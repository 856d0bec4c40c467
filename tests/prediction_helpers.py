"""Predictions as tests make them up, without a model."""

from dataclasses import replace

from covid_monai.core.vocabulary import Status
from covid_monai.inference.prediction import Prediction

MODEL = {"name": "m", "version": "1", "weights_sha256": "w", "preprocessing_digest": "p"}


MODEL |= {"backend": "torch"}


NAMES = ("normal", "covid")


def prediction(file="image.png", normal=0.25, decided="covid", **changes):
    record = Prediction(
        file=file,
        status=Status.OK,
        model=MODEL,
        predicted_class="covid",
        probabilities={"normal": normal, "covid": 1 - normal},
        prediction_set=["covid"],
        decision={"class": decided, "reason": None, "at_operating_point": decided, "rule": "r"}
        | {"thresholds": {"normal": 0.5, "covid": 0.5}},
    )
    return replace(record, **changes)


REFUSED = Prediction(
    file="hand.dcm", status=Status.REFUSED, model=MODEL, reason="not_a_chest", detail="hand.dcm: a hand."
)
