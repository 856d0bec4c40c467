"""Facts about files: what Pillow says of whole pictures, kinds of files, and what cannot be looked at."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covid_monai.core.vocabulary import UnreadableImage
from covid_monai.evaluation.shortcuts.image_properties import read_all_properties, read_properties
from covid_monai.phantoms.file_formats import PhantomPatient, radiograph_dataset
from covid_monai.phantoms.radiograph import draw_radiograph


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return draw_radiograph("normal", seed=3, size=512)


def block_means(picture: np.ndarray) -> np.ndarray:
    return picture.reshape(64, 8, 64, 8).mean(axis=(1, 3))


def test_every_format_gives_the_same_thumbnail(image, tmp_path):
    codes = (255 * image).round().astype(np.uint8)
    grey = Image.fromarray(codes)
    grey.save(tmp_path / "a.jpg", quality=95)
    grey.convert("RGB").save(tmp_path / "b.jpg", quality=95)
    grey.save(tmp_path / "c.png")
    Image.fromarray((65535 * image).round().astype(np.uint16)).save(tmp_path / "d.png")
    patient = PhantomPatient("PHANTOM-0001", sex="F", age=50, seed=1)
    radiograph_dataset(image, patient, number=1, view="PA", inverted=True).save_as(tmp_path / "e.dcm")
    facts = read_all_properties(sorted(tmp_path.iterdir()))
    assert [(f.rows, f.columns) for f in facts] == [(512, 512)] * 5
    assert [f.file_type for f in facts] == ["JPEG", "JPEG", "PNG", "PNG", "DICOM"]
    assert [f.depth for f in facts] == [
        "grey, 8 bit",
        "colour, 8 bit",
        "grey, 8 bit",
        "grey, 16 bit",
        "MONOCHROME1",
    ]
    for fact in facts:
        np.testing.assert_allclose(fact.thumbnail, 255 * block_means(image), atol=3)
        assert fact.mean_grey == pytest.approx(float(image.mean()), abs=0.005)


def test_compression_frame_and_sharpness_rise_with_their_cause(image, tmp_path):
    framed = image.copy()
    framed[:, :64] = framed[:, -64:] = 0
    picture = Image.fromarray((255 * image).astype(np.uint8))
    picture.save(tmp_path / "fine.jpg", quality=95)
    picture.save(tmp_path / "coarse.jpg", quality=40)
    picture.resize((64, 64)).resize((512, 512)).save(tmp_path / "blurred.png")
    Image.fromarray((255 * framed).astype(np.uint8)).save(tmp_path / "framed.png")
    fine, coarse, blurred, frame = (
        read_properties(tmp_path / name) for name in ("fine.jpg", "coarse.jpg", "blurred.png", "framed.png")
    )
    assert 1 <= fine.compression < coarse.compression
    assert blurred.compression == 0
    assert blurred.sharpness < 0.7 * fine.sharpness
    assert fine.frame_share == 0
    assert frame.frame_share == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
@pytest.mark.parametrize("size", [(40, 40), (64, 250), (250, 64), (256, 256), (400, 30)])
def test_a_thumbnail_of_a_small_image_does_not_turn_white_into_black(tmp_path, size, mode):
    # Edges from black to white, which bicubic enlargement overshoots on both sides.
    rows, columns = size
    if mode == "I;16" and min(size) < 64:
        pytest.skip("smaller images of 16 bits are refused")
    squares = (np.add.outer(np.arange(rows) // 10, np.arange(columns) // 10) % 2).astype(np.float64)
    top = 65535 if mode == "I;16" else 255
    pixels = (squares * top).astype(np.uint16 if mode == "I;16" else np.uint8)
    Image.fromarray(pixels if mode != "RGB" else np.repeat(pixels[..., None], 3, 2)).save(tmp_path / "a.png")
    found = read_properties(tmp_path / "a.png")
    nearest = Image.fromarray((squares * 255).astype(np.uint8)).resize((256, 256), Image.Resampling.BILINEAR)
    smooth = np.asarray(nearest, dtype=float).reshape(64, 4, 64, 4).mean(axis=(1, 3))
    inside = (smooth < 2) | (smooth > 253)  # away from the edges
    assert inside.mean() > 0.02
    assert np.abs(found.thumbnail[inside] - smooth[inside]).max() < 30
    assert 0 <= found.mean_grey <= 1


def test_what_cannot_be_looked_at_is_none(image, tmp_path):
    good = tmp_path / "good.png"
    Image.fromarray((255 * image).astype(np.uint8)).save(good)
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:2000])
    (tmp_path / "words.txt").write_text("no picture")
    paths = [tmp_path / "cut.png", good, tmp_path / "words.txt", tmp_path / "missing.png"]
    assert [fact is None for fact in read_all_properties(paths)] == [True, False, True, True]
    for path in (paths[0], paths[2], paths[3]):
        with pytest.raises(UnreadableImage, match=path.name):
            read_properties(path)


@pytest.mark.real_data
def test_real_jpegs_agree_with_a_full_decode(real_data):
    for path in sorted((real_data / "covid-cxnet" / "covid19").iterdir())[:5]:
        with Image.open(path) as image:
            size, whole = image.size, np.asarray(image.convert("L"), dtype=np.float64) / 255
        fact = read_properties(Path(path))
        assert (fact.columns, fact.rows) == size
        assert fact.mean_grey == pytest.approx(whole.mean(), abs=0.01)
