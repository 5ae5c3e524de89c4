"""The CIFAR ResNet family of SimKD (https://github.com/DefangChen/SimKD), with its parameter names.

He et al. 2015 (https://arxiv.org/abs/1512.03385), section 4.2, widened as in RepDistiller and SimKD: ``resnet32x4``
has 32 layers and four times the channels, its stem twice.
"""

import re

import torch
from torch import Tensor, nn

CHANNELS = {"": (16, 16, 32, 64), "x2": (16, 32, 64, 128), "x4": (32, 64, 128, 256)}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels_in != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride=stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, images: Tensor) -> Tensor:
        shortcut = images if self.downsample is None else self.downsample(images)
        hidden = torch.relu_(self.bn1(self.conv1(images)))
        return torch.relu_(self.bn2(self.conv2(hidden)).add_(shortcut))


class ResNet(nn.Module):
    """A CIFAR ResNet of ``6 n + 2`` layers: a stem and three stages of ``n`` basic blocks.

    Args:
        depth: number of layers.
        channels: of the stem and of the three stages.
        num_classes: how many logits ``forward`` gives.
        in_channels: of the images.
    """

    def __init__(self, depth: int, channels: tuple[int, int, int, int], num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        stem, first, second, third = channels
        self.conv1 = nn.Conv2d(in_channels, stem, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.layer1 = _stage(stem, first, blocks, stride=1)
        self.layer2 = _stage(first, second, blocks, stride=2)
        self.layer3 = _stage(second, third, blocks, stride=2)
        self.fc = nn.Linear(third, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Logits, float32 of shape (batch, num_classes), of normalised images (batch, channels, size, size)."""
        hidden = torch.relu_(self.bn1(self.conv1(images)))
        hidden = self.layer3(self.layer2(self.layer1(hidden)))
        logits: Tensor = self.fc(hidden.mean(dim=(2, 3)))
        return logits


def _stage(channels_in: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(channels_in, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))


def build(name: str, num_classes: int = 100, in_channels: int = 3) -> ResNet:
    """The network called ``name``, with fresh weights from torch's global generator.

    Args:
        name: ``resnet`` with a depth of 6 n + 2 and, if wider, ``x2`` or ``x4``: ``resnet20``, ``resnet32x4``, ...
        num_classes: how many logits it gives.
        in_channels: of the images, which may be of any size.

    Raises:
        ValueError: for a name that is none of the family.
    """
    match = re.fullmatch(r"resnet([1-9]\d{0,3})(|x2|x4)", name)
    depth = int(match[1]) if match else 0
    if match is None or depth < 8 or (depth - 2) % 6:
        raise ValueError(
            f"unknown network {name!r}: give resnet8, resnet14, resnet20, ... (6 n + 2), alone or with x2 or x4"
        )
    return ResNet(depth, CHANNELS[match[2]], num_classes, in_channels)


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """A copy in which every batch norm is part of the convolution before it: the same function but for rounding.

    Args:
        network: in evaluation mode; left as it is. One that is not of this family is given back: not every network can
            be traced.
    """
    if not isinstance(network, ResNet):
        return network
    from torch.fx.experimental.optimization import fuse  # Here, since only who asks a teacher has to wait for it.

    folded: nn.Module = fuse(network)
    return folded
