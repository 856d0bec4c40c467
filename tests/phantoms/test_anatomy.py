"""Outlines of a thorax: where the organs lie, the same for one person, different between persons."""

import numpy as np
import pytest

from covid_monai.phantoms import anatomy
from covid_monai.phantoms.anatomy import SIDES, Habitus, breasts, lung_outline, mediastinum_outline
from covid_monai.phantoms.canvas import Canvas, Line

SEEDS = range(12)
PARTS = (
    *("body_outline", "mediastinum_outline", "abdomen", "posterior_ribs", "anterior_ribs", "clavicles"),
    *("shoulders", "vertebrae", "airways", "vessels", "breasts", "stomach_bubble"),
)


def person(seed=0, *, sex="F", view="PA"):
    return Habitus(seed, sex=sex, view=view)


def paths(drawn):
    """All points of what a part returns: a path, paths, or lines."""
    drawn = drawn if isinstance(drawn, list) else [drawn]
    return np.concatenate(
        [each.points if isinstance(each, Line) else each for each in drawn] or [np.empty((0, 2))]
    )


def area(*outlines):
    return Canvas(256).fill(outlines, blur=0) > 0.5


@pytest.mark.parametrize("name", PARTS)
def test_a_part_is_the_same_each_time_and_another_in_another_person(name):
    part = getattr(anatomy, name)
    first, again, other = (paths(part(person(seed))) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)
    assert first.shape[1] == 2
    assert np.isfinite(first).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_each_lung_lies_on_its_side_inside_the_ribs_and_the_body(seed):
    habitus = person(seed)
    body = area(anatomy.body_outline(habitus))
    for side in SIDES:
        lung = lung_outline(habitus, side)
        assert (lung[:, 0] * side).mean() > 0.2
        assert (lung[:, 0] * side).max() < habitus.breadth + 0.1
        inside = area(lung)
        assert 0.03 < inside.mean() < 0.25
        assert (inside & ~body).sum() < 0.02 * inside.sum()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_heart_reaches_further_to_the_left(seed):
    outline = mediastinum_outline(person(seed))
    assert outline[:, 0].max() > -outline[:, 0].min() + 0.05


def test_the_left_diaphragm_is_lower_and_the_heart_is_wider_in_ap():
    habitus = person()
    assert habitus.dome(1) > habitus.dome(-1) == habitus.base
    assert person(view="AP").heart == pytest.approx(1.15 * person(view="PA").heart)
    assert person(view="AP").base == person(view="PA").base


def test_the_rib_cage_widens_downwards_to_its_widest():
    habitus = person()
    widths = [habitus.wall(y) for y in np.linspace(habitus.apex, 0.3, 20)]
    assert (np.diff(widths) >= 0).all()
    assert widths[-1] == habitus.wall(0.9) == pytest.approx(habitus.breadth)


def test_there_are_as_many_bones_as_a_chest_shows():
    habitus = person()
    assert len(anatomy.posterior_ribs(habitus)) == 20
    assert len(anatomy.anterior_ribs(habitus)) == 14
    assert len(anatomy.clavicles(habitus)) == 2
    for lines in (anatomy.posterior_ribs(habitus), anatomy.clavicles(habitus)):
        right, left = lines[0].points, lines[1].points
        assert np.array_equal(right * (-1, 1), left), "both sides mirror each other"


def test_breasts_belong_to_women_and_nothing_else_depends_on_the_sex():
    assert len(breasts(person(sex="F"))) == 2
    assert breasts(person(sex="M")) == []
    for name in set(PARTS) - {"breasts"}:
        part = getattr(anatomy, name)
        assert np.array_equal(paths(part(person(sex="F"))), paths(part(person(sex="M"))))


def test_vessels_taper_and_leave_the_hilum_on_both_sides():
    lines = anatomy.vessels(person())
    assert len(lines) == 18 * (2**5 - 1)
    assert {float(np.sign(line.points[0, 0])) for line in lines[:18]} == {-1, 1}
    assert lines[-1].width < lines[0].width / 2
    assert all(0 < line.level <= 1 for line in lines)
