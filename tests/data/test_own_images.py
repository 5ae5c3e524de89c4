"""Images of one's own: any size and number of classes, grey or in colour, and everything wrong with them named."""

import io
import os
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from tqdm import tqdm

from data import DataError, ImageBank, ImageSet, load_own_images, split
from data.class_folders import NAMES
from data.samples import samples
from data.views import IDENTITY_VIEW
from storage.claims import FileClaims
from study.progress import bar
from tests.conftest import CPU

CLASSES = ("daisy", "rose", "tulip")


def photograph(colour: int, number: int, size: tuple[int, int], mode: str) -> Image.Image:
    width, height = size
    pixels = np.random.default_rng([colour, number]).integers(0, 60, (height, width, 3), dtype=np.uint8)
    pixels[..., colour] += 150
    return Image.fromarray(pixels).convert(mode)


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    """Three classes of 10 training and 2 test images, of other sizes and formats."""
    root = tmp_path / "flowers"
    write(root, "RGB")
    return root


def write(root: Path, mode: str) -> None:
    for part, images in (("train", 10), ("test", 2)):
        for label, name in enumerate(CLASSES):
            (root / part / name).mkdir(parents=True)
            for number in range(images):
                suffix = (".png", ".JPG", ".bmp")[number % 3]
                image = photograph(label, number + (part == "test") * 10, (40 + number, 36), mode)
                image.save(root / part / name / f"{number}{suffix}")


def load(root: Path, size: int = 32, cache: Path | None = None) -> ImageSet:
    return load_own_images(root, size, cache, FileClaims(root), bar)


@pytest.mark.parametrize("size", [28, 32, 96])
def test_any_images_become_squares_in_a_canonical_order(size: int, flowers: Path) -> None:
    found = load(flowers, size)
    assert (found.name, found.classes, found.synthetic) == ("flowers", CLASSES, False)
    assert found.train_images.shape == (30, 3, size, size)
    assert found.test_labels.tolist() == [0, 0, 1, 1, 2, 2]
    for label in range(3):
        means = found.train_images[found.train_labels == label].float().mean(dim=(0, 2, 3))
        assert means.argmax() == label
    for path in (flowers / "train").rglob("*.png"):
        path.rename(path.with_name(f"z{path.name}"))
    assert load(flowers, size).hash == found.hash


def test_an_image_of_the_right_size_stays_as_it_is_and_another_is_cropped_in_its_middle(flowers: Path) -> None:
    exact = photograph(0, 99, (32, 32), "RGB")
    exact.save(flowers / "train" / "daisy" / "0.png")
    wide = Image.new("RGB", (96, 32), "blue")
    wide.paste(exact, (32, 0))
    wide.save(flowers / "train" / "daisy" / "3.png")
    turned = exact.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees to the right
    turned.save(flowers / "train" / "daisy" / "6.png", exif=exif)
    expected = torch.from_numpy(np.asarray(exact).copy()).permute(2, 0, 1)
    images = load(flowers).train_images
    assert sum(torch.equal(image, expected) for image in images) == 3


