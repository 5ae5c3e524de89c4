"""CIFAR-100 is the same from class folders, from the official archive and from the cache, or it is refused."""

import hashlib
import os
import pickle
import shutil
import struct
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR100

import data.cifar100
from data import DataError, ImageSet, count_copies, load_cifar100
from data.cache import TENSORS
from data.cifar100 import CIFAR100_DEVIATION, CIFAR100_HASH, CIFAR100_MEAN, CLASSES, GROUPS
from data.class_folders import image_files, read_images
from data.image_set import in_canonical_order
from storage.claims import FileClaims
from storage.postgres_claims import PostgresClaims
from tests.storage.postgres import Server


def load(cache: Path, data_dir: Path | None = None) -> ImageSet:
    return load_cifar100(cache, data_dir, FileClaims(cache))


def refusal(cache: Path, data_dir: Path | None = None) -> str:
    with pytest.raises(DataError) as error:
        load(cache, data_dir)
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


def test_class_folders_hold_what_the_png_files_show(cifar100_folder: Path, cifar100: ImageSet) -> None:
    image_set = cifar100
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
    from_archive = load(tmp_path / "cache", tmp_path / "archive")
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
    assert "nor the whole unpacked archive" in refusal(tmp_path / "cache", tmp_path)


def test_the_second_load_comes_from_the_cache(cifar100: ImageSet, cifar100_folder: Path) -> None:
    again = load(cifar100_folder.parent / "cache")
    assert all(torch.equal(getattr(again, name), getattr(cifar100, name)) for name in TENSORS)
    assert again.hash == CIFAR100_HASH


def test_some_test_images_of_cifar100_are_training_images_too(cifar100: ImageSet) -> None:
    assert count_copies(cifar100.test_images, cifar100.train_images) == 10
    assert count_copies(cifar100.train_images[:100], cifar100.train_images[100:]) < 5
    assert count_copies(cifar100.train_images[:100], cifar100.train_images) == 100


def test_there_are_20_groups_of_5_classes(cifar100: ImageSet) -> None:
    assert len(set(cifar100.classes)) == 100
    assert [len(names.split()) for names in GROUPS.values()] == [5] * 20
    assert len(set(cifar100.groups)) == 20


def test_without_a_download_there_are_no_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise URLError("nobody answers")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", unreachable)
    assert "CIFAR-100 cannot be downloaded (<urlopen error nobody answers>); give --data-dir" in refusal(tmp_path)
    assert not list(tmp_path.rglob("*.pt"))


def test_a_wrong_path_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path / "cache", tmp_path / "nowhere")
    assert message.startswith(f"--data-dir {tmp_path / 'nowhere'}: no such folder")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert str(tmp_path / "empty") in refusal(tmp_path / "cache", tmp_path / "empty")


def test_other_images_in_the_right_form_are_refused(made_up_folders: Path, tmp_path: Path) -> None:
    message = refusal(tmp_path / "cache", made_up_folders)
    assert "100 training and 100 test images that are not those of CIFAR-100 (50000 and 10000): fetch" in message
    assert not (tmp_path / "cache" / "cifar100.pt").exists()


def remove_class(folder: Path) -> Path:
    shutil.rmtree(folder / "train" / "whale")
    return folder / "train"


def add_class(folder: Path) -> Path:
    shutil.copytree(folder / "test" / "whale", folder / "test" / "zebra")
    return folder / "test"


def empty_class(folder: Path) -> Path:
    (folder / "train" / "whale" / "image.png").unlink()
    return folder / "train" / "whale"


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


def apple(folder: Path) -> Path:
    return folder / "train" / "apple" / "image.png"


def flip_bits(folder: Path) -> Path:
    """In the chunk of the pixels: its length, then its name; Pillow raises other errors than OSError for these."""
    content = bytearray(apple(folder).read_bytes())
    content[content.index(b"IDAT")] ^= 0xFF
    apple(folder).write_bytes(content)
    return apple(folder)


def promise_pixels(file: Path, width: int) -> Path:
    content = bytearray(file.read_bytes())
    content[16:24] = struct.pack(">II", width, width)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    file.write_bytes(content)
    return file


def promise_many_pixels(folder: Path) -> Path:
    return promise_pixels(apple(folder), 60_000)


def promise_more_pixels(folder: Path) -> Path:
    return promise_pixels(apple(folder), 9_000)


def replace_image_by_pipe(folder: Path) -> Path:
    apple(folder).unlink()
    os.mkfifo(apple(folder))
    return apple(folder)


def replace_image_by_device(folder: Path) -> Path:
    apple(folder).unlink()
    apple(folder).symlink_to("/dev/zero")
    return apple(folder)


def replace_image_by_folder(folder: Path) -> Path:
    apple(folder).unlink()
    apple(folder).mkdir()
    return apple(folder)


def link_to_nowhere(folder: Path) -> Path:
    apple(folder).unlink()
    apple(folder).symlink_to("/nowhere")
    return apple(folder)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (remove_class, "no folder 'whale'"),
        (add_class, "101 class folders instead of 100"),
        (empty_class, "holds no image"),
        (remove_test_part, "no such folder"),
        (enlarge_image, "33 x 32 pixels"),
        (truncate_image, "damaged"),
        (flip_bits, "damaged"),
        (promise_many_pixels, "far too many pixels"),
        (promise_more_pixels, "9000 x 9000 pixels where 32 x 32 are expected"),
        (replace_image_by_pipe, "no regular file"),
        (replace_image_by_device, "no regular file"),
        (replace_image_by_folder, "no regular file"),
        (link_to_nowhere, "a link to nowhere"),
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


