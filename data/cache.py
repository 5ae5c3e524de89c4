"""Images as tensors in one file: read where it is whole, made by one process where it is not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from data.image_set import ImageSet
from storage.claims import Claims, hold
from storage.errors import in_one_line, is_out_of_memory
from storage.files import save_whole

TENSORS = ("train_images", "train_labels", "test_images", "test_labels")

Content = dict[str, Any]


def tensors_of(images: ImageSet) -> Content:
    """The images and labels as a file keeps them."""
    return {name: getattr(images, name) for name in TENSORS}


def cached(
    file: Path, claims: Claims, claim: str, make: Callable[[], Content], assemble: Callable[[Content], ImageSet]
) -> ImageSet:
    """The images that a file holds; it is made where it is missing, and made again where it is damaged.

    Args:
        claims: of all processes that share the file: the one that has ``claim`` makes it.
        make: what the file is to hold, from the images themselves.
        assemble: the images of what it holds; raises where they are not what they should be.

    Raises:
        OSError: where the file cannot be read or written.
        DataError: as ``make`` does.
    """
    images = _from_file(file, assemble, say=lambda line: None)
    if images is not None:
        return images
    with hold(claims, claim):
        images = _from_file(file, assemble, say=print)
        if images is None:
            content = make()
            save_whole(content, file)
            images = assemble(content)
    return images


def _from_file(file: Path, assemble: Callable[[Content], ImageSet], say: Callable[[str], None]) -> ImageSet | None:
    try:
        return assemble(torch.load(file, weights_only=True))
    except FileNotFoundError:
        return None
    except OSError:
        raise
    except Exception as error:  # what torch raises depends on which bytes are wrong
        if is_out_of_memory(error):
            raise
        say(f"{file}: damaged ({in_one_line(error)}); it is made again from the images")
        return None
