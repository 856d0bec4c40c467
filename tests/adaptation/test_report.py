"""The sentences and the table of an adaptation."""

from covid_monai.adaptation.report import how_measured, make_report, render_report, summary, table
from covid_monai.adaptation.site_fit import fit_site

MADE_OF = {"name": "cxr", "version": "0.2.0", "weights_sha256": "ab" * 32}
NOTHING = {"value": None, "low": None, "high": None}


def report_of(images, start, after=None, **options):
    from dataclasses import replace

    model = fit_site(images, start, **options)
    facts = {"site": "Clinic A", "date": "2026-12-01", **model.unseen.adapted}
    model = replace(model, unseen=replace(model.unseen, adapted=facts))
    rates = {"false_alarms": {"value": 0.2, "low": 0.1, "high": 0.3}, "sensitivity": NOTHING}
    return make_report(model, MADE_OF, {"causes": {"covid": rates}}, after, 0 if after is None else 5)


def test_the_summary_says_with_how_many_patients_and_what_is_promised(draw, start):
    report = report_of(draw((93, 0, 0)), start)
    said = " ".join(summary(report))
    assert said.startswith("Adapted to Clinic A on 2026-12-01 with 93 normal patients.")
    assert "Of these patients, at most 1 reaches a cut" in said
    assert "with a confidence of 95 %, at most 5 % of such patients are called" in said
    assert report["upper_limit"] <= 0.05
    assert "no cause is named" not in said.lower()


def test_too_few_patients_are_the_first_thing_that_is_said(draw, start):
    said = summary(report_of(draw((58, 0, 0)), start))
    assert "No cause is named: the cut needs 59 normal patients, and there are 58." in said


def test_figures_stand_with_intervals_before_and_after_and_unknown_ones_are_left_out(draw, start):
    rates = {"false_alarms": {"value": 0.01, "low": 0.0, "high": 0.05}, "sensitivity": NOTHING}
    report = report_of(draw((60, 0, 0)), start, after={"causes": {"covid": rates}})
    assert table(report) == [
        ("normal patients with the cause covid", "0.200 (0.100 to 0.300)", "0.010 (0.000 to 0.050)")
    ]
    text = render_report(report)
    assert f"| {' | '.join(table(report)[0])} |\n" in text
    assert text.startswith("# Adapted to Clinic A\n")
    assert "5 parts" in how_measured(report)
    assert "too few patients" in how_measured(report_of(draw((59, 0, 0)), start))
