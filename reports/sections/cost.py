"""What teacher and student cost."""

from collections.abc import Sequence

from reports.sections.document import Document
from reports.sections.words import percent, point, table
from storage.description import CostFacts


def cost(document: Document) -> list[str]:
    """Each quantity of teacher and student with their ratio; below the original's claims where those are there."""
    return [
        f"{'###' if document.original else '##'} Smaller and faster",
        table(["Quantity", "Teacher", "Student", "Teacher / student"], _rows(document)),
        "Multiply-adds are those of convolutions and matrix products for one image. "
        f"Latency{' and memory were' if _memory_words(document) else ' was'} measured on the machine where the study "
        f"was begun. Latency depends on what else ran there and is not judged.{_memory_words(document)}",
        *_exports(document),
    ]


def _exports(document: Document) -> list[str]:
    """The students that were exported; nothing where none was."""
    exports = document.results.get("exports", [])
    rows = [
        (
            f"{export['kind']} ({point(export['alpha'], export['temperature'])}, seed {export['seed']})",
            f"{_rounded(export['bytes'] * 1e-6, 2)} MB",
            f"{export['latency_seconds'] * 1e3:,.2f} ms",
            f"{export['network_latency_seconds'] * 1e3:,.2f} ms",
            f"{export['same']} of {export['images']}",
            percent(export["exact_test_accuracy"]),
            percent(export["test_accuracy"]),
        )
        for export in exports
    ]
    header = ["Exported student", "Size", "Latency, batch 1", "the network's there", "Same predictions"]
    words = (
        "An exported file takes pixels and normalises them itself. It was read back and compared with the network that "
        "it was made of; latency is the shortest of each, on one thread of the machine that exported it."
    )
    return [table([*header, "Test before int8", "after"], rows), words] if rows else []


def _memory_words(document: Document) -> str:
    peaks = [network["peak_memory_bytes"] for network in (document.teacher, document.student)]
    if not any(value for peak in peaks for value in peak.values()):
        return ""
    return (
        " Peak memory is the most that a prediction holds at any moment beside weights and input, as torch's "
        "allocator counts it."
    )


def costs(document: Document) -> list[tuple[str, tuple[str, str], float | None]]:
    """Each quantity with teacher's and student's value in words, and their ratio."""
    found: list[tuple[str, tuple[str, str], float | None]] = []

    def add(name: str, values: Sequence[float | None], unit: str, decimals: int, scale: float) -> None:
        teacher, student = values
        shown = ["-" if value is None else f"{_rounded(value * scale, decimals)}{unit}" for value in values]
        found.append((name, (shown[0], shown[1]), teacher / student if teacher and student else None))

    networks: tuple[CostFacts, CostFacts] = document.teacher, document.student
    add("Parameters", [network["parameters"] for network in networks], "", 0, 1)
    add("Multiply-adds, one image", [network["multiply_adds"] for network in networks], " million", 1, 1e-6)
    add("Size on disk, float32", [network["bytes"] for network in networks], " MB", 2, 1e-6)
    for batch in ("1", "128"):
        add(f"Latency, batch {batch}", [n["latency_seconds"].get(batch) for n in networks], " ms", 2, 1e3)
    for batch in ("1", "128"):
        add(f"Peak memory, batch {batch}", [n["peak_memory_bytes"].get(batch) for n in networks], " MB", 1, 1e-6)
    return found


def _rounded(value: float, decimals: int) -> str:
    """To so many decimals, or to two digits where nothing would be left."""
    return f"{value:,.{decimals}f}" if value == 0 or value >= 0.5 * 10**-decimals else f"{value:.2g}"


def _rows(document: Document) -> list[Sequence[str]]:
    return [
        (name, teacher, student, "-" if ratio is None else f"{ratio:.2f}")
        for name, (teacher, student), ratio in costs(document)
        if (teacher, student) != ("-", "-")
    ]
