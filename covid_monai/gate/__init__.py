"""The input gate, which refuses images that are unlike the training images and says why."""
