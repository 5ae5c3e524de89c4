"""What networks cost, on cases whose answer can be calculated."""

import pytest
import torch
from torch import Tensor, nn

from models import StudentCNN
from models.cost import measure_cost, peak_memory

FLOAT = 4  # bytes


@pytest.mark.parametrize(
    ("network", "floats_an_image"),
    [
        (nn.Linear(10, 20), 20),
        # A layer's input lives until its output is there; the network's own input is not counted.
        (nn.Sequential(nn.Linear(10, 20), nn.Linear(20, 50), nn.Linear(50, 5)), 20 + 50),
        (nn.Sequential(nn.Linear(10, 50), nn.ReLU(), nn.Linear(50, 5)), 50 + 50),
        (nn.Sequential(nn.Linear(10, 50), nn.ReLU(inplace=True), nn.Linear(50, 5)), 50 + 5),
        (nn.Identity(), 0),
    ],
)
def test_peak_memory_is_what_lives_at_the_same_time(network: nn.Module, floats_an_image: int) -> None:
    with torch.inference_mode():
        assert peak_memory(network, torch.zeros(128, 10)) == 128 * floats_an_image * FLOAT


class Passing(nn.Module):
    """Gives back what it was given, after a moment in which it held much."""

    def forward(self, images: Tensor) -> Tensor:
        """The images."""
        images.new_zeros(1000, 1000)
        return images


def test_memory_held_for_a_moment_counts_once_however_often() -> None:
    with torch.inference_mode():
        assert peak_memory(nn.Sequential(Passing(), Passing(), Passing()), torch.zeros(1)) == 1000 * 1000 * FLOAT


def test_the_student_is_measured_on_the_cpu_and_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    cost = measure_cost(StudentCNN(), torch.device("cpu"))
    assert cost.peak_memory_bytes.keys() == {"1", "128"}
    for size, peak in cost.peak_memory_bytes.items():
        # The output of the first convolution lives beside what is pooled from it, a quarter.
        first = int(size) * 32 * 32 * 32 * FLOAT
        assert peak is not None
        assert 1.25 * first <= peak <= 4 * first
    assert cost.multiply_adds == 75 * 32 * 1024 + 288 * 64 * 256 + 576 * 128 * 64 + 1152 * 256 * 16 + 4096 * 100
    assert cost.bytes == 799_652 * FLOAT
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""


class Attending(nn.Module):
    """Two layers of a transformer over 16 patches of 8 x 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 8, stride=8)
        layer = nn.TransformerEncoderLayer(32, 4, dim_feedforward=64, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2)

    def forward(self, images: Tensor) -> Tensor:
        encoded: Tensor = self.layers(self.patches(images).flatten(2).transpose(1, 2))
        return encoded.mean(1)


def test_matrix_products_of_attention_are_counted() -> None:
    tokens, width = 16, 32
    layer = 4 * tokens * width * width + 2 * tokens * tokens * width + 2 * tokens * width * 64
    fast = torch.backends.mha.get_fastpath_enabled()
    assert measure_cost(Attending(), torch.device("cpu")).multiply_adds == 3 * 8 * 8 * width * tokens + 2 * layer
    assert torch.backends.mha.get_fastpath_enabled() == fast


@pytest.mark.parametrize(("channels", "size"), [(3, 32), (1, 48)])
def test_the_cost_is_that_of_the_images_of_the_study(channels: int, size: int) -> None:
    network = nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    cost = measure_cost(network, torch.device("cpu"), channels, size)
    assert cost.multiply_adds == 9 * channels * 4 * size * size + 4 * 2
