"""What `train.yaml` composes beyond the parts of MONAI."""
