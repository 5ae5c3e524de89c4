"""The student of the seed: four convolutions and one linear layer, 799,652 parameters at 100 classes."""

import torch.nn.functional as F
from torch import Tensor, nn


class StudentCNN(nn.Module):
    """The one plain reading of the seed's description that has 799,652 parameters.

    Args:
        num_classes: how many logits ``forward`` gives.
        in_channels, image_size: of the images.
    """

    def __init__(self, num_classes: int = 100, in_channels: int = 3, image_size: int = 32) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 32, kernel_size=5, padding=2)
        self.conv2 = nn.Conv2d(32, 64, kernel_size=3, padding=1)
        self.conv3 = nn.Conv2d(64, 128, kernel_size=3, padding=1)
        self.conv4 = nn.Conv2d(128, 256, kernel_size=3, padding=1)
        self.fc = nn.Linear(256 * (image_size // 8) ** 2, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, float32 of shape (batch, num_classes), of normalised images (batch, channels, size, size)."""
        # Both are monotonic, so pooling first gives the same as ReLU first, with a quarter of the work for ReLU.
        hidden = F.relu(F.max_pool2d(self.conv1(images), 2))
        hidden = F.relu(F.max_pool2d(self.conv2(hidden), 2))
        hidden = F.relu(F.max_pool2d(self.conv3(hidden), 2))
        # Flattened before the ReLU, whose gradient is then as contiguous as its input: a hundredth of a step.
        hidden = F.relu(self.conv4(hidden).flatten(1))
        logits: Tensor = self.fc(hidden)
        return logits
