"""Winograd's algorithm gives what torch's convolutions give but for rounding, and is used where it can be alone."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models import build, fold_batch_norm, with_winograd
from models.winograd import WinogradConv2d, _compiled
from study.device import torch_threads


def convolution(channels: int, filters: int, **changes: object) -> nn.Conv2d:
    with torch.random.fork_rng():
        torch.manual_seed(channels + filters)
        return nn.Conv2d(channels, filters, **{"kernel_size": 3, "padding": 1, **changes})  # type: ignore[arg-type]


def images(*shape: int) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).relu()
    return values.contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def by_winograd(layer: nn.Conv2d, shown: Tensor) -> Tensor:
    network = with_winograd(nn.Sequential(layer))
    assert isinstance(network.get_submodule("0"), WinogradConv2d)
    given: Tensor = network(shown)
    return given


def exactly(layer: nn.Conv2d, shown: Tensor) -> Tensor:
    with torch.inference_mode():
        given: Tensor = copy.deepcopy(layer).double()(shown.double()).float()
    return given


SHAPES = [
    (1, 8, 16, 4, 4),
    (1, 8, 16, 1, 1),
    (2, 16, 32, 5, 3),
    (3, 24, 48, 7, 13),
    (7, 64, 64, 32, 32),
    (50, 256, 256, 8, 8),
]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("count", "channels", "filters", "height", "width"), SHAPES)
def test_it_is_the_convolution_but_for_rounding(
    count: int, channels: int, filters: int, height: int, width: int, bias: bool
) -> None:
    layer, shown = convolution(channels, filters, bias=bias), images(count, channels, height, width)
    torch.testing.assert_close(by_winograd(layer, shown), exactly(layer, shown), rtol=1e-4, atol=1e-4)


def test_beyond_the_edges_are_zeros() -> None:
    layer = convolution(8, 16, bias=False)
    layer.weight.data.fill_(1)
    counted = by_winograd(layer, torch.ones(1, 8, 6, 5))[0, 0] / 8
    assert counted.round().tolist() == [[4, 6, 6, 6, 4], *[[6, 9, 9, 9, 6]] * 4, [4, 6, 6, 6, 4]]
    torch.testing.assert_close(counted, counted.round(), rtol=1e-5, atol=0)


def test_wider_vectors_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text('#!/bin/sh\nexec cc -DLANES=16 "$@"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    library = _compiled.__wrapped__()
    assert library is not None
    layer, shown = convolution(32, 64), images(3, 32, 9, 8)
    with torch.inference_mode():
        given = WinogradConv2d(layer, library)(shown)
    torch.testing.assert_close(given, exactly(layer, shown), rtol=1e-4, atol=1e-4)


def test_a_value_depends_neither_on_threads_nor_on_the_rest_of_the_batch() -> None:
    layer, shown = convolution(32, 32), images(23, 32, 16, 16)
    together = by_winograd(layer, shown)
    with torch_threads(1):
        assert torch.equal(by_winograd(layer, shown), together)
    for first, last in ((0, 1), (5, 12), (22, 23)):
        assert torch.equal(by_winograd(layer, shown[first:last]), together[first:last])


def test_a_folded_network_says_the_same() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        usual = fold_batch_norm(build("resnet20").eval())
    fast = with_winograd(copy.deepcopy(usual))
    assert sum(isinstance(module, WinogradConv2d) for module in fast.modules()) == 16  # of 21: stem, strides, shortcuts
    with torch.inference_mode():
        shown = images(5, 3, 32, 32)
        torch.testing.assert_close(fast(shown), usual(shown), rtol=1e-4, atol=1e-4)


class Another(nn.Conv2d):
    """Computes what it likes."""


def with_a_hook() -> nn.Conv2d:
    layer = convolution(8, 16)
    layer.register_forward_pre_hook(lambda *_: None)
    return layer


@pytest.mark.parametrize(
    "make",
    [
        lambda: convolution(8, 16, stride=2),
        lambda: convolution(8, 16, kernel_size=5, padding=2),
        lambda: convolution(8, 16, kernel_size=(3, 1)),
        lambda: convolution(8, 16, dilation=2, padding=2),
        lambda: convolution(16, 16, groups=16),
        lambda: convolution(8, 16, padding=0),
        lambda: convolution(8, 16, padding_mode="reflect"),
        lambda: convolution(3, 16),
        lambda: convolution(8, 24),
        lambda: convolution(8, 16).double(),
        lambda: Another(8, 16, 3, padding=1),
        with_a_hook,
    ],
)
def test_what_it_cannot_compute_stays(make: Callable[[], nn.Conv2d]) -> None:
    layer = make()
    assert with_winograd(nn.Sequential(layer)).get_submodule("0") is layer


def test_a_module_of_two_names_is_replaced_under_both() -> None:
    layer = convolution(16, 16)
    network = with_winograd(nn.Sequential(layer, nn.ReLU(), layer))
    assert [type(module).__name__ for module in network.children()] == ["WinogradConv2d", "ReLU", "WinogradConv2d"]


def test_gradients_other_types_and_single_images_are_left_to_torch() -> None:
    layer, shown = convolution(8, 16), images(2, 8, 8, 8)
    fast = with_winograd(nn.Sequential(layer))
    fast(shown).sum().backward()
    assert layer.weight.grad is not None
    with torch.inference_mode():
        assert torch.equal(fast(shown[0]), layer(shown[0]))
        with torch.autocast("cpu", torch.bfloat16):
            assert fast(shown).dtype == torch.bfloat16


@pytest.mark.parametrize("compiler", ["/no/such/compiler", "false"])
def test_without_a_compiler_there_is_none(compiler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", compiler)
    assert _compiled.__wrapped__() is None
    monkeypatch.setattr("models.winograd._compiled", _compiled.__wrapped__)
    with pytest.raises(RuntimeError, match="C compiler"):
        with_winograd(nn.Sequential(convolution(8, 16)))
