"""Winograd's algorithm gives what torch's convolutions give but for rounding, and is used where it can be alone."""

import copy
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import StudentCNN, build, fold_batch_norm, has_winograd, with_winograd
from models.winograd import SOURCE, FrozenWinogradConv2d, WinogradConv2d, _compiled
from study.device import torch_threads

pytestmark = pytest.mark.skipif(not has_winograd(), reason="needs a C compiler")

SHAPES = [
    (1, 32, 64, 4, 4),
    (1, 32, 32, 1, 1),
    (2, 64, 32, 5, 3),
    (3, 96, 32, 7, 13),
    (7, 64, 64, 32, 32),
    (50, 256, 128, 8, 8),
]
KINDS = pytest.mark.parametrize("kind", [WinogradConv2d, FrozenWinogradConv2d])


def convolution(channels: int, filters: int, **changes: object) -> nn.Conv2d:
    with torch.random.fork_rng():
        torch.manual_seed(channels + filters)
        return nn.Conv2d(channels, filters, **{"kernel_size": 3, "padding": 1, **changes})  # type: ignore[arg-type]


def images(*shape: int) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).relu()
    return values.contiguous(memory_format=torch.channels_last)


def made(kind: type[WinogradConv2d], layer: nn.Conv2d) -> WinogradConv2d:
    """A copy of a layer, computed so."""
    network = with_winograd(nn.Sequential(copy.deepcopy(layer)), frozen=kind is FrozenWinogradConv2d)
    found = network.get_submodule("0")
    assert type(found) is kind
    return found


def given(kind: type[WinogradConv2d], layer: nn.Conv2d, shown: Tensor) -> Tensor:
    with torch.set_grad_enabled(kind is WinogradConv2d):
        output: Tensor = made(kind, layer)(shown)
    return output.detach()


def gradients(layer: nn.Module, shown: Tensor) -> list[Tensor]:
    """By the images, then by each parameter, of a sum in which every pixel weighs otherwise."""
    shown = shown.clone(memory_format=torch.channels_last).requires_grad_()
    output: Tensor = layer(shown)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(output.dtype)
    return list(torch.autograd.grad((output * weights).sum(), [shown, *layer.parameters()]))


def assert_close(found: Tensor, exact: Tensor) -> None:
    """Within what float32 rounds, measured by the largest value."""
    assert found.shape == exact.shape
    assert (found - exact).abs().max() < 1e-4 * exact.abs().max()


@KINDS
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("count", "channels", "filters", "height", "width"), SHAPES)
def test_it_is_the_convolution_but_for_rounding(
    count: int, channels: int, filters: int, height: int, width: int, bias: bool, kind: type[WinogradConv2d]
) -> None:
    layer, shown = convolution(channels, filters, bias=bias), images(count, channels, height, width)
    assert_close(given(kind, layer, shown), copy.deepcopy(layer).double()(shown.double()).detach().float())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("count", "channels", "filters", "height", "width"), SHAPES)
def test_its_gradients_are_those_of_the_convolution(
    count: int, channels: int, filters: int, height: int, width: int, bias: bool
) -> None:
    layer, shown = convolution(channels, filters, bias=bias), images(count, channels, height, width)
    exact = gradients(copy.deepcopy(layer).double(), shown.double())
    for found, expected in zip(gradients(made(WinogradConv2d, layer), shown), exact, strict=True):
        assert_close(found, expected.float())


@KINDS
def test_beyond_the_edges_are_zeros(kind: type[WinogradConv2d]) -> None:
    layer = convolution(32, 32, bias=False)
    layer.weight.data.fill_(1)
    counted = given(kind, layer, torch.ones(1, 32, 6, 5))[0, 0] / 32
    assert counted.round().tolist() == [[4, 6, 6, 6, 4], *[[6, 9, 9, 9, 6]] * 4, [4, 6, 6, 6, 4]]
    assert_close(counted, counted.round())


