"""What is not scored because it is unlike the training images, and why."""