def test_grey_images_have_one_channel_until_one_is_in_colour(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "grey"
    write(root, "L")
    deep = np.full((32, 32), 0x8000, dtype=np.uint16)
    deep[0, 0] = 0xFFFF
    Image.fromarray(deep).save(root / "train" / "rose" / "deep.png")
    found = load(root)
    assert found.train_images.shape == (31, 1, 32, 32)
    assert any(image.flatten().tolist() == [0xFF] + [0x80] * 1023 for image in found.train_images)
    bank = ImageBank.of_training_images(found, CPU)
    mean, deviation = found.channel_statistics
    shown = bank.crop(torch.tensor([4, 5]), torch.tensor([IDENTITY_VIEW, IDENTITY_VIEW + 81]))
    plain = (found.train_images[4:6].float() / 255 - mean) / deviation
    torch.testing.assert_close(shown, torch.stack([plain[0], plain[1].flip(2)]))
    assert samples(found)[0]["class"] == "daisy"
    photograph(0, 0, (32, 32), "RGB").save(root / "test" / "rose" / "colour.png")
    assert "in colour" not in capsys.readouterr().out
    assert load(root).train_images.shape == (31, 3, 32, 32)
    said = capsys.readouterr().out
    assert f"1 of 38 images are in colour, so all have three channels: {root / 'test' / 'rose' / 'colour.png'}" in said
    assert f"{root}: 36 of 38 images are resized and cropped to 32 x 32 (image_size)" in said


@pytest.mark.parametrize(("dtype", "largest"), [(np.float32, 1.0), (np.int32, 255), (np.int32, 2**31 - 1)])
def test_pixels_whose_range_no_file_says_are_refused_and_not_made_black(
    dtype: type, largest: float, flowers: Path
) -> None:
    file = flowers / "train" / "daisy" / "0.tif"
    Image.fromarray(np.full((32, 32), largest, dtype=dtype)).save(file)
    with pytest.raises(DataError, match=f"{file}: pixels of 32 bits whose range no file says"):
        load(flowers)


def png_of_16_bits(colour: int, channels: int, **more: bytes) -> bytes:
    """All black, of a kind that Pillow reads and does not write."""
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", 32, 32, 16, colour, 0, 0, 0),
        **{name.encode(): part for name, part in more.items()},
        b"IDAT": zlib.compress(32 * bytes(1 + 32 * channels * 2)),
        b"IEND": b"",
    }
    chunks = [
        struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part))
        for name, part in parts.items()
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def tiff_of_16_bits(channels: int, planes: int, content: bytes, signed: bool = False) -> bytes:
    """Of a kind that Pillow reads and does not write; each plane is a strip."""
    tags = ImageFileDirectory_v2()
    tags[256] = tags[257] = tags[278] = 32
    tags[258], tags[259], tags[262] = (16,) * channels, 1, 2 if channels == 3 else 1
    tags[277], tags[284], tags[339] = channels, 1 if planes == 1 else 2, 2 if signed else 1
    size = len(content) // planes
    tags[273], tags[279] = tuple(size * plane for plane in range(planes)), (size,) * planes
    return b"II*\0" + struct.pack("<I", 8) + tags.tobytes(8) + content


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("colour.png", png_of_16_bits(2, 3)),
        ("grey and transparent.png", png_of_16_bits(4, 2)),
        ("transparent.png", png_of_16_bits(6, 4)),
        ("a grey that is transparent.png", png_of_16_bits(0, 1, tRNS=bytes(2))),
        ("colour.tif", tiff_of_16_bits(3, 1, bytes(32 * 32 * 6))),
        ("planes.tif", tiff_of_16_bits(3, 3, bytes(32 * 32 * 6))),
    ],
    ids=["colour", "grey and alpha", "colour and alpha", "one value of grey", "colour of a TIFF", "colour in planes"],
)
def test_colour_of_16_bits_is_refused_and_not_cut(name: str, content: bytes, flowers: Path) -> None:
    (flowers / "train" / "daisy" / name).write_bytes(content)
    with pytest.raises(DataError) as refused:
        load(flowers)
    assert str(refused.value).endswith(
        f"{name}: 16 bits a channel in colour or with transparency: save it with 8 bits a channel"
    )


def test_dark_grey_of_16_bits_is_grey_of_16_bits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "grey"
    write(root, "L")
    dark, bright = np.full((32, 32), 100), np.full((32, 32), 4000)
    folder = root / "train" / "rose"
    (folder / "dark.tif").write_bytes(tiff_of_16_bits(1, 1, dark.astype("<i2").tobytes(), signed=True))
    (folder / "dark.pgm").write_bytes(b"P5 32 32 65535\n" + dark.astype(">u2").tobytes())
    (folder / "bright.pgm").write_bytes(b"P5 32 32 65535\n" + bright.astype(">u2").tobytes())
    found = load(root)
    assert found.train_images.shape[1] == 1
    levels = [int(image[0, 0, 0]) for image in found.train_images if (image == image[0, 0, 0]).all()]
    assert sorted(levels) == [100 >> 4, 100 >> 4, 4000 >> 4]
    said = capsys.readouterr().out
    assert f"12 are used at most, of which the highest 8 are kept: the largest value, 4000, is in {folder}" in said


