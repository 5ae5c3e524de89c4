"""The 9 x 9 x 2 = 162 ways to crop (after padding by 4) and flip an image, as tensor operations on a whole batch."""

import torch
import torch.nn.functional as F
from torch import Tensor

from data.image_set import ImageSet

SIZE = 32
PADDING = 4
OFFSETS = 2 * PADDING + 1
VIEWS = OFFSETS * OFFSETS * 2
IDENTITY_VIEW = PADDING * OFFSETS + PADDING


class ImageBank:
    """Images on the training device, of which any view can be taken by number.

    View ``v`` is the crop whose upper left corner lies at row ``v % 81 // 9`` and column ``v % 9`` of the image
    padded by 4 black pixels, mirrored where ``v >= 81``. View 40 is the image itself.

    Args:
        images: uint8 of shape (images, 3, 32, 32).
        labels: int64 of shape (images,).
        mean, deviation: float32 of shape (3,), on the scale 0 to 1.
        device: where the images live and the views are made.
    """

    def __init__(self, images: Tensor, labels: Tensor, mean: Tensor, deviation: Tensor, device: torch.device) -> None:
        # Channels last and padded once: a view is then one gather whose result is already in the memory format in
        # which the convolutions are fastest.
        padded = F.pad(images, (PADDING,) * 4)
        self._padded = padded.permute(0, 2, 3, 1).contiguous().to(device)
        self.labels = labels.to(device)
        self._mean = mean.to(device)
        self._deviation = deviation.to(device)
        offsets = torch.arange(VIEWS) % (OFFSETS * OFFSETS)
        window = torch.arange(SIZE)
        columns = (offsets % OFFSETS)[:, None] + window
        columns[VIEWS // 2 :] = columns[VIEWS // 2 :].flip(1)
        self._rows = ((offsets // OFFSETS)[:, None] + window).to(device)
        self._columns = columns.to(device)

    @classmethod
    def of_training_images(cls, image_set: ImageSet, device: torch.device) -> "ImageBank":
        """All official training images, normalised by their own channel statistics."""
        return cls(image_set.train_images, image_set.train_labels, *image_set.channel_statistics, device)

    @classmethod
    def of_test_images(cls, image_set: ImageSet, device: torch.device) -> "ImageBank":
        """All test images, normalised by the channel statistics of the training images."""
        return cls(image_set.test_images, image_set.test_labels, *image_set.channel_statistics, device)

    def __len__(self) -> int:
        return len(self._padded)

    @property
    def device(self) -> torch.device:
        return self._padded.device

    def take(self, indices: Tensor, views: Tensor) -> Tensor:
        """The given views, normalised.

        Args:
            indices, views: int64 of shape (batch,), on the bank's device.

        Returns:
            float32 of shape (batch, 3, 32, 32), in channels-last memory format; bit for bit what torchvision's crop,
            flip, ``ToTensor`` and ``Normalize`` give.
        """
        rows = self._rows[views][:, :, None]
        columns = self._columns[views][:, None, :]
        pixels = self._padded[indices[:, None, None], rows, columns]
        normalised = pixels.float().div_(255).sub_(self._mean).div_(self._deviation)
        return normalised.permute(0, 3, 1, 2)
