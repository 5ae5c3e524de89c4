"""Networks of one's own: imported by name, and refused in one line before anything is trained where they cannot be."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tqdm import tqdm

from data import ImageBank
from models import (
    Architecture,
    NetworkError,
    Normalisation,
    check_network,
    check_training,
    has_fixed_weights,
    load_checkpoint,
    save_checkpoint,
    weights_hash,
)
from storage.configuration import Recipe
from study.step import TrainingStep
from tests.test_arrows import BELOW

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
        "not (4, 5)",
    ),
    "not_finite": ("class Net(Good):\n    def forward(self, x):\n        return super().forward(x) / 0", "not finite"),
    "probabilities": (
        "class Net(Good):\n    def forward(self, x):\n        return super().forward(x).softmax(1)",
        "gives probabilities, not logits: leave out its softmax",
    ),
    "views": (
        "class Net(Good):\n    def __init__(self, num_classes):\n        super().__init__(num_classes)\n"
        "        self.fc = nn.Linear(4 * 32 * 32, num_classes)\n"
        "    def forward(self, x):\n        x = self.norm(self.conv(x))\n        return self.fc(x.view(len(x), -1))",
        "images are channels_last here: reshape or flatten where it has view",
    ),
    "a_tuple": ("class Net(Good):\n    def forward(self, x):\n        return super().forward(x), x", "gives tuple"),
    "another_size": (
        "class Net(Good):\n    def forward(self, x):\n        assert x.shape[2] == 224, 'wants 224'\n        return x",
        "fails on images of shape (4, 3, 32, 32) (AssertionError: wants 224); where it wants another size of image",
    ),
    "a_batch_of_one": (
        "class Net(Good):\n    def __init__(self, num_classes):\n        super().__init__(num_classes)\n"
        "        self.last = nn.BatchNorm1d(num_classes)\n"
        "    def forward(self, x):\n        return self.last(super().forward(x))",
        "where it wants more than one image in a batch, give another batch_size",
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
    "compares_images": (
        "class Net(Good):\n    def __init__(self, num_classes):\n        super().__init__(num_classes)\n"
        "        self.norm = nn.BatchNorm2d(4, track_running_stats=False)",
        "depends on the others of the batch in evaluation mode: give its batch norms track_running_stats=True",
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
    "holds_no_tensor": (
        "class Net(Good):\n    def get_extra_state(self):\n        return 'more'\n"
        "    def set_extra_state(self, state):\n        pass",
        "keeps other things than tensors in its state_dict",
    ),
    "names_of_its_own": (
        "class Net(Good):\n    def state_dict(self, *args, **kwargs):\n"
        "        return {'my.' + key: value for key, value in super().state_dict(*args, **kwargs).items()}",
        "cannot be stored and loaded again (KeyError: 'conv.weight')",
    ),
    "half": (
        "class Net(Good):\n    def __init__(self, num_classes):\n        super().__init__(num_classes)\n"
        "        self.scale = nn.Parameter(torch.ones(1, dtype=torch.float16))",
        "parameter 'scale' is torch.float16: weights are torch.float32 here",
    ),
    "counts": (
        "class Net(Good):\n    calls = 0\n    def forward(self, x):\n        self.calls += self.training\n"
        "        return super().forward(x) * (1 + self.calls)",
        "does not go on from a checkpoint",
    ),
    "squeezes_all": (
        "class Net(Good):\n    def forward(self, x):\n"
        "        return self.fc(torch.relu(self.norm(self.conv(x))).mean((2, 3), True).squeeze())",
        "gives logits of shape (5,), not (1, 5)",
    ),
    "fails_on_one_that_it_squeezes": (
        "class Net(Good):\n    def forward(self, x):\n"
        "        hidden = torch.relu(self.norm(self.conv(x))).mean((2, 3), True).squeeze()\n"
        "        return self.fc(torch.cat([hidden[:, :2], hidden[:, 2:]], 1))",
        "one image may come alone: where it squeezes, name the dimensions",
    ),
    "five_dimensions": (
        "class Net(Good):\n    def __init__(self, num_classes):\n        super().__init__(num_classes)\n"
        "        self.register_buffer('statistics', torch.ones(2, 2, 3, 1, 1))",
        "'statistics' has 5 dimensions: give it another shape",
    ),
    "keeps_what_it_inferred": (
        "kept = {}\nclass Net(Good):\n    def forward(self, x):\n"
        "        if 'scale' not in kept:\n            kept['scale'] = torch.ones(4) * 1.0\n"
        "        return self.fc(torch.relu(self.norm(self.conv(x))).mean((2, 3)) * kept['scale'])",
        "what it keeps for later was made in inference: make it a buffer, or clone it",
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


def test_a_network_is_told_how_images_are_normalised_where_it_asks(folder: Path) -> None:
    asks = "class Asks(Good):\n    def __init__(self, num_classes, mean=None, deviation=None):\n"
    asks += "        super().__init__(num_classes)\n        self.told = mean, deviation\n"
    (folder / "own_networks.py").write_text(f"{BEGINNING}\n{asks}")
    normalisation = Normalisation.of(torch.tensor([[0.5, 0.25, 0.125], [1.0, 2.0, 3.0]]))
    network: Any = Architecture("own_networks:Asks", 5, normalisation=normalisation).build()
    assert network.told == ((0.5, 0.25, 0.125), (1.0, 2.0, 3.0))
    network = Architecture("own_networks:Asks", 5).build()
    assert network.told == (None, None), "as in a study that was begun before networks were told"
    for name in ("own_networks:Good", "StudentCNN", "resnet8"):
        torch.manual_seed(0)
        plain = weights_hash(Architecture(name, 5).build())
        torch.manual_seed(0)
        assert weights_hash(Architecture(name, 5, normalisation=normalisation).build()) == plain


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


def test_a_network_is_asked_in_the_precision_of_the_study(folder: Path) -> None:
    (folder / "own_networks.py").write_text(
        f"{BEGINNING}\nclass Net(Good):\n    def forward(self, x):\n        said = super().forward(x)\n"
        "        chosen = x.new_zeros(len(x), 5)\n        chosen[:, torch.arange(5)] = said\n        return chosen\n"
    )
    architecture = Architecture("own_networks:Net", 5)
    check_network(architecture)
    with pytest.raises(NetworkError, match="fails on images of shape"):
        check_network(architecture, "bfloat16")


@pytest.mark.parametrize(
    ("first", "is_fixed"), [("torch.manual_seed(42)", True), ("pass", False), ("torch.rand(3)", False)]
)
def test_first_weights_that_no_seed_changes_are_known(first: str, is_fixed: bool, folder: Path) -> None:
    (folder / "own_networks.py").write_text(
        f"{BEGINNING}\nclass Net(Good):\n    def __init__(self, num_classes):\n        {first}\n"
        "        super().__init__(num_classes)\n"
    )
    assert has_fixed_weights(Architecture("own_networks:Net", 5)) is is_fixed


UNUSUAL = {
    "a_part_called_module": (
        "class Net(nn.Module):\n    def __init__(self, num_classes):\n        super().__init__()\n"
        "        self.module = Good(num_classes)\n    def forward(self, x):\n        return self.module(x)"
    ),
    "a_mask_that_is_infinite": (
        "class Net(Good):\n    def __init__(self, num_classes):\n        super().__init__(num_classes)\n"
        "        self.register_buffer('mask', nn.Transformer.generate_square_subsequent_mask(4))"
    ),
    "a_complex_buffer": (
        "class Net(Good):\n    def __init__(self, num_classes):\n        super().__init__(num_classes)\n"
        "        self.register_buffer('turns', torch.polar(torch.ones(4), torch.arange(4.0)))"
    ),
    "a_bfloat16_buffer": (
        "class Net(Good):\n    def __init__(self, num_classes):\n        super().__init__(num_classes)\n"
        "        self.register_buffer('scale', torch.ones((), dtype=torch.bfloat16))"
    ),
    "every_second_value_of_another": (
        "class Net(Good):\n    def __init__(self, num_classes):\n        super().__init__(num_classes)\n"
        "        self.register_buffer('even', torch.arange(8.0)[::2])"
    ),
    "a_frozen_layer": (
        "class Net(Good):\n    def __init__(self, num_classes):\n        super().__init__(num_classes)\n"
        "        self.conv.requires_grad_(False)"
    ),
    "a_layer_that_is_left_out_by_chance": (
        "class Net(Good):\n    def __init__(self, num_classes):\n        super().__init__(num_classes)\n"
        "        self.more = nn.Conv2d(3, 3, 1)\n    def forward(self, x):\n"
        "        left_out = self.training and torch.rand(()) < 0.5\n"
        "        return super().forward(x if left_out else x + self.more(x))"
    ),
}


@pytest.mark.parametrize("kind", UNUSUAL)
def test_an_unusual_network_is_trained_stored_and_loaded(kind: str, folder: Path) -> None:
    (folder / "own_networks.py").write_text(f"{BEGINNING}\n{UNUSUAL[kind]}\n")
    checked(architecture := Architecture("own_networks:Net", 5))
    recipe = Recipe(epochs=1, batch_size=2, learning_rate=0.1, momentum=0.9)
    pixels = torch.randint(256, (24, 3, 32, 32), dtype=torch.uint8)
    bank = ImageBank(pixels, torch.arange(24) % 5, torch.zeros(3), torch.ones(3), torch.device("cpu"))
    step = TrainingStep(architecture.build, recipe, bank, 5)
    step.reset(0)
    with tqdm(disable=True) as progress:
        step.epoch(torch.arange(24), torch.zeros(24, dtype=torch.int64), None, 0.0, 1.0, 0, progress)
    save_checkpoint(step.network, folder / "weights.pth", 0.5, 1)
    other = architecture.build()
    load_checkpoint(other, folder / "weights.pth", architecture.name)
    assert weights_hash(other) == weights_hash(step.network)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet21", "unknown network 'resnet21'"),
        ("nowhere:Net", "no module 'nowhere' in the working folder"),
        ("own_networks.py:Good", "give module:callable as Python imports it"),
        ("./own_networks:Good", "give module:callable as Python imports it"),
        ("builtins:dict", "cannot be made: ValueError"),
        ("own_networks:Nett", "own_networks.py has no class or function 'Nett'"),
        ("own_networks:torch", "own_networks.py has no class or function 'torch'"),
        ("broken:Net", "cannot be imported: SyntaxError"),
        ("needs:Net", "cannot be imported: ModuleNotFoundError: No module named 'not_there'"),
        ("not_there_nets:Net", "cannot be imported: ModuleNotFoundError: No module named 'not_there'"),
        ("ends:Net", "cannot be imported: SystemExit: 3"),
        ("beside:Net", "; models is a package of kd-study: give yours another name"),
        ("below:Net", "No module named 'data.mine'; data is a package of kd-study: give yours another name"),
        ("forgot:Net", "cannot be imported: NameError: name 'data' is not defined"),
        ("models:Net", "network 'models:Net': models is a package of kd-study: give your file another name"),
        ("models:StudentCNN", "models is a package of kd-study: give your file another name"),
        *((f"{room}.nets:Net", f"{room} is a package of kd-study: give your file another name") for room in BELOW),
    ],
)
def test_a_name_that_is_no_network_is_refused_in_one_line(name: str, said: str, folder: Path) -> None:
    (folder / "broken.py").write_text("class Net(\n")
    for needs in ("needs.py", "not_there_nets.py"):
        (folder / needs).write_text("import not_there\n")
    (folder / "beside.py").write_text("from models.resnet import ResNet18\n")
    (folder / "below.py").write_text("import data.mine\n")
    (folder / "forgot.py").write_text("data\n")
    (folder / "ends.py").write_text("import sys\nsys.exit(3)\n")
    with pytest.raises(NetworkError) as refused:
        Architecture(name, 5).build()
    assert said in str(refused.value)
    assert str(refused.value).endswith(said) or name != "forgot:Net"
    assert "\n" not in str(refused.value)


def test_what_a_file_draws_when_it_is_imported_is_not_its_networks(folder: Path) -> None:
    with (folder / "own_networks.py").open("a") as file:
        file.write("print(sum(weight.numel() for weight in Good(10).parameters()))\n")
    checked(Architecture("own_networks:Good", 5))


def test_another_source_is_another_network(folder: Path) -> None:
    architecture = Architecture("own_networks:Good", 5)
    before = architecture.source
    assert len(before) == 64
    with (folder / "own_networks.py").open("a") as file:
        file.write("# changed\n")
    assert architecture.source == before, "what this process trains is what it imported"
    del sys.modules["own_networks"]
    assert architecture.source != before
    assert Architecture("resnet8", 5).source == ""
