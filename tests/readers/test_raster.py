"""JPEG and PNG radiographs: every mode, orientation, colour and damage."""

import contextlib
import io
import struct
import subprocess
import sys
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from covid_monai.core.vocabulary import RefusalReason, RefusedImage, UnreadableImage
from covid_monai.readers import read_radiograph


def picture(rows=96, columns=128):
    y, x = np.mgrid[0:rows, 0:columns]
    return ((np.sin(x / 17) * np.cos(y / 23) + 1) * 110 + 20 * x / columns).astype(np.uint8)


def read(image, path, **options):
    image.save(path, **options)
    return read_radiograph(path)[0][0]


def refusal(path):
    with pytest.raises(RefusedImage) as caught:
        read_radiograph(path)
    return caught.value.reason


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P"])
def test_png_modes_of_one_picture(tmp_path, mode):
    image = read(Image.fromarray(picture()).convert(mode), tmp_path / "image.png")
    np.testing.assert_allclose(image, picture() / 255, atol=1e-7)


def test_one_bit_png(tmp_path):
    bits = picture() > 120
    np.testing.assert_array_equal(read(Image.fromarray(bits), tmp_path / "image.png"), bits)


def test_grey_cmyk_jpeg(tmp_path):
    image = read(Image.fromarray(picture()).convert("CMYK"), tmp_path / "image.jpg", quality=100)
    np.testing.assert_allclose(image, picture() / 255, atol=2.1 / 255)


def test_transparency_is_laid_over_black(tmp_path):
    rgba = np.dstack([np.repeat(picture()[..., None], 3, axis=2), np.full(picture().shape, 255, np.uint8)])
    rgba[:30, :, 3] = 0
    image = read(Image.fromarray(rgba), tmp_path / "image.png")
    assert (image[:30] == 0).all()
    np.testing.assert_allclose(image[30:], picture()[30:] / 255, atol=1e-7)


def test_sixteen_bits_over_their_full_range(tmp_path):
    wide = picture().astype(np.uint16) * 257
    np.testing.assert_allclose(read(Image.fromarray(wide), tmp_path / "image.png"), wide / 65535, atol=1e-6)


def test_raw_detector_values_in_sixteen_bits_are_stretched(tmp_path):
    raw = picture().astype(np.uint16) * 16
    image = read(Image.fromarray(raw), tmp_path / "image.png")
    low, high = np.percentile(raw.astype(float), [0.5, 99.5], method="inverted_cdf")
    np.testing.assert_allclose(image, np.clip((raw - low) / (high - low), 0, 1), atol=1e-6)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_exif_orientation(tmp_path, orientation, suffix):
    # TIFF 6.0: where row 0 and column 0 of the stored picture are shown.
    undo = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: np.transpose,
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).T,
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(undo(picture())))
    image = read(
        stored, tmp_path / f"image{suffix}", exif=exif, **({"quality": 100} if suffix == ".jpg" else {})
    )
    np.testing.assert_allclose(image, picture() / 255, atol=2.1 / 255)


