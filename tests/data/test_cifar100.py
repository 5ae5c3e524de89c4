"""CIFAR-100 is the same from class folders, from the official archive and from the cache, or it is refused."""

import hashlib
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR100

from data import DataError, ImageSet, load_cifar100
from data.cifar100 import CIFAR100_HASH, CLASSES, GROUPS

TENSORS = ("train_images", "train_labels", "test_images", "test_labels")


def refusal(cache: Path, data_dir: Path | None = None) -> str:
    with pytest.raises(DataError) as error:
        load_cifar100(cache, data_dir)
    message = str(error.value)
    assert "\n" not in message
    return message


def write_archive(image_set: ImageSet, root: Path, monkeypatch: pytest.MonkeyPatch, leave_out: int = 0) -> None:
    """Write the images in the form of the official archive, in another order."""
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)

    def write(name: str, content: object) -> str:
        (folder / name).write_bytes(pickle.dumps(content))
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    sums = {}
    for part in ("train", "test"):
        images, labels = getattr(image_set, f"{part}_images"), getattr(image_set, f"{part}_labels")
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(3))[leave_out:]
        content = {"data": images[order].flatten(1).numpy(), "fine_labels": labels[order].tolist()}
        sums[part] = write(part, content)
    sums["meta"] = write("meta", {"fine_label_names": list(CLASSES)})
    # torchvision accepts only the official files, whose order and pickle are others: here it accepts these.
    for part in ("train", "test"):
        monkeypatch.setattr(CIFAR100, f"{part}_list", [[part, sums[part]]])
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": sums["meta"]})


@pytest.fixture
def made_up_folders(tmp_path: Path) -> Path:
    """One image for each class of CIFAR-100 in each part: the right form, the wrong images."""
    for part in ("train", "test"):
        for label, name in enumerate(CLASSES):
            (tmp_path / "images" / part / name).mkdir(parents=True)
            Image.new("RGB", (32, 32), (label, 0, 0)).save(tmp_path / "images" / part / name / "image.png")
    return tmp_path / "images"


def test_class_folders_hold_what_the_png_files_show(cifar100_folder: Path, tmp_path: Path) -> None:
    image_set = load_cifar100(tmp_path, cifar100_folder)
    assert image_set.hash == CIFAR100_HASH
    assert (len(image_set.train_images), len(image_set.test_images)) == (50_000, 10_000)
    assert image_set.train_labels.bincount().tolist() == [500] * 100
    assert image_set.test_labels.bincount().tolist() == [100] * 100
    for part, name in [("train", "cattle"), ("test", "apple"), ("test", "worm")]:
        images, labels = getattr(image_set, f"{part}_images"), getattr(image_set, f"{part}_labels")
        shown = {image.tobytes() for image in images[labels == CLASSES.index(name)].permute(0, 2, 3, 1).numpy()}
        files = sorted((cifar100_folder / part / name).glob("*.png"))
        assert {np.asarray(Image.open(file)).tobytes() for file in files} == shown
    first = np.asarray(Image.open(cifar100_folder / "train" / "cattle" / "bos_taurus_s_000507.png"))
    assert first[0, :3, 0].tolist() == [255, 255, 255]
    assert first[-1, -3:, 2].tolist() == [10, 59, 79]


