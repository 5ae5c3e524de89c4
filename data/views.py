"""The 9 x 9 x 2 = 162 ways to crop (after padding by 4) and flip an image, as tensor operations on a whole batch."""

import torch
from torch import Tensor

from data.image_set import ImageSet

PADDING = 4
OFFSETS = 2 * PADDING + 1
CROPS = OFFSETS * OFFSETS
VIEWS = 2 * CROPS
IDENTITY_VIEW = PADDING * OFFSETS + PADDING


class ImageBank:
    """Images on the training device, of which any view can be taken by number.

    View ``v`` is the crop whose upper left corner lies at row ``v % 81 // 9`` and column ``v % 9`` of the image
    padded by 4 black pixels, mirrored where ``v >= 81``. View 40 is the image itself.

    Args:
        images: uint8 of shape (images, channels, size, size).
        labels: int64 of shape (images,).
        mean, deviation: float32 of shape (channels,), on the scale 0 to 1.
        device: where the images live and the views are made.
    """

    def __init__(self, images: Tensor, labels: Tensor, mean: Tensor, deviation: Tensor, device: torch.device) -> None:
        # Channels last and padded once: a view is then rows of bytes that lie together, and the result is already in
        # the memory format in which the convolutions are fastest.
        count, channels, size, _ = images.shape
        padded = images.new_zeros(count, size + 2 * PADDING, size + 2 * PADDING, channels)
        padded[:, PADDING:-PADDING, PADDING:-PADDING] = images.permute(0, 2, 3, 1)
        # Of shape (images, 9, 9, size, size, channels): every crop of every image, without a copy.
        self._crops = padded.to(device).unfold(1, size, 1).unfold(2, size, 1).permute(0, 1, 2, 4, 5, 3)
        self.labels = labels.to(device)
        # Repeated for every pixel: an operation on whole images is several times faster than one on triples.
        self._mean, self._deviation = (
            statistic.to(device).expand(size, size, channels).contiguous() for statistic in (mean, deviation)
        )

    @classmethod
    def of_training_images(cls, image_set: ImageSet, device: torch.device) -> "ImageBank":
        """All official training images, normalised by their own channel statistics."""
        return cls(image_set.train_images, image_set.train_labels, *image_set.channel_statistics, device)

    @classmethod
    def of_test_images(cls, image_set: ImageSet, device: torch.device) -> "ImageBank":
        """All test images, normalised by the channel statistics of the training images."""
        return cls(image_set.test_images, image_set.test_labels, *image_set.channel_statistics, device)

    def __len__(self) -> int:
        return len(self._crops)

    @property
    def device(self) -> torch.device:
        return self._crops.device

    def crop(self, indices: Tensor, views: Tensor) -> Tensor:
        """The given views, normalised.

        Args:
            indices, views: int64 of shape (batch,), on the bank's device.

        Returns:
            float32 of shape (batch, channels, size, size), in channels-last memory format; bit for bit what
            torchvision's crop, flip, ``ToTensor`` and ``Normalize`` give.
        """
        offsets = views % CROPS
        crops = self._crops[indices, offsets // OFFSETS, offsets % OFFSETS]
        mirrored = (views >= CROPS)[:, None, None, None]
        pixels = torch.where(mirrored, crops.flip(2), crops)
        normalised = pixels.float().div_(255).sub_(self._mean).div_(self._deviation)
        return normalised.permute(0, 3, 1, 2)