@pytest.mark.parametrize("lanes", [8, 16])
def test_vectors_of_any_width_give_the_same(lanes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", f"cc -DLANES={lanes}")
    library = _compiled.__wrapped__()
    monkeypatch.setattr("models.winograd._compiled", lambda: library)
    layer, shown = convolution(32, 64), images(3, 32, 9, 8)
    exact = copy.deepcopy(layer).double()(shown.double()).detach().float()
    assert_close(given(FrozenWinogradConv2d, layer, shown), exact)
    for found, expected in zip(gradients(made(WinogradConv2d, layer), shown), gradients(layer, shown), strict=True):
        assert_close(found, expected)


@pytest.mark.parametrize("threads", [2, 3, 40])
def test_a_value_depends_neither_on_threads_nor_on_the_rest_of_the_batch(threads: int) -> None:
    layer, shown = convolution(32, 32), images(23, 32, 16, 16)
    with torch_threads(1):
        alone, alone_gradients = (
            given(FrozenWinogradConv2d, layer, shown),
            gradients(made(WinogradConv2d, layer), shown),
        )
    with torch_threads(threads):
        assert torch.equal(given(FrozenWinogradConv2d, layer, shown), alone)
        found = gradients(made(WinogradConv2d, layer), shown)
        for first, last in ((0, 1), (5, 12), (22, 23)):
            assert torch.equal(given(FrozenWinogradConv2d, layer, shown[first:last]), alone[first:last])
    assert torch.equal(found[0], alone_gradients[0])
    assert_close(found[1], alone_gradients[1])  # of sums by torch


def test_no_gradient_is_computed_that_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, shown = made(WinogradConv2d, convolution(32, 32)), images(2, 32, 8, 8)
    asked = layer(shown).sum()
    layer.weight.requires_grad_(False)
    unasked = layer(shown).sum()

    def compute(*_: object) -> torch.Tensor:
        raise AssertionError("nobody asked for it")

    for gradient in ("_convolve", "_gradient_by_weight"):
        monkeypatch.setattr(f"models.winograd.{gradient}", compute)
    unasked.backward()
    assert layer.bias is not None
    assert layer.bias.grad is not None
    with pytest.raises(AssertionError, match="nobody asked"):
        asked.backward()


@pytest.mark.parametrize("name", ["resnet20x2", "resnet8x4"])
def test_a_folded_network_says_the_same(name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        usual = fold_batch_norm(build(name).eval())
    fast = with_winograd(copy.deepcopy(usual), frozen=True)
    assert any(isinstance(module, FrozenWinogradConv2d) for module in fast.modules())
    with torch.inference_mode():
        shown = images(5, 3, 32, 32)
        assert_close(fast(shown), usual(shown))


def test_a_network_is_trained_as_it_is() -> None:
    """The same parameters, by the same names and in the same order; scored in the usual way."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        usual = StudentCNN(10)
    fast, shown = with_winograd(copy.deepcopy(usual), frozen=False), images(5, 3, 32, 32)
    assert sum(type(module) is WinogradConv2d for module in fast.modules()) == 3
    assert list(fast.state_dict()) == list(usual.state_dict())
    for network in (usual, fast):
        F.cross_entropy(network(shown), torch.arange(5)).backward()
    for one, other in zip(fast.parameters(), usual.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert_close(one.grad, other.grad)
    with torch.no_grad():
        assert torch.equal(fast(shown), usual(shown))
    assert torch.equal(fast.eval()(shown), usual.eval()(shown))


class Another(nn.Conv2d):
    """Computes what it likes."""


def with_a_hook() -> nn.Conv2d:
    layer = convolution(32, 32)
    layer.register_forward_hook(lambda *_: None)
    return layer


def with_a_hook_before() -> nn.Conv2d:
    layer = convolution(32, 32)
    layer.register_forward_pre_hook(lambda *_: None)
    return layer


def with_a_forward_of_its_own() -> nn.Conv2d:
    layer = convolution(32, 32)
    layer.forward = lambda input: input  # type: ignore[method-assign]
    return layer


def without_a_parameter() -> nn.Conv2d:
    layer = convolution(32, 32)
    weight = layer.weight.data
    del layer.weight
    layer.register_buffer("weight", weight)
    return layer


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize(
    "make",
    [
        lambda: convolution(32, 32, stride=2),
        lambda: convolution(32, 32, kernel_size=5, padding=2),
        lambda: convolution(32, 32, kernel_size=(3, 1)),
        lambda: convolution(32, 32, dilation=2, padding=2),
        lambda: convolution(32, 32, groups=32),
        lambda: convolution(32, 32, padding=0),
        lambda: convolution(32, 32, padding_mode="reflect"),
        lambda: convolution(3, 32),
        lambda: convolution(32, 40),
        lambda: convolution(32, 32).double(),
        lambda: Another(32, 32, 3, padding=1),
        with_a_hook,
        with_a_hook_before,
        with_a_forward_of_its_own,
        without_a_parameter,
    ],
)
def test_what_it_cannot_compute_stays(make: Callable[[], nn.Conv2d], frozen: bool) -> None:
    layer = make()
    kind = type(layer)
    with_winograd(nn.Sequential(layer), frozen)
    assert type(layer) is kind


def test_a_layer_that_is_used_twice_and_changed_in_place_behind_has_its_gradients() -> None:
    layer, shown = convolution(32, 32), images(3, 32, 6, 7)
    usual = nn.Sequential(layer, nn.ReLU(inplace=True), layer, nn.ReLU(inplace=True))
    exact = gradients(copy.deepcopy(usual).double(), shown.double())
    fast = with_winograd(usual, frozen=False)
    assert fast.get_submodule("0") is fast.get_submodule("2") is layer, "whoever refers to it refers to this one"
    assert type(layer) is WinogradConv2d
    for found, expected in zip(gradients(fast, shown), exact, strict=True):
        assert_close(found, expected.float())


def test_a_gradient_that_is_one_number_for_all_is_taken() -> None:
    layer, shown = convolution(32, 32), images(2, 32, 8, 8)
    fast = made(WinogradConv2d, layer)
    for one in (layer, fast):
        one(shown).sum().backward()  # expanded, of strides 0
    assert layer.weight.grad is not None
    assert fast.weight.grad is not None
    assert_close(fast.weight.grad, layer.weight.grad)


@KINDS
def test_what_is_no_batch_of_images_in_float32_is_left_to_torch(kind: type[WinogradConv2d]) -> None:
    layer, shown = convolution(32, 32), images(2, 32, 8, 8)
    fast = made(kind, layer)
    with torch.set_grad_enabled(kind is WinogradConv2d):
        assert torch.equal(fast(shown[0]), layer(shown[0]))
        assert fast(shown[:0]).shape == (0, 32, 8, 8)
        with torch.autocast("cpu", torch.bfloat16):
            assert fast(shown).dtype == torch.bfloat16
        with pytest.raises(RuntimeError, match="channels"):
            fast(shown[:, :16])


def test_a_frozen_one_is_the_usual_one_with_gradients_and_with_other_weights() -> None:
    layer, shown = convolution(32, 32, bias=False), images(2, 32, 8, 8)
    frozen = made(FrozenWinogradConv2d, layer)
    frozen(shown).sum().backward()
    assert frozen.weight.grad is not None
    with torch.inference_mode():
        doubled = torch.func.functional_call(frozen, {"weight": 2 * layer.weight}, shown)
        assert torch.equal(doubled, F.conv2d(shown, 2 * layer.weight, padding=1))


@pytest.fixture
def compilations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a line for each time that ``CC`` compiles; what Python keeps is kept in a folder of its own."""
    monkeypatch.setattr("sys.pycache_prefix", str(tmp_path / "kept"))
    counted, compiler = tmp_path / "counted", tmp_path / "compiler"
    compiler.write_text(f'#!/bin/sh\ncase "$*" in *--version*) ;; *) echo "$*" >> {counted} ;; esac\nexec cc "$@"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    return counted


def test_it_is_compiled_once_for_each_compiler_and_source(
    compilations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        assert _compiled.__wrapped__() is not None
    assert len(compilations.read_text().splitlines()) == 1
    monkeypatch.setenv("CC", f"{os.environ['CC']} -DLANES=8")
    assert _compiled.__wrapped__() is not None
    assert len(compilations.read_text().splitlines()) == 2
    source = tmp_path / "winograd.c"
    source.write_bytes(SOURCE.read_bytes() + b"\n")
    monkeypatch.setattr("models.winograd.SOURCE", source)
    assert _compiled.__wrapped__() is not None
    assert len(compilations.read_text().splitlines()) == 3


@pytest.mark.parametrize("left", [0, 20, 4096, -1])
def test_a_damaged_library_is_compiled_again(left: int, compilations: Path, tmp_path: Path) -> None:
    assert _compiled.__wrapped__() is not None
    (library,) = tmp_path.rglob("*.so")
    whole = library.read_bytes()
    library.write_bytes(whole[:left])
    assert _compiled.__wrapped__() is not None
    assert len(compilations.read_text().splitlines()) == 2
    assert library.read_bytes()[-32:] == hashlib.sha256(library.read_bytes()[:-32]).digest()


def test_where_nothing_can_be_kept_each_process_compiles(compilations: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("no folder")
    for _ in range(2):
        assert _compiled.__wrapped__() is not None
    assert len(compilations.read_text().splitlines()) == 2


@pytest.mark.parametrize("compiler", ["/no/such/compiler", "false", "cc '-O2"])
def test_without_a_compiler_there_is_none(compiler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", compiler)
    assert _compiled.__wrapped__() is None
    monkeypatch.setattr("models.winograd._compiled", _compiled.__wrapped__)
    assert not has_winograd()
    with pytest.raises(RuntimeError, match="C compiler"):
        with_winograd(nn.Sequential(convolution(32, 32)), frozen=True)
