"""The CoronaHack collection, from a small copy of its layout."""

from dataset_helpers import found, touch


def test_coronahack_reads_its_table_with_its_spelling(tmp_path):
    (tmp_path / "Chest_xray_Corona_Metadata.csv").write_text(
        ",X_ray_image_name,Label,Dataset_type,Label_2_Virus_category,Label_1_Virus_category\n"
        "0,IM-0128-0001.jpeg,Normal,TRAIN,,\n"
        "1,person1_bacteria_1.jpeg,Pnemonia,TRAIN,,bacteria\n"
        "2,1-s2.0-S0140673620303706-fx1_lrg.jpg,Pnemonia,TRAIN,COVID-19,Virus\n"
        "3,ARDSSevere.png,Pnemonia,TRAIN,ARDS,Stress-Smoking\n"
        "4,SARS-10.1148rg.242035193-g04mr34g0-Fig8a.jpeg,Pnemonia,TRAIN,SARS,Virus\n"
        "5,person1_virus_6.jpeg,Pnemonia,TEST,,Virus\n"
    )
    images = tmp_path / "Coronahack-Chest-XRay-Dataset" / "Coronahack-Chest-XRay-Dataset"
    touch(images, "train/IM-0128-0001.jpeg", "test/person1_virus_6.jpeg")
    records, excluded = found("coronahack", tmp_path)
    assert [(r.class_name, r.split, r.patient) for r in records] == [
        ("normal", "training", "IM-128"),
        ("pneumonia", "training", "person1"),
        ("covid", "training", None),
        ("pneumonia", "training", None),
        ("pneumonia", "test", "test-person1"),
    ]
    assert records[-1].image == images / "test" / "person1_virus_6.jpeg"
    assert [(e.image.name, e.reason) for e in excluded] == [
        ("ARDSSevere.png", "label Pnemonia Stress-Smoking ARDS in TRAIN has no class")
    ]