def test_negative_values_are_refused_and_not_made_black(flowers: Path) -> None:
    values = np.arange(-512, 512).reshape(32, 32)
    content = tiff_of_16_bits(1, 1, values.astype("<i2").tobytes(), signed=True)
    (flowers / "train" / "daisy" / "16.tif").write_bytes(content)
    Image.fromarray(values.astype(np.int32)).save(flowers / "train" / "daisy" / "32.tif")
    with pytest.raises(DataError) as refused:
        load(flowers)
    for line, name in zip(str(refused.value).splitlines(), ("16.tif", "32.tif"), strict=True):
        assert line.endswith(f"{name}: negative values: save it with 8 or 16 bits a channel, black as 0")


@pytest.mark.parametrize("form", ["PNG", "WEBP", "GIF", "TIFF"])
def test_an_image_of_several_pages_or_frames_is_refused(form: str, flowers: Path) -> None:
    first, second = photograph(0, 0, (32, 32), "RGB"), photograph(1, 1, (32, 32), "RGB")
    file = flowers / "train" / "daisy" / "several.png"  # Pillow looks at the content
    first.save(file, format=form, save_all=True, append_images=[second])
    with pytest.raises(
        DataError, match=f"^{file}: 2 pages or frames: save the one that is meant as a file of its own$"
    ):
        load(flowers)


def test_a_camera_s_photograph_with_its_preview_is_one_image(flowers: Path) -> None:
    photo, preview = photograph(0, 0, (32, 32), "RGB"), photograph(0, 0, (16, 16), "RGB")
    photo.save(flowers / "train" / "daisy" / "0.jpg", format="MPO", save_all=True, append_images=[preview])
    assert len(load(flowers).train_images) == 31


def test_hidden_folders_are_left_out_at_any_depth(flowers: Path) -> None:
    before = load(flowers).hash
    (flowers / "train" / "daisy" / ".ipynb_checkpoints").mkdir()
    photograph(0, 5, (32, 32), "RGB").save(flowers / "train" / "daisy" / ".ipynb_checkpoints" / "0-checkpoint.png")
    assert load(flowers).hash == before


def test_views_of_another_size_are_shifted_by_up_to_four_pixels(flowers: Path) -> None:
    found = load(flowers, 45)
    bank = ImageBank.of_training_images(found, CPU)
    shown = bank.crop(torch.tensor([3]), torch.tensor([8 * 9 + 0]))[0]
    whole = bank.crop(torch.tensor([3]), torch.tensor([IDENTITY_VIEW]))[0]
    assert shown.shape == (3, 45, 45)
    assert torch.equal(shown[:, :-4, 4:], whole[:, 4:, :-4])


def test_the_cache_is_used_until_a_file_changes_and_made_again_where_it_is_damaged(
    flowers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    found = load(flowers, cache=cache)
    (kept,) = (cache / "folders").iterdir()
    with monkeypatch.context() as unreadable:
        unreadable.setattr("data.own_images._read", None)
        assert load(flowers, cache=cache).hash == found.hash
    whole = kept.read_bytes()
    for damaged in (whole[:1000], whole[:20_000] + b"damaged" + whole[20_007:]):
        kept.write_bytes(damaged)
        assert load(flowers, cache=cache).hash == found.hash
        assert re.search(r"damaged \(.+\); it is made again", capsys.readouterr().out)
    changed = flowers / "train" / "rose" / "2.bmp"
    times, content = changed.stat(), changed.read_bytes()
    changed.write_bytes(content[:1000] + bytes(len(content) - 1000))
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))  # as long and as old
    assert load(flowers, cache=cache).hash != found.hash
    assert kept not in (cache / "folders").iterdir(), "nobody asks for images that are no more"
    load(flowers, size=48, cache=cache)
    assert len(list((cache / "folders").iterdir())) == 2


