"""What the train.yaml of a segmentation bundle composes beyond the parts of `covid_monai.training`."""