def test_rows_first_and_upright(tmp_path):
    pixels = picture(64, 100)
    pixels[:10] = 255
    image = read(Image.fromarray(pixels), tmp_path / "image.png")
    assert image.shape == (64, 100)
    assert (image[:10] == 1).all()


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9500, 15000])
def test_too_many_pixels_are_refused_by_the_header(tmp_path, side):
    # Of one bit: small as a file, and never decoded. Pillow itself gives up above 179 million pixels.
    Image.new("1", (side, side)).save(tmp_path / "image.png")
    assert refusal(tmp_path / "image.png") is RefusalReason.TOO_LARGE


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(side, colour, depth, *, interlaced=False, more=()):
    """A PNG file that is all header; one row of its pixels is there."""
    header = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, interlaced)
    palette = [(b"PLTE", bytes(range(256)) * 3)] if colour == 3 else []
    chunks = [(b"IHDR", header), *palette, *more, (b"IDAT", zlib.compress(bytes(8 * side))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


TRANSPARENT = {0: [(b"tRNS", b"\0\1")], 2: [(b"tRNS", bytes(6))], 3: [(b"tRNS", b"\0\1")]}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("colour", [0, 2, 3, 4, 6, "0t", "2t", "3t"])
def test_what_a_png_takes_when_decoded_decides_by_its_header(tmp_path, monkeypatch, colour, interlaced):
    def decode(*_):
        pytest.fail("it was decoded")

    monkeypatch.setattr(Image.Image, "load", decode)
    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    kind, more = (int(colour[0]), TRANSPARENT[int(colour[0])]) if isinstance(colour, str) else (colour, ())
    side = 8945 if colour == 0 else 6330  # just above 80 million pixels of grey, 40 million of all others
    for depth in (8,) if kind == 3 else (8, 16):
        (tmp_path / "image.png").write_bytes(png(side, kind, depth, interlaced=interlaced, more=more))
        assert refusal(tmp_path / "image.png") is RefusalReason.TOO_LARGE
    (tmp_path / "image.png").write_bytes(png(8940, 6, 8))
    assert refusal(tmp_path / "image.png") is RefusalReason.TOO_LARGE


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_what_a_jpeg_takes_when_decoded_decides_by_its_header(tmp_path, mode):
    file = io.BytesIO()
    Image.new(mode, (64, 64)).save(file, "JPEG")
    head = bytearray(file.getvalue())
    at = head.index(b"\xff\xc0") + 5
    head[at : at + 4] = struct.pack(">HH", 8940, 8940)
    (tmp_path / "image.jpg").write_bytes(head)
    assert refusal(tmp_path / "image.jpg") is RefusalReason.TOO_LARGE


PEAK = """import resource, sys
from covid_monai.readers.radiograph import read_radiograph
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
read_radiograph(sys.argv[1])
print(peak() - before)"""


@pytest.mark.slow
def test_the_largest_image_with_transparency_is_read_in_bounded_memory(tmp_path):
    pixels = np.zeros((6320, 6320, 4), np.uint8)
    pixels[...] = (np.arange(6320) % 200)[:, None, None]
    pixels[..., 2] -= pixels[..., 2] // 20  # a tint: all three samples are weighted
    pixels[..., 3] = 200
    Image.fromarray(pixels).save(tmp_path / "image.png", compress_level=1)
    command = [sys.executable, "-c", PEAK, tmp_path / "image.png"]
    assert float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) < 420  # MiB


def many_scans(count):
    """A small progressive JPEG whose last scan is repeated."""
    file = io.BytesIO()
    Image.fromarray(picture(640, 640)).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * (count - data.count(b"\xff\xda")) + data[-2:]


def test_a_jpeg_of_many_scans_is_not_decoded(tmp_path):
    most = 800_000_000 // 640**2
    (tmp_path / "image.jpg").write_bytes(many_scans(20))
    assert read_radiograph(tmp_path / "image.jpg")[0].shape == (1, 640, 640)
    (tmp_path / "image.jpg").write_bytes(many_scans(most + 1))
    with pytest.raises(UnreadableImage, match=r"image\.jpg.*scans.*again"):
        read_radiograph(tmp_path / "image.jpg")


def test_ancillary_chunks_that_inflate_are_not_kept(tmp_path):
    bomb = zlib.compress(bytes(200 << 20))
    for kind, head in ((b"zTXt", b"a\0\0"), (b"iTXt", b"a\0\1\0\0\0"), (b"iCCP", b"a\0\0")):
        (tmp_path / "image.png").write_bytes(png(100, 0, 8, more=[(kind, head + bomb)]))
        peak = tracemalloc_peak(tmp_path / "image.png")
        assert peak < 10 << 20, kind


def tracemalloc_peak(path):
    tracemalloc.start()
    try:
        with contextlib.suppress(RefusedImage, UnreadableImage):
            read_radiograph(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_exif_tags_that_share_one_large_value_are_not_read(tmp_path):
    size = 1 << 20
    entries = [struct.pack("<HHII", tag, 7, size, 0) for tag in range(2000)]
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    tiff = b"II*\0\x08\0\0\0" + directory
    exif = [(b"eXIf", tiff + bytes(size))]
    (tmp_path / "image.png").write_bytes(png(100, 0, 8, more=exif))
    with pytest.raises(UnreadableImage, match="EXIF"):
        read_radiograph(tmp_path / "image.png")
    assert tracemalloc_peak(tmp_path / "image.png") < 10 << 20


def test_blank_and_animated(tmp_path):
    Image.new("L", (100, 100), 9).save(tmp_path / "blank.png")
    assert refusal(tmp_path / "blank.png") is RefusalReason.BLANK
    frames = [Image.fromarray(picture()), Image.fromarray(picture()[::-1])]
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=frames[1:])
    assert refusal(tmp_path / "moving.png") is RefusalReason.MULTI_FRAME


def test_other_formats_and_damage(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "image.gif")
    Image.fromarray(picture()).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:-200])
    for name in ("image.gif", "cut.jpg"):
        with pytest.raises(UnreadableImage, match=name):
            read_radiograph(tmp_path / name)


@pytest.mark.parametrize("head", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_a_damaged_header_is_named_without_the_path(tmp_path, head):
    path = tmp_path / "planted"
    path.write_bytes(head + bytes(500))
    with pytest.raises(UnreadableImage, match="header is damaged") as caught:
        read_radiograph(path)
    assert str(tmp_path) not in str(caught.value)


def test_content_decides_not_the_name(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "image.png")
    renamed = (tmp_path / "image.png").rename(tmp_path / "image.dcm")
    assert read_radiograph(renamed)[0].shape == (1, 96, 128)


@pytest.mark.real_data
@pytest.mark.parametrize(
    "folder", ["chest_xray/test", "covid-chestxray-dataset/images", "darkcovidnet", "covid-cxnet/covid19"]
)
def test_real_images_are_accepted(real_data, folder):
    paths = sorted(
        p for p in (real_data / folder).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png")
    )
    assert len(paths) > 500
    colour = [p for p in paths if Image.open(p).mode != "L"]
    for path in {*paths[::40], *colour[::8]}:
        image, _ = read_radiograph(path)
        assert image.shape[0] == 1
        assert 0 <= image.min() < image.max() <= 1


@pytest.mark.real_data
def test_superpixel_renderings_are_refused_as_colour(real_data):
    """The copy of this collection holds explanations drawn in green over averaged patches, not images."""
    paths = sorted(p for p in (real_data / "covid19-image-dataset").rglob("*") if p.is_file())[::20]
    assert {refusal(path) for path in paths} == {RefusalReason.COLOUR}
