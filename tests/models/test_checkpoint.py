"""Checkpoints come and go in SimKD's form; what does not fit is refused and changes nothing."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from data import ImageBank, ImageSet
from models import CheckpointError, build, load_checkpoint, round_to_half, save_checkpoint, weights_hash
from study.evaluation import predict, score
from study.formats import FromPixels

Weights = dict[str, Tensor]


def test_a_checkpoint_of_simkd_scores_what_was_published(resnet20_checkpoint: Path, cifar100: ImageSet) -> None:
    network = build("resnet20")
    load_checkpoint(network, resnet20_checkpoint, "resnet20")
    test = ImageBank.of_test_images(cifar100, torch.device("cpu"))
    accuracy = score(predict(network, test, torch.arange(10_000)), test.labels).accuracy
    assert 100 * accuracy == pytest.approx(65.63, abs=0.05)


def test_checkpoints_are_written_back_in_the_form_of_simkd(resnet20_checkpoint: Path, tmp_path: Path) -> None:
    network = build("resnet20")
    load_checkpoint(network, resnet20_checkpoint, "resnet20")
    save_checkpoint(network, tmp_path / "ours.pth", accuracy=0.6563, epoch=25)
    theirs, ours = (torch.load(path, weights_only=True) for path in (resnet20_checkpoint, tmp_path / "ours.pth"))
    assert ours.keys() == theirs.keys()
    assert ours["best_acc"] == pytest.approx(65.63)
    assert ours["epoch"] == 25
    assert list(ours["model"]) == list(theirs["model"])
    assert all(torch.equal(ours["model"][key], theirs["model"][key]) for key in theirs["model"])


@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"))],
)
@pytest.mark.parametrize("name", ["resnet8", "resnet20", "resnet8x4"])
def test_a_round_trip_keeps_the_weights(name: str, device: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    saved, loaded = build(name, 10).to(memory_format=torch.channels_last), build(name, 10).to(device)
    assert weights_hash(saved) != weights_hash(loaded)
    save_checkpoint(saved, tmp_path / "file.pth", accuracy=0.5, epoch=1)
    load_checkpoint(loaded, tmp_path / "file.pth", name)
    assert weights_hash(loaded) == weights_hash(saved)


def test_a_safetensors_file_is_a_checkpoint_where_the_package_is_there(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    saved, loaded = build("resnet8"), build("resnet8")
    safetensors.save_file(saved.state_dict(), tmp_path / "file.safetensors")
    load_checkpoint(loaded, tmp_path / "file.safetensors", "resnet8")
    assert weights_hash(loaded) == weights_hash(saved)
    student = FromPixels(build("resnet8"), torch.zeros(3), torch.ones(3))
    safetensors.save_file(student.state_dict(), tmp_path / "exported.safetensors")
    load_checkpoint(loaded, tmp_path / "exported.safetensors", "resnet8")
    assert weights_hash(loaded) == weights_hash(student.network), "a student may be the next one's teacher"
    (tmp_path / "file.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        load_checkpoint(loaded, tmp_path / "file.safetensors", "resnet8")


def test_a_safetensors_file_without_the_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    (tmp_path / "file.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"file\.safetensors: the package safetensors reads it and is not there"):
        load_checkpoint(build("resnet8"), tmp_path / "file.safetensors", "resnet8")


def test_a_bare_state_dict_is_a_checkpoint_too(tmp_path: Path) -> None:
    saved, loaded = build("resnet8"), build("resnet8")
    torch.save(saved.state_dict(), tmp_path / "file.pth")
    load_checkpoint(loaded, tmp_path / "file.pth", "resnet8")
    assert weights_hash(loaded) == weights_hash(saved)


@pytest.mark.parametrize("key", ["net", "model_state_dict"])
def test_what_alone_is_weights_in_a_file_is_taken_under_any_name(key: str, tmp_path: Path) -> None:
    saved, loaded, other = build("resnet8"), build("resnet8"), build("resnet8")
    optimizer = torch.optim.SGD(saved.parameters(), lr=0.1, momentum=0.9).state_dict()
    torch.save({key: saved.state_dict(), "acc": 93.1, "optimizer": optimizer}, tmp_path / "file.pth")
    load_checkpoint(loaded, tmp_path / "file.pth", "resnet8")
    assert weights_hash(loaded) == weights_hash(saved)
    torch.save({"teacher": saved.state_dict(), "student": other.state_dict()}, tmp_path / "both.pth")
    with pytest.raises(CheckpointError, match="no checkpoint: expected weights by parameter name"):
        load_checkpoint(loaded, tmp_path / "both.pth", "resnet8")
    mixed = {**saved.state_dict(), "step": 3}
    torch.save({"model": mixed, "ema": other.state_dict()}, tmp_path / "both.pth")
    with pytest.raises(CheckpointError, match="no checkpoint: expected weights by parameter name"):
        load_checkpoint(loaded, tmp_path / "both.pth", "resnet8")
    torch.save({"model": {"name": "resnet8"}, "weights": saved.state_dict()}, tmp_path / "file.pth")
    load_checkpoint(loaded, tmp_path / "file.pth", "resnet8")
    torch.save({"ema": other.state_dict(), "model": saved.state_dict()}, tmp_path / "file.pth")
    load_checkpoint(loaded, tmp_path / "file.pth", "resnet8")
    assert weights_hash(loaded) == weights_hash(saved)


def test_weights_that_were_saved_from_data_parallel_are_a_checkpoint_too(tmp_path: Path) -> None:
    saved, loaded = build("resnet8"), build("resnet8")
    torch.save({"model": nn.DataParallel(saved).state_dict()}, tmp_path / "file.pth")
    load_checkpoint(loaded, tmp_path / "file.pth", "resnet8")
    assert weights_hash(loaded) == weights_hash(saved)


class Wrapper(nn.Module):
    """As a network of one's own keeps one of a library, whose weights know nothing of it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.model = network


