"""Every view is bit for bit what torchvision's pipeline makes of the image."""

import pytest
import torch
import torchvision.transforms.functional as transforms
from PIL import Image
from torch import Tensor

from data import IDENTITY_VIEW, VIEWS, ImageBank, ImageSet

CPU = torch.device("cpu")
IMAGES = 3
ODD_STATISTICS = (torch.tensor([0.1, 0.5, 0.9]), torch.tensor([0.3, 0.21, 0.07]))


def random_bank() -> tuple[Tensor, ImageBank]:
    images = torch.randint(256, (IMAGES, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return images, ImageBank(images, torch.arange(IMAGES), *ODD_STATISTICS, CPU)


def torchvision_view(image: Tensor, view: int, mean: Tensor, deviation: Tensor) -> Tensor:
    row, column = view % 81 // 9, view % 9
    picture = transforms.pad(Image.fromarray(image.permute(1, 2, 0).numpy()), 4)
    picture = transforms.crop(picture, row, column, 32, 32)
    if view >= 81:
        picture = transforms.hflip(picture)
    normalised: Tensor = transforms.normalize(transforms.to_tensor(picture), mean.tolist(), deviation.tolist())
    return normalised


def all_views(bank: ImageBank) -> Tensor:
    indices = torch.arange(IMAGES).repeat_interleave(VIEWS)
    return bank.crop(indices, torch.arange(VIEWS).repeat(IMAGES)).view(IMAGES, VIEWS, 3, 32, 32)


def test_there_are_162_views() -> None:
    assert VIEWS == 162


def test_every_view_is_bit_for_bit_that_of_torchvision() -> None:
    images, bank = random_bank()
    expected = [[torchvision_view(image, view, *ODD_STATISTICS) for view in range(VIEWS)] for image in images]
    assert torch.equal(all_views(bank), torch.stack([torch.stack(views) for views in expected]))


def test_every_view_of_real_images_is_bit_for_bit_that_of_torchvision(cifar100: ImageSet) -> None:
    images, statistics = cifar100.train_images[:: 50_000 // IMAGES][:IMAGES], cifar100.channel_statistics
    bank = ImageBank(images, torch.arange(IMAGES), *statistics, CPU)
    expected = [[torchvision_view(image, view, *statistics) for view in range(VIEWS)] for image in images]
    assert torch.equal(all_views(bank), torch.stack([torch.stack(views) for views in expected]))


def test_view_40_is_the_image() -> None:
    images, bank = random_bank()
    mean, deviation = (values[:, None, None] for values in ODD_STATISTICS)
    assert IDENTITY_VIEW == 40
    expected = (images.float() / 255 - mean) / deviation
    assert torch.equal(bank.crop(torch.arange(IMAGES), torch.full((IMAGES,), 40)), expected)


def test_no_two_views_of_an_image_are_equal() -> None:
    _, bank = random_bank()
    assert len({view.numpy().tobytes() for view in all_views(bank)[0]}) == VIEWS


def test_a_batch_is_channels_last_float32() -> None:
    _, bank = random_bank()
    batch = bank.crop(torch.tensor([2, 0]), torch.tensor([7, 161]))
    assert batch.shape == (2, 3, 32, 32)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous(memory_format=torch.channels_last)


def test_test_images_are_normalised_by_the_statistics_of_the_training_images(tiny_images: ImageSet) -> None:
    bank = ImageBank.of_test_images(tiny_images, CPU)
    shown = bank.crop(torch.tensor([5]), torch.tensor([IDENTITY_VIEW]))[0]
    expected = torchvision_view(tiny_images.test_images[5], IDENTITY_VIEW, *tiny_images.channel_statistics)
    assert torch.equal(shown, expected)
    assert torch.equal(bank.labels, tiny_images.test_labels)


def test_channel_statistics_are_those_of_the_pixels(tiny_images: ImageSet) -> None:
    pixels = tiny_images.train_images.double() / 255
    mean, deviation = tiny_images.channel_statistics
    torch.testing.assert_close(mean.double(), pixels.mean(dim=(0, 2, 3)), rtol=0, atol=1e-7)
    torch.testing.assert_close(deviation.double(), pixels.std(dim=(0, 2, 3), correction=0), rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("which", "expected"),
    [(0, (0.50707516, 0.48654887, 0.44091784)), (1, (0.26733429, 0.25643846, 0.27615047))],
    ids=["mean", "deviation"],
)
def test_channel_statistics_of_cifar100(cifar100: ImageSet, which: int, expected: tuple[float, ...]) -> None:
    assert cifar100.channel_statistics[which].tolist() == pytest.approx(expected, abs=1e-6)