def test_bars_count_every_image_while_they_are_read_and_not_where_they_are_cached(
    flowers: Path, tmp_path: Path
) -> None:
    bars: list[tqdm[Any]] = []

    def progress(total: int, name: str, unit: str) -> "tqdm[Any]":
        bars.append(tqdm(total=total, desc=name, unit=unit, file=io.StringIO()))
        return bars[-1]

    for _ in range(2):
        load_own_images(flowers, 32, tmp_path / "cache", FileClaims(flowers), progress)
    assert [(bar.desc, bar.n, bar.total) for bar in bars] == [("looking at images", 36, 36), ("reading images", 36, 36)]


def test_folders_that_swap_names_are_read_again(flowers: Path, tmp_path: Path) -> None:
    for path in flowers.rglob("*.*"):
        photograph(CLASSES.index(path.parent.name), 0, (32, 32), "RGB").save(path, format="BMP")
        os.utime(path, ns=(0, 0))
    before = load(flowers, cache=tmp_path / "cache").hash
    daisy, rose = flowers / "train" / "daisy", flowers / "train" / "rose"
    daisy.rename(flowers / "other")
    rose.rename(daisy)
    (flowers / "other").rename(rose)
    found = load(flowers, cache=tmp_path / "cache")
    assert found.hash == load(flowers).hash != before


