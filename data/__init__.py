"""Images in memory as tensors: what they are, how they are split, cropped, mirrored and ordered."""

from data.cifar100 import load_cifar100
from data.draws import Draws
from data.image_set import DataError, ImageSet, count_copies
from data.load import load_images
from data.own_images import load_own_images
from data.split import Split, split
from data.stream import stream
from data.synthetic import load_synthetic
from data.views import CROPS, IDENTITY_VIEW, VIEWS, ImageBank

__all__ = [
    "CROPS",
    "IDENTITY_VIEW",
    "VIEWS",
    "DataError",
    "Draws",
    "ImageBank",
    "ImageSet",
    "Split",
    "count_copies",
    "load_cifar100",
    "load_images",
    "load_own_images",
    "load_synthetic",
    "split",
    "stream",
]
