"""Networks of one's own: imported by name, and refused in one line before anything is trained where they cannot be."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from models import Architecture, NetworkError, check_network, check_training

BEGINNING = """
import torch
from torch import nn

class Good(nn.Module):
    def __init__(self, num_classes, in_channels=3, image_size=32):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 4, 3, padding=1)
        self.norm, self.dropout = nn.BatchNorm2d(4), nn.Dropout(0.5)
        self.fc = nn.Linear(4, num_classes)
        self.image_size = image_size

    def forward(self, images):
        hidden = torch.relu(self.norm(self.conv(images)))
        return self.fc(self.dropout(hidden.mean(dim=(2, 3))))
"""
WRONG = {
    "no_classes": ("def Net():\n    return Good(3)", "cannot be made: TypeError"),
    "no_module": ("def Net(num_classes):\n    return 3", "gives int, not a torch.nn.Module"),
    "fewer_logits": (
        "class Net(Good):\n    def forward(self, x):\n        return super().forward(x)[:, :2]",
        "not (2, 5)",
    ),
    "not_finite": ("class Net(Good):\n    def forward(self, x):\n        return super().forward(x) / 0", "not finite"),
    "a_tuple": ("class Net(Good):\n    def forward(self, x):\n        return super().forward(x), x", "gives tuple"),
    "another_size": (
        "class Net(Good):\n    def forward(self, x):\n        assert x.shape[2] == 224, 'wants 224'\n        return x",
        "fails on images of shape (2, 3, 32, 32) (AssertionError: wants 224); where it wants another size of image",
    ),
    "shared": (
        "layer = nn.Conv2d(3, 4, 3)\nclass Net(Good):\n    def __init__(self, num_classes):\n"
        "        super().__init__(num_classes)\n        self.conv = layer",
        "two of it share 'conv.weight'",
    ),
    "other_seeds": (
        "import random\nclass Net(Good):\n    def __init__(self, num_classes):\n        super().__init__(num_classes)\n"
        "        self.conv.bias.data.fill_(random.random())",
        "first weights do not come from torch's seed alone",
    ),
    "always_drops": (
        "class Net(Good):\n    def forward(self, x):\n        return nn.functional.dropout(super().forward(x), 0.5)",
        "other logits for the same images in evaluation mode",
    ),
    "lazy": (
        "class Net(Good):\n    def __init__(self, num_classes):\n        super().__init__(num_classes)\n"
        "        self.fc = nn.LazyLinear(num_classes)",
        "has lazy modules",
    ),
    "unused": (
        "class Net(Good):\n    def __init__(self, num_classes):\n        super().__init__(num_classes)\n"
        "        self.more = nn.Linear(2, 2)",
        "parameter 'more.weight' gets no gradient",
    ),
    "counts": (
        "class Net(Good):\n    calls = 0\n    def forward(self, x):\n        self.calls += self.training\n"
        "        return super().forward(x) * (1 + self.calls)",
        "does not go on from a checkpoint",
    ),
    "norm_of_one": (
        "class Net(Good):\n    def forward(self, x):\n"
        "        return self.fc(self.norm(self.conv(x).mean((2, 3), True)).flatten(1))",
        "fails on images of shape (1, 3, 32, 32) (ValueError: Expected more than 1 value per channel",
    ),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with ``own_networks.py``."""
    (tmp_path / "own_networks.py").write_text(BEGINNING)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("own_networks", None)


def checked(architecture: Architecture) -> None:
    check_network(architecture)
    check_training(architecture, "float32", [1, 4], architecture.image_size)


@pytest.mark.parametrize(("channels", "size"), [(3, 32), (1, 48)])
def test_a_network_of_the_working_folder_is_made_for_the_images(channels: int, size: int, folder: Path) -> None:
    architecture = Architecture("own_networks:Good", 5, channels, size)
    network: Any = architecture.build()
    assert (network.conv.in_channels, network.fc.out_features, network.image_size) == (channels, 5, size)
    checked(architecture)
    check_training(architecture, "bfloat16", [4], size)


@pytest.mark.parametrize("name", ["StudentCNN", "resnet8", "torchvision.models:shufflenet_v2_x0_5"])
@pytest.mark.parametrize(("channels", "size"), [(3, 32), (1, 28), (3, 45), (3, 96)])
def test_the_networks_at_hand_take_images_of_the_sizes_that_a_study_may_have(
    name: str, channels: int, size: int
) -> None:
    if name.startswith("torchvision") and channels == 1:
        with pytest.raises(NetworkError, match="grey images have one channel: give it a parameter in_channels"):
            checked(Architecture(name, 7, channels, size))
        return
    architecture = Architecture(name, 7, channels, size)
    with torch.inference_mode():
        assert architecture.build().eval()(torch.zeros(2, channels, size, size)).shape == (2, 7)


@pytest.mark.parametrize("kind", WRONG)
def test_a_network_that_cannot_be_studied_is_refused_in_one_line(kind: str, folder: Path) -> None:
    content, said = WRONG[kind]
    (folder / "own_networks.py").write_text(f"{BEGINNING}\n{content}\n")
    with pytest.raises(NetworkError) as refused:
        checked(Architecture("own_networks:Net", 5))
    assert str(refused.value).startswith("network 'own_networks:Net'")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet21", "unknown network 'resnet21'"),
        ("nowhere:Net", "no module 'nowhere' in the working folder"),
        ("own_networks:Nett", "own_networks.py has no class or function 'Nett'"),
        ("own_networks:torch", "own_networks.py has no class or function 'torch'"),
        ("broken:Net", "cannot be imported: SyntaxError"),
        ("needs:Net", "cannot be imported: ModuleNotFoundError: No module named 'not_there'"),
    ],
)
def test_a_name_that_is_no_network_is_refused_in_one_line(name: str, said: str, folder: Path) -> None:
    (folder / "broken.py").write_text("class Net(\n")
    (folder / "needs.py").write_text("import not_there\n")
    with pytest.raises(NetworkError) as refused:
        Architecture(name, 5).build()
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_another_source_is_another_network(folder: Path) -> None:
    architecture = Architecture("own_networks:Good", 5)
    before = architecture.source
    assert len(before) == 64
    with (folder / "own_networks.py").open("a") as file:
        file.write("# changed\n")
    assert architecture.source != before
    assert Architecture("resnet8", 5).source == ""