def test_weights_that_torch_averaged_are_a_checkpoint_too(tmp_path: Path) -> None:
    torch.manual_seed(1)
    saved = build("resnet8")
    torch.save(torch.optim.swa_utils.AveragedModel(saved).state_dict(), tmp_path / "file.pth")
    network = build("resnet8")
    load_checkpoint(network, tmp_path / "file.pth", "resnet8")
    assert weights_hash(network) == weights_hash(saved)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "model.", "net.", "module.", "module._orig_mod.", "state.model."])
def test_weights_whose_names_have_one_prefix_more_are_taken(prefix: str, tmp_path: Path) -> None:
    saved, loaded = build("resnet8"), build("resnet8")
    torch.save({prefix + key: value for key, value in saved.state_dict().items()}, tmp_path / "file.pth")
    load_checkpoint(loaded, tmp_path / "file.pth", "resnet8")
    assert weights_hash(loaded) == weights_hash(saved)


@pytest.mark.parametrize("parallel", [False, True])
def test_weights_of_the_network_in_a_wrapper_are_taken(parallel: bool, tmp_path: Path) -> None:
    saved, loaded = build("resnet8"), Wrapper(build("resnet8"))
    torch.save((nn.DataParallel(saved) if parallel else saved).state_dict(), tmp_path / "file.pth")
    load_checkpoint(loaded, tmp_path / "file.pth", "wrapped")
    assert weights_hash(loaded.model) == weights_hash(saved)


def test_weights_of_a_torch_that_counted_no_batches_are_taken(tmp_path: Path) -> None:
    weights = {key: value for key, value in build("resnet8").state_dict().items() if "num_batches" not in key}
    torch.save({"state_dict": {f"module.{key}": value for key, value in weights.items()}}, tmp_path / "old.pth")
    network = build("resnet8")
    load_checkpoint(network, tmp_path / "old.pth", "resnet8")
    assert all(torch.equal(network.state_dict()[key], value) for key, value in weights.items())
    del weights["fc.weight"]
    torch.save(weights, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"no parameter 'fc\.weight'"):
        load_checkpoint(network, tmp_path / "other.pth", "resnet8")


