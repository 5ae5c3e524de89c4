"""Student and teacher family are the networks of the protocol."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import StudentCNN, build, count_parameters, fold_batch_norm


def test_the_student_has_799652_parameters() -> None:
    assert count_parameters(StudentCNN()) == 799_652


@pytest.mark.parametrize(("name", "parameters"), [("resnet32x4", 7_433_860), ("resnet20", 278_324)])
def test_teachers_have_as_many_parameters_as_in_simkd(name: str, parameters: int) -> None:
    assert count_parameters(build(name)) == parameters


def plainly_read_student(network: StudentCNN, images: Tensor) -> Tensor:
    """The seed's description word for word: convolution, ReLU, then pooling after the first three."""
    hidden = images
    for layer in (network.conv1, network.conv2, network.conv3):
        hidden = F.max_pool2d(F.relu(layer(hidden)), 2)
    return F.linear(F.relu(network.conv4(hidden)).flatten(1), network.fc.weight, network.fc.bias)


def test_the_student_computes_what_the_seed_describes() -> None:
    torch.manual_seed(0)
    network, images = StudentCNN(), torch.randn(5, 3, 32, 32)
    assert torch.equal(network(images), plainly_read_student(network, images))


@pytest.mark.parametrize("name", ["resnet8", "resnet8x4"])
def test_without_batch_norm_a_teacher_says_the_same(name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build(name).eval()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean = torch.randn(module.num_features)
                module.running_var = 0.5 + torch.rand(module.num_features)
        images = torch.randn(5, 3, 32, 32)
    folded = fold_batch_norm(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    with torch.inference_mode():
        torch.testing.assert_close(folded(images), network(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("num_classes", [2, 100])
def test_networks_give_one_logit_for_each_class(num_classes: int) -> None:
    for network in (StudentCNN(num_classes), build("resnet8", num_classes), build("resnet8x4", num_classes)):
        assert network(torch.zeros(2, 3, 32, 32)).shape == (2, num_classes)


@pytest.mark.parametrize("name", ["", "resnet", "resnet2", "resnet21", "resnet20x3", "ResNet20", "resnet20 ", "vgg8"])
def test_unknown_networks_are_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"^unknown network '{name}': give resnet8") as refusal:
        build(name)
    assert "\n" not in str(refusal.value)
