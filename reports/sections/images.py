"""The images."""

import plotly.graph_objects as go

from reports.drawing import Figure, blank
from reports.results import Results, images_of_comparison
from reports.sections.document import Document
from reports.sections.words import count, plain, table


def images(document: Document) -> list[str]:
    """What the images are and who saw which."""
    data = document.data
    official = data["official_train_images"]
    size = data["image_size"]
    rows = [
        ("Data set", plain(data["name"])),
        ("Images in all", f"{official + data['test_images']:,}"),
        ("Training set", f"{official:,}"),
        ("Test set", f"{data['test_images']:,}"),
        ("Images", f"{size} x {size} pixels, {count(data['channels'], 'channel')}{_mirrored(document)}"),
        ("Classes", len(data["classes"])),
        *([("Groups of classes", len(set(data["groups"])))] if data["groups"] != data["classes"] else []),
        *(_of_the_search(document) if document.is_searched else []),
        ("Comparison trains on", f"{images_of_comparison(data):,}"),
    ]
    return ["## The data", table(["Feature", "Value"], rows), *document.figure(SAMPLES)]


def _mirrored(document: Document) -> str:
    return "" if document.configuration["recipe"].get("flip", True) else ", never mirrored in training"


def _of_the_search(document: Document) -> list[tuple[str, str]]:
    data, missing = document.data, document.data.get("not_validated", 0)
    without = f"; none of {count(missing, 'class', 'classes')}" if missing else ""
    return [
        ("Search trains on", f"{data['train_images']:,}"),
        ("Search is scored on", f"{data['validation_images']:,} of the training set, kept apart{without}"),
    ]


def samples(results: Results) -> go.Figure | None:
    """Sample images with their classes, five in a row."""
    shown = results["data"]["samples"]
    if not shown:
        return None
    columns = min(5, len(shown))
    rows = -(-len(shown) // columns)
    figure = blank(height=120 * rows + 10)
    for index, sample in enumerate(shown):
        x, y = index % columns, rows - 1 - index // columns
        figure.add_layout_image(
            source=f"data:image/png;base64,{sample['png']}",
            x=x,
            y=y + 0.08,
            sizex=0.72,
            sizey=0.72,
            xref="x",
            yref="y",
            xanchor="center",
            yanchor="middle",
        )
        figure.add_annotation(x=x, y=y - 0.42, text=sample["class"].replace("_", " "), showarrow=False, font_size=11)
    hidden = {"visible": False, "fixedrange": True}
    figure.update_xaxes(range=[-0.5, columns - 0.5], **hidden)
    figure.update_yaxes(range=[-0.55, rows - 0.45], **hidden)
    figure.add_scatter(x=[0], y=[0], mode="markers", marker={"opacity": 0}, hoverinfo="skip")
    return figure


SAMPLES = Figure(name="samples", caption="Sample images with their classes.", draw=samples)