def test_rounded_weights_take_half_the_room_and_lose_nothing_more(tmp_path: Path) -> None:
    network, loaded = build("resnet20"), build("resnet20")
    network.state_dict()["bn1.running_var"][0] = 1e6  # beyond float16
    save_checkpoint(network, tmp_path / "single.pth", accuracy=0.5, epoch=1)
    round_to_half(network)
    save_checkpoint(network, tmp_path / "half.pth", accuracy=0.5, epoch=1)
    assert (tmp_path / "half.pth").stat().st_size < 0.6 * (tmp_path / "single.pth").stat().st_size
    load_checkpoint(loaded, tmp_path / "half.pth", "resnet20")
    assert weights_hash(loaded) == weights_hash(network)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}


def test_rounding_is_to_the_nearest_float16() -> None:
    network = build("resnet8")
    before = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
    round_to_half(network)
    after = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
    assert ((after - before).abs() <= 2**-11 * before.abs() + 2**-25).all()
    assert not torch.equal(after, before)


def test_a_checkpoint_of_a_network_turned_to_half_loads_with_its_values(tmp_path: Path) -> None:
    saved, loaded = build("resnet8").half(), build("resnet8")
    torch.save({"model": saved.state_dict(), "best_acc": 50.0, "epoch": 1}, tmp_path / "file.pth")
    load_checkpoint(loaded, tmp_path / "file.pth", "resnet8")
    assert weights_hash(loaded) == weights_hash(saved.float())


@pytest.mark.parametrize("key", ["conv1.weight", "layer2.0.downsample.1.running_var", "fc.bias"])
def test_the_hash_sees_every_weight_and_buffer(key: str) -> None:
    network = build("resnet8")
    before = weights_hash(network)
    network.state_dict()[key].flatten()[0] += 0.001
    assert weights_hash(network) != before


def assert_refused(path: Path, *reasons: str) -> None:
    network = build("resnet20")
    before = weights_hash(network)
    with pytest.raises(CheckpointError) as refusal:
        load_checkpoint(network, path, "resnet20")
    message = str(refusal.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    assert all(reason in message for reason in reasons), message
    assert weights_hash(network) == before


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path / "missing.pth", "no such file")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello\n",
        b"the quick fox\n",
        b"<!DOCTYPE html>",
        b"version https://git-lfs.github.com/spec/v1\n",
        bytes(1000),
    ],
    ids=["empty", "text", "sentence", "page", "pointer", "zeros"],
)
def test_a_file_that_is_no_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file.pth").write_bytes(content)
    assert_refused(tmp_path / "file.pth")


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(share: float, tmp_path: Path) -> None:
    save_checkpoint(build("resnet20"), tmp_path / "file.pth", accuracy=0.5, epoch=1)
    content = (tmp_path / "file.pth").read_bytes()
    (tmp_path / "file.pth").write_bytes(content[: int(share * len(content))])
    assert_refused(tmp_path / "file.pth", "cannot be read as a checkpoint")


def other_network(weights: Weights) -> Weights:
    return build("resnet32").state_dict()


def smaller_network(weights: Weights) -> Weights:
    return build("resnet14").state_dict()


def wider_network(weights: Weights) -> Weights:
    return build("resnet20x4").state_dict()


def other_class_count(weights: Weights) -> Weights:
    return build("resnet20", 10).state_dict()


def not_a_number(weights: Weights) -> Weights:
    weights["layer1.0.bn1.running_var"][3] = float("nan")
    return weights


def infinite(weights: Weights) -> Weights:
    weights["fc.weight"][1, 1] = float("inf")
    return weights


def one_parameter_more(weights: Weights) -> Weights:
    return {**weights, "extra.weight": torch.zeros(1)}


def one_parameter_less(weights: Weights) -> Weights:
    return {key: value for key, value in weights.items() if key != "layer3.2.bn2.bias"}


