"""Whether a network can be trained by a recipe on so many images: asked before anything is trained."""

from collections.abc import Iterable

from models import Architecture, check_training
from storage.configuration import Recipe, refuse_unless


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
    if not architecture.is_own:
        return
    batches = {size for count in images for size in (min(recipe.batch_size, count), count % recipe.batch_size) if size}
    for size in sizes:
        check_training(architecture, recipe.precision, batches, size)
