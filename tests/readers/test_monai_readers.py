"""The readers inside MONAI's `LoadImage` and `LoadImaged`."""

import pytest
from dicom_helpers import make_ds, picture, save, ways_in
from monai.data import MetaTensor, list_data_collate
from monai.transforms import EnsureChannelFirst, LoadImage, LoadImaged

from covid_monai.core.vocabulary import RefusedImage, UnreadableImage
from covid_monai.readers import RadiographReader


def test_monai_loads_collates_and_keeps_the_axes(tmp_path):
    _, paths = ways_in(tmp_path)
    load = LoadImaged(keys="image", reader=RadiographReader)
    batch = list_data_collate([load({"image": path}) for path in paths[:4]])
    assert batch["image"].shape == (4, 1, 96, 128)
    named = LoadImage(reader="covid_monai.readers.RadiographReader")(paths[0])
    assert isinstance(named, MetaTensor)
    assert EnsureChannelFirst()(named).shape == (1, 96, 128)
    assert LoadImage(reader=RadiographReader, ensure_channel_first=True)(paths[0]).shape == (1, 96, 128)


def test_monai_does_not_fall_back_to_other_readers(tmp_path):
    load = LoadImage(reader=RadiographReader)
    refused = save(make_ds(picture(), Modality="CT"), tmp_path / "ct.dcm")
    with pytest.raises(RefusedImage):
        load(refused)
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UnreadableImage):
        load(tmp_path / "cut.png")
    with pytest.raises(ValueError, match="2 files"):
        load([refused, refused])