def some_names_of_data_parallel(weights: Weights) -> Weights:
    return {key if key == "fc.bias" else f"module.{key}": value for key, value in weights.items()}


def two_prefixes(weights: Weights) -> Weights:
    return {("net." if key == "fc.bias" else "model.") + key: value for key, value in weights.items()}


def a_prefix_that_is_no_part(weights: Weights) -> Weights:
    return {f"my_{key}": value for key, value in weights.items()}


def a_prefix_and_one_parameter_more(weights: Weights) -> Weights:
    return {f"model.{key}": value for key, value in one_parameter_more(weights).items()}


def numbers(weights: Weights) -> Weights:
    return dict(enumerate(weights.values()))  # type: ignore[arg-type]


def sparse(weights: Weights) -> Weights:
    return {**weights, "fc.weight": weights["fc.weight"].to_sparse()}


def on_no_device(weights: Weights) -> Weights:
    return {**weights, "fc.weight": weights["fc.weight"].to("meta")}


def complex_numbers(weights: Weights) -> Weights:
    return {**weights, "fc.weight": weights["fc.weight"].to(torch.complex64)}


def whole_numbers(weights: Weights) -> Weights:
    return {**weights, "fc.weight": weights["fc.weight"].long()}


def beyond_float32(weights: Weights) -> Weights:
    return {**weights, "fc.weight": weights["fc.weight"].double() + 1e39}


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        (other_network, ("not a resnet20", "'layer1.3.conv1.weight'")),
        (smaller_network, ("not a resnet20", "no parameter 'layer1.2.conv1.weight'")),
        (wider_network, ("'conv1.weight'", "(32, 3, 3, 3)", "(16, 3, 3, 3)")),
        (other_class_count, ("'fc.weight'", "(10, 64)", "(100, 64)")),
        (not_a_number, ("'layer1.0.bn1.running_var'", "not finite")),
        (infinite, ("'fc.weight'", "not finite")),
        (one_parameter_more, ("'extra.weight'",)),
        (one_parameter_less, ("no parameter 'layer3.2.bn2.bias'",)),
        (some_names_of_data_parallel, ("no parameter 'conv1.weight'",)),
        (two_prefixes, ("not a resnet20", "no parameter 'conv1.weight'")),
        (a_prefix_that_is_no_part, ("not a resnet20", "no parameter 'conv1.weight'")),
        (a_prefix_and_one_parameter_more, ("not a resnet20", "no parameter 'conv1.weight'")),
        (numbers, ("not a resnet20", "no parameter 'conv1.weight'")),
        (sparse, ("'fc.weight' is no plain tensor", "sparse")),
        (on_no_device, ("'fc.weight' is no plain tensor", "meta")),
        (complex_numbers, ("'fc.weight' holds torch.complex64 where torch.float32 is expected",)),
        (whole_numbers, ("'fc.weight' holds torch.int64",)),
        (beyond_float32, ("'fc.weight'", "not finite")),
        (lambda weights: {}, ("no checkpoint",)),
        (lambda weights: {"conv1.weight": "text"}, ("no checkpoint",)),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_the_first_mismatch(
    change: Callable[[Weights], Weights], reasons: tuple[str, ...], tmp_path: Path
) -> None:
    weights = change(build("resnet20").state_dict())
    torch.save({"model": weights, "best_acc": 50.0, "epoch": 1}, tmp_path / "file.pth")
    assert_refused(tmp_path / "file.pth", *reasons)


class RunsWhenUnpickled:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_would_run_code_is_refused_and_runs_nothing(zipped: bool, tmp_path: Path) -> None:
    content = {"model": build("resnet20").state_dict(), "best_acc": RunsWhenUnpickled(tmp_path / "ran")}
    torch.save(content, tmp_path / "file.pth", _use_new_zipfile_serialization=zipped)
    assert_refused(tmp_path / "file.pth", "more than plain weights")
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "file.pth", weights_only=False)
    assert (tmp_path / "ran").exists()
