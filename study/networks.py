"""The networks of a study: whether they can be trained, and whether they are those with which it was begun."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from torch import nn

from models import Architecture, NetworkError, Normalisation, check_training
from storage.configuration import Recipe, refuse_unless
from storage.description import CostFacts, Description


def check_trainable(architecture: Architecture, recipe: Recipe, images: Iterable[int]) -> None:
    """Check a network of one's own with the recipe's precision, batches and sizes of images.

    Args:
        images: numbers of images that it is trained on.

    Raises:
        NetworkError: with what it does not hold.
        ConfigurationError: where the recipe resizes to another size than that of the images.
    """
    sizes = [size for _, size in recipe.image_sizes] or [architecture.image_size]
    refuse_unless(
        sizes[-1] == architecture.image_size,
        f"the recipe trains on images of {sizes[-1]} pixels, these have {architecture.image_size}: give another",
    )
    refuse_unless(
        architecture.name != "StudentCNN" or len(set(sizes)) == 1,
        "the recipe trains on images of several sizes and StudentCNN takes those of one: give another recipe",
    )
    if not architecture.is_own:
        return
    batches = {size for count in images for size in recipe.batch_sizes(count)}
    for size in sizes:
        check_training(architecture, recipe.precision, batches, size)


def known_by(architecture: Architecture, network: nn.Module) -> dict[str, Any]:
    """What is stored of a network of one's own, so that another is refused; nothing of the product's."""
    if not architecture.is_own:
        return {}
    shapes = {key: list(tensor.shape) for key, tensor in network.state_dict().items()}
    return {"source": architecture.source, "shapes": shapes}


def refuse_other_networks(description: Description, instead: str = "") -> None:
    """Refuse networks of one's own that are not those of a stored study; one that is not there is not another one.

    Args:
        instead: what else than the former source may be brought, in words.

    Raises:
        ConfigurationError: where the source or the shapes of one are other ones.
    """
    settings = description.settings
    for name, stored in (
        (settings.student_network, description.student),
        (settings.teacher_network, description.teacher),
    ):
        with suppress(NetworkError):
            _refuse_another_source(_architecture(name, description), stored, instead)


def student_of(description: Description) -> Architecture:
    """The student of a stored study.

    Raises:
        NetworkError, ConfigurationError: where one of one's own is not there, or not as it was.
    """
    student = _architecture(description.settings.student_network, description)
    _refuse_another_source(student, description.student)
    return student


def _architecture(network: str, description: Description) -> Architecture:
    data = description.data
    normalisation = Normalisation.of(data.get("normalisation"))
    return Architecture(network, len(data["classes"]), data["channels"], data["image_size"], normalisation)


def _refuse_another_source(architecture: Architecture, stored: CostFacts, instead: str = "") -> None:
    refuse_unless(
        not architecture.is_own
        or (
            # Another source may not take what this one did, so it is built only where it is the same.
            architecture.source == stored.get("source")
            and known_by(architecture, architecture.build()).items() <= stored.items()
        ),
        f"the study was begun with another source of {architecture.name}: bring that back{instead}",
    )
