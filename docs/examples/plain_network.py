"""An own network: four convolutions and a linear layer."""

from torch import Tensor, nn


class PlainNetwork(nn.Module):
    """Compute the logits of a grey picture.

    The names `layer4` and `fc` have a meaning: heat maps are computed at `layer4`, and `fc` is the head,
    which `freeze_epochs` and `backbone_factor` distinguish from the other layers.

    Args:
        num_classes: Number of classes.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_convolution(1, 8), *_convolution(8, 16), *_convolution(16, 32))
        self.layer4 = nn.Sequential(*_convolution(32, 64))
        self.fc = nn.Linear(64, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits [N, num_classes] of preprocessed images, float32 [N, 1, S, S]."""
        return self.fc(self.layer4(self.stem(image)).mean(dim=(2, 3)))


def _convolution(channels_in: int, channels_out: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(channels_out), nn.ReLU()
