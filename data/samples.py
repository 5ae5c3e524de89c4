"""Sample images for a report."""

import base64
import io

from PIL import Image

from data.image_set import ImageSet

MOST = 20


def samples(image_set: ImageSet) -> list[dict[str, str]]:
    """One training image of the first class of each of 20 groups, with its ``class``, as base64 of a ``png``."""
    found = []
    for group in list(dict.fromkeys(image_set.groups))[:MOST]:
        label = image_set.groups.index(group)
        image = image_set.train_images[(image_set.train_labels == label).nonzero()[0, 0]]
        file = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy()).save(file, "PNG")
        found.append({"class": image_set.classes[label], "png": base64.b64encode(file.getvalue()).decode()})
    return found