def test_what_systems_and_editors_leave_among_class_folders_is_no_image(made_up_folders: Path) -> None:
    train = made_up_folders / "train"
    before = image_files(train, CLASSES)
    for folder in (train, train / "apple"):
        (folder / ".ipynb_checkpoints").mkdir()
        shutil.copy(apple(made_up_folders), folder / ".ipynb_checkpoints" / "0-checkpoint.png")
    (train / "apple" / "._image.png").write_text("of another system")
    assert image_files(train, CLASSES) == before


def test_no_flipped_bit_of_a_png_is_a_traceback(made_up_folders: Path, recwarn: pytest.WarningsRecorder) -> None:
    file = apple(made_up_folders)
    whole = file.read_bytes()
    refused = []
    for position in range(len(whole)):
        for mask in (0x01, 0x80, 0xFF):
            file.write_bytes(whole[:position] + bytes([whole[position] ^ mask]) + whole[position + 1 :])
            try:
                read_images([(file, 0)], 32)
            except DataError as error:
                refused.append(str(error))
    assert len(refused) > 2 * len(whole)
    assert all(message.startswith(f"{file}: ") and "\n" not in message for message in refused)
    assert not recwarn


def test_all_damaged_images_are_named_up_to_five(made_up_folders: Path, tmp_path: Path) -> None:
    images = made_up_folders
    damaged = [images / "train" / CLASSES[0] / "image.png", images / "test" / CLASSES[99] / "image.png"]
    for file in damaged:
        file.write_bytes(b"")
    message = refusal(tmp_path / "cache", images)
    assert all(f"{file}: damaged" in message for file in damaged)
    for name in CLASSES[:30]:
        (images / "test" / name / "image.png").write_bytes(b"")
    message = refusal(tmp_path / "cache", images)
    assert message.count("damaged or no image") == 5
    assert message.endswith("; and 27 more; fetch the images again")


def test_grey_images_are_named_where_images_are_not_those_of_cifar100(made_up_folders: Path, tmp_path: Path) -> None:
    Image.new("L", (32, 32)).save(apple(made_up_folders))
    message = refusal(tmp_path / "cache", made_up_folders)
    assert f"1 of them not stored in colour, such as {apple(made_up_folders)} (grey)" in message


@pytest.fixture
def accepted_folders(made_up_folders: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The made-up images, taken for those of CIFAR-100."""
    tensors = data.cifar100._from_folders(made_up_folders)
    ordered = {part: in_canonical_order(*pair) for part, pair in tensors.items()}
    image_set = ImageSet("", *ordered["train"], *ordered["test"], classes=CLASSES, groups=())
    monkeypatch.setattr(data.cifar100, "CIFAR100_HASH", image_set.hash)
    return made_up_folders


@pytest.mark.parametrize("content", ["empty", "truncated", "other tensors", "no tensors", "a list", "changed pixel"])
def test_a_damaged_cache_is_made_again_and_that_is_said(
    content: str, accepted_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_images: ImageSet
) -> None:
    cached = tmp_path / "cache" / "cifar100.pt"
    right = load(tmp_path / "cache", accepted_folders)
    whole = cached.read_bytes()
    tensors = torch.load(cached, weights_only=True)
    tensors["test_images"][-1, -1, -1, -1] += 1
    others = {name: getattr(tiny_images, name) for name in TENSORS}
    wrong = {"changed pixel": tensors, "other tensors": others, "no tensors": {}, "a list": [1]}
    if content in wrong:
        torch.save(wrong[content], cached)
    else:
        cached.write_bytes(b"" if content == "empty" else whole[: len(whole) // 2])
    assert capsys.readouterr().out == ""
    assert load(tmp_path / "cache", accepted_folders).hash == right.hash
    said = capsys.readouterr().out
    assert said.startswith(f"{cached}: damaged (")
    assert said.count("\n") == 1
    shutil.rmtree(accepted_folders)
    accepted_folders.mkdir()
    assert load(tmp_path / "cache", accepted_folders).hash == right.hash
    cached.write_bytes(b"")
    assert "neither train/ and test/" in refusal(tmp_path / "cache", accepted_folders)


def test_an_archive_that_is_not_unpacked_is_said_to_be_one(tmp_path: Path) -> None:
    packed = tmp_path / "images" / "cifar-100-python.tar.gz"
    packed.parent.mkdir()
    packed.touch()
    assert f"unpack {packed} there, or leave --data-dir out" in refusal(tmp_path / "cache", packed.parent)


def test_three_hosts_that_start_at_once_read_the_images_once(
    server: Server, accepted_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.new_database().replace("postgresql+psycopg", "postgresql")
    begin, read = threading.Barrier(3), read_images
    readings = []

    def counted(files: list[tuple[Path, int]], size: int) -> tuple[torch.Tensor, torch.Tensor]:
        readings.append(len(files))
        return read(files, size)

    def start(_: int) -> str:
        claims = PostgresClaims(url)  # a session of its own, as another host has
        begin.wait()
        return load_cifar100(tmp_path / "shared", accepted_folders, claims).hash

    monkeypatch.setattr(data.cifar100, "read_images", counted)
    with ThreadPoolExecutor(3) as hosts:
        assert set(hosts.map(start, range(3))) == {data.cifar100.CIFAR100_HASH}
    assert readings == [200]


def test_a_plan_knows_the_statistics_of_the_training_images(cifar100: ImageSet) -> None:
    assert [tuple(values.tolist()) for values in cifar100.channel_statistics] == [CIFAR100_MEAN, CIFAR100_DEVIATION]
