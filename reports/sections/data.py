"""The images."""

from reports.sections.document import Document
from reports.sections.words import count, table


def the_data(document: Document) -> list[str]:
    """What the images are and who saw which."""
    data = document.data
    official = data["official_train_images"]
    size = data["image_size"]
    rows = [
        ("Data set", data["name"]),
        ("Images in all", f"{official + data['test_images']:,}"),
        ("Training set", f"{official:,}"),
        ("Test set", f"{data['test_images']:,}"),
        ("Images", f"{size} x {size} pixels, {count(data['channels'], 'channel')}"),
        ("Classes", len(data["classes"])),
        ("Groups of classes", len(set(data["groups"]))),
        ("Search trains on", f"{data['train_images']:,}"),
        ("Search is scored on", f"{data['validation_images']:,} of the training set, kept apart"),
        ("Comparison trains on", f"{data['train_images'] + data['validation_images']:,}"),
    ]
    return ["## The data", table(["Feature", "Value"], rows), *document.figure("samples")]