def test_values_of_16_bits_keep_the_8_highest_that_are_used(flowers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in flowers.rglob("*.*"):
        path.unlink()
    for number, folder in enumerate(sorted([*flowers.glob("*/*")])):
        values = np.random.default_rng(number).integers(0, 4096, (32, 32), dtype=np.uint16)
        Image.fromarray(values).save(folder / "0.png")
    found = load(flowers)
    assert (int(found.train_images.max()), found.dropped_bits) == (255, 4)
    for _ in range(2):  # read, and from the cache
        assert load(flowers, cache=flowers.parent / "cache").dropped_bits == 4
    assert "of the 16 bits of a value 12 are used at most" in capsys.readouterr().out
    brightest = np.full((32, 32), 0xFFFF, dtype=np.uint16)
    Image.fromarray(brightest).save(flowers / "train" / "rose" / "brightest.png")
    load(flowers)
    said = capsys.readouterr().out
    assert "16 are used at most, of which the highest 8 are kept: the largest value, 65535, is in " in said
    assert "rose/brightest.png" in said, "which alone may make all others dark"
    (flowers / "train" / "rose" / "brightest.png").unlink()
    Image.fromarray(values >> 4).save(flowers / "train" / "rose" / "1.png")
    found = load(flowers)
    assert sorted(int(image.max()) for image in found.train_images) == [15, 255, 255, 255], "one range for all"


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_lies_on_white(mode: str, flowers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = np.zeros((32, 32, 4), dtype=np.uint8)
    pixels[:16, :, 3] = 255
    drawn, file = Image.fromarray(pixels), flowers / "train" / "daisy" / "0.png"
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    drawn = drawn.quantize(2) if mode == "P" else drawn.convert(mode)
    drawn.save(file, exif=exif)
    found = load(flowers)
    halves = [(int(image[:, :16].float().mean()), int(image[:, 16:].float().mean())) for image in found.train_images]
    assert (255, 0) in halves
    assert "images that are transparent in part, which now lie on white: 1" in capsys.readouterr().out


def test_names_in_another_encoding_than_utf_8_are_taken_of_files_and_refused_of_classes(
    flowers: Path, tmp_path: Path
) -> None:
    daisy = flowers / "train" / "daisy"
    before = load(flowers).hash
    (daisy / "0.png").rename(os.fsdecode(os.fsencode(daisy) + b"/caf\xe9.png"))
    assert load(flowers, cache=tmp_path / "cache").hash == before
    for part in ("train", "test"):
        (flowers / part / "rose").rename(os.fsdecode(os.fsencode(flowers / part) + b"/ros\xe9"))
    with pytest.raises(DataError, match=r"the name of the class folder 'ros\\udce9' is not UTF-8: rename it"):
        load(flowers)


def test_everything_wrong_is_named_at_once_a_line_each(flowers: Path) -> None:
    (flowers / "test" / "rose").rename(flowers / "test" / "lily")
    for path in (flowers / "test" / "daisy").iterdir():
        path.unlink()
    (flowers / "train" / "rose" / "2.bmp").write_bytes(b"no image")
    with pytest.raises(DataError) as refused:
        load(flowers)
    assert str(refused.value).replace(str(flowers), "flowers").splitlines() == [
        "flowers/train: no folder 'lily', which is in flowers/test",
        "flowers/test: no folder 'rose', which is in flowers/train",
        f"flowers/test/daisy: holds no image ({NAMES})",
        "flowers/train/rose/2.bmp: damaged or no image",
    ]


def test_a_folder_that_may_not_be_read_is_named_and_not_left_out(
    flowers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = sorted(path.name for path in (flowers / "train").iterdir())[0]
    closed = flowers / "train" / name / "more"
    closed.mkdir()
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != closed)  # the superuser may read everything
    with pytest.raises(DataError, match=re.escape(f"{closed}: may not be read by this user")):
        load(flowers)


def test_every_damaged_file_is_named(flowers: Path) -> None:
    damaged = [flowers / "train" / name / "0.png" for name in CLASSES] + [flowers / "test" / "rose" / "1.JPG"]
    damaged[0].write_bytes(b"no image")
    for path in damaged[1:]:
        path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(DataError) as refused:
        load(flowers)
    lines = str(refused.value).splitlines()
    assert sorted(line.split(": damaged")[0] for line in lines) == sorted(map(str, damaged))


def test_a_folder_without_both_parts_is_refused(flowers: Path) -> None:
    (flowers / "train").rename(flowers / "Train")
    with pytest.raises(DataError, match=r"/train: no such folder\n.*: your images lie in train/<class>"):
        load(flowers)


def test_folders_beside_train_and_test_are_left_out_and_said(flowers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (flowers / "val" / "rose").mkdir(parents=True)
    (flowers / ".cache").mkdir()
    Path(os.fsdecode(os.fsencode(flowers) + b"/vali\xe9")).mkdir()
    load(flowers)
    said = capsys.readouterr().out
    assert f"{flowers / 'val'}: left out; validation images are some of {flowers / 'train'}" in said
    assert r"vali\xe9: left out" in said
    assert ".cache" not in said


def test_files_that_are_no_images_are_left_out_and_said(flowers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (flowers / "train" / "rose" / "notes.txt").write_text("roses are red")
    (flowers / "train" / "rose" / "._0.png").write_text("of another system")
    assert len(load(flowers).train_images) == 30
    photograph(0, 0, (32, 32), "RGB").save(flowers / "train" / "in_no_class.png")
    (flowers / "test" / "rose" / "more").symlink_to(flowers / "train" / "rose")
    assert len(load(flowers).test_images) == 6
    assert "4 are left out that are no images by name or place, or linked folders: " in capsys.readouterr().out


def test_validation_images_are_a_part_of_every_class() -> None:
    labels = torch.tensor([0] * 100 + [1] * 50 + [2] * 10)
    parts = split(labels, validation_images=33)
    kept = labels[parts.validation].bincount().tolist()
    assert (sum(kept), kept) == (33, [21, 10, 2])
    assert len(parts.train) == 160 - 33
    assert set(parts.train.tolist()).isdisjoint(parts.validation.tolist())
    assert torch.equal(split(labels, 20, 33).validation, parts.validation)
    for wanted in (0, -1, 160, 159):
        with pytest.raises(DataError, match=f"validation_images {wanted}: give 1 or more"):
            split(labels, validation_images=wanted)
    with pytest.raises(DataError, match="a tenth of each class for validation is no image: give validation_images"):
        split(torch.tensor([0, 0, 1, 1]))