def test_the_official_archive_gives_the_same_tensors_as_class_folders(
    cifar100: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_archive(cifar100, tmp_path / "archive", monkeypatch)
    from_archive = load_cifar100(tmp_path / "cache", tmp_path / "archive")
    assert all(torch.equal(getattr(from_archive, name), getattr(cifar100, name)) for name in TENSORS)
    assert from_archive.hash == cifar100.hash
    assert from_archive.classes == cifar100.classes


def test_an_archive_that_lacks_one_image_is_refused(
    cifar100: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_archive(cifar100, tmp_path / "archive", monkeypatch, leave_out=1)
    message = refusal(tmp_path / "cache", tmp_path / "archive")
    assert "49999 training and 9999 test images" in message
    assert not (tmp_path / "cache" / "cifar100.pt").exists()


def test_an_archive_with_other_bytes_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name in ("train", "test", "meta"):
        (folder / name).write_bytes(b"other bytes")
    assert "nor a whole CIFAR-100 archive" in refusal(tmp_path / "cache", tmp_path)


def test_the_second_load_comes_from_the_cache(cifar100: ImageSet, cifar100_folder: Path) -> None:
    again = load_cifar100(cifar100_folder.parent / "cache")
    assert all(torch.equal(getattr(again, name), getattr(cifar100, name)) for name in TENSORS)
    assert again.hash == CIFAR100_HASH


def test_there_are_20_groups_of_5_classes(cifar100: ImageSet) -> None:
    assert len(set(cifar100.classes)) == 100
    assert [len(names.split()) for names in GROUPS.values()] == [5] * 20
    assert all(name in GROUPS[group].split() for name, group in zip(cifar100.classes, cifar100.groups, strict=True))


def test_a_wrong_path_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path / "cache", tmp_path / "nowhere")
    assert message.startswith(f"--data-dir {tmp_path / 'nowhere'}: no such folder")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert str(tmp_path / "empty") in refusal(tmp_path / "cache", tmp_path / "empty")


def test_other_images_in_the_right_form_are_refused(made_up_folders: Path, tmp_path: Path) -> None:
    message = refusal(tmp_path / "cache", made_up_folders)
    assert "100 training and 100 test images that are not those of CIFAR-100" in message
    assert not (tmp_path / "cache" / "cifar100.pt").exists()


def remove_class(folder: Path) -> Path:
    shutil.rmtree(folder / "train" / "whale")
    return folder / "train"


def add_class(folder: Path) -> Path:
    shutil.copytree(folder / "test" / "whale", folder / "test" / "zebra")
    return folder / "test"


def empty_class(folder: Path) -> Path:
    (folder / "train" / "whale" / "image.png").unlink()
    return folder / "train"


def remove_test_part(folder: Path) -> Path:
    shutil.rmtree(folder / "test")
    return folder / "test"


def enlarge_image(folder: Path) -> Path:
    file = folder / "test" / "apple" / "image.png"
    Image.new("RGB", (33, 32)).save(file)
    return file


def truncate_image(folder: Path) -> Path:
    file = folder / "train" / "apple" / "image.png"
    file.write_bytes(file.read_bytes()[:60])
    return file


def replace_image_by_text(folder: Path) -> Path:
    file = folder / "train" / "apple" / "image.png"
    file.write_text("no image")
    return file


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (remove_class, "no folder 'whale'"),
        (add_class, "101 class folders instead of 100"),
        (empty_class, "whale"),
        (remove_test_part, "no such folder"),
        (enlarge_image, "33 x 32 pixels"),
        (truncate_image, "damaged"),
        (replace_image_by_text, "damaged or no image"),
    ],
)
def test_damaged_class_folders_are_refused_by_name(
    made_up_folders: Path, tmp_path: Path, damage: Callable[[Path], Path], reason: str
) -> None:
    named = damage(made_up_folders)
    message = refusal(tmp_path / "cache", made_up_folders)
    assert message.startswith(f"{named}: ")
    assert reason in message


@pytest.mark.parametrize("content", ["empty", "truncated", "other tensors", "no tensors", "changed pixel"])
def test_a_damaged_cache_is_refused_by_name(
    content: str, tmp_path: Path, tiny_images: ImageSet, request: pytest.FixtureRequest
) -> None:
    cached = tmp_path / "cifar100.pt"
    tensors = {name: getattr(tiny_images, name) for name in TENSORS}
    if content == "changed pixel":
        real: ImageSet = request.getfixturevalue("cifar100")
        tensors = {name: getattr(real, name) for name in TENSORS}
        tensors["test_images"] = tensors["test_images"].clone()
        tensors["test_images"][-1, -1, -1, -1] += 1
    torch.save({} if content == "no tensors" else tensors, cached)
    whole = cached.read_bytes()
    cached.write_bytes({"empty": b"", "truncated": whole[: len(whole) // 2]}.get(content, whole))
    message = refusal(tmp_path)
    assert message.startswith(f"{cached}: damaged")
    assert "delete it" in message
