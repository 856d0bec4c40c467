"""The COVID-19 Radiography Database, from a small copy of its layout."""

from dataset_helpers import found, touch


def test_radiography_reads_images_and_never_masks(tmp_path):
    root = tmp_path / "COVID-19_Radiography_Dataset"
    for folder in ("COVID", "Normal", "Viral Pneumonia", "Lung_Opacity"):
        touch(
            root,
            f"{folder}/images/{folder}-1.png",
            f"{folder}/masks/{folder}-1.png",
            f"{folder}.metadata.xlsx",
        )
    records, excluded = found("radiography", tmp_path)
    assert not excluded
    assert {(record.image.name, record.class_name) for record in records} == {
        ("COVID-1.png", "covid"),
        ("Normal-1.png", "normal"),
        ("Viral Pneumonia-1.png", "pneumonia"),
        ("Lung_Opacity-1.png", "pneumonia"),
    }
    assert {record.image.parent.name for record in records} == {"images"}
