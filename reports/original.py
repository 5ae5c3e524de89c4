"""What the original report published, the only results that are written in the code; and how a study departs from it.

Source: "DATASCI223 Final Project", Faezeh Mirlohi, 2025; its section numbers stand beside each value.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from reports.evidence import Estimate, estimate
from reports.results import Results, images_of_comparison, is_searched

TEACHER_NETWORK = "resnet32x4"  # 1.4.1
TEACHER_PARAMETERS = 7_433_860  # 1.4.1
TEACHER_ACCURACY = 0.7833  # table 2
STUDENT_NETWORK = "StudentCNN"  # 1.4.2
STUDENT_PARAMETERS = 799_652  # 1.4.2
BEST_POINT_SECTION_2 = (0.25, 4.0)  # 2.4, point 7: "KL divergence weight"
BEST_POINT_SECTION_3 = (0.75, 4.0)  # 3.2: "alpha"
BEST_POINTS = (BEST_POINT_SECTION_2, BEST_POINT_SECTION_3)

EPOCHS = 100
RECIPE = {  # 1.4.2 and 2.4; momentum is not named there
    "epochs": EPOCHS,
    "batch_size": 128,
    "learning_rate": 0.1,
    "momentum": 0.0,
    "weight_decay": 5e-4,
    "schedule": "steps",
    "step_epochs": [30, 60, 90],
    "step_factor": 0.2,
}
"""How the student was trained. Arithmetic is not part of it: the original ran on Apple's MPS, which no other processor
repeats bit for bit. What bfloat16 does is measured: ``python -m reports.paired``."""

UNSAID = (
    "Some things that the original does not say had to be chosen here, and a difference may come from them: the "
    "kernels of the student's layers (the one plain reading that has its number of parameters), momentum (none), the "
    "padding of its crops (4 pixels), how weights are initialised (torch's defaults), whether the KL divergence is a "
    "mean over images (it is), what becomes of images that are left over from whole batches ({left_over}), and the "
    "epoch that its accuracies are of (the last)."
)


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation of ``count`` repeats, all that the original report gives of them."""

    mean: float
    deviation: float
    count: int

    @property
    def estimate(self) -> Estimate:
        """The mean with its standard error."""
        known = estimate(self.mean, self.deviation, self.count)
        assert known is not None, "the original has five runs"
        return known


BASELINE = Summary(0.5372, 0.0050, 5)  # table 2
DISTILLED = Summary(0.5639, 0.0046, 5)  # table 2


def gain() -> Estimate:
    """The gain of the original report: its two arms are independent as far as it says."""
    return DISTILLED.estimate - BASELINE.estimate


def is_original_data(results: Results) -> bool:
    """Whether the images are those of the original report."""
    return results["configuration"]["dataset"] == "cifar100"


def is_original(results: Results) -> bool:
    """Whether images and student are the original's, and the teacher is of the family of its teacher.

    Nothing of another study can be held against the original, whatever its protocol.
    """
    teacher = results["teacher"]["name"]
    return (
        is_original_data(results)
        and results["student"]["name"] == STUDENT_NETWORK
        and teacher.startswith("resnet")
        and ":" not in teacher
    )


def is_original_teacher(results: Results) -> bool:
    """Whether the teacher is the original's network on the original's images."""
    return is_original_data(results) and results["teacher"]["name"] == TEACHER_NETWORK


def departures(results: Results) -> list[str]:
    """In words, each way in which the protocol differs from the original's; empty where ours may be held against it.

    Asked of a study that ``is_original``. The validation images that a full search keeps apart are no departure: the
    final arms train on them.
    """
    configuration, found = results["configuration"], []
    recipe: Mapping[str, object] = {**configuration["recipe"]}
    data = results["data"]
    if results["teacher"]["name"] != TEACHER_NETWORK:
        found.append(f"teacher {results['teacher']['name']} instead of {TEACHER_NETWORK}")
    together = images_of_comparison(data)
    if is_searched(results) and configuration["train_images"] < 45_000:
        found.append(f"{configuration['train_images']:,} training images in the search instead of 45,000 or more")
    if together < data["official_train_images"]:
        found.append(f"{together:,} images in the comparison instead of {data['official_train_images']:,}")
    if not recipe.get("flip", True):
        found.append("no mirrored images")
    if recipe.get("optimizer", "sgd") != "sgd":
        found.append("AdamW instead of stochastic gradient descent")
    for key, original in RECIPE.items():
        ours = recipe[key]
        if key == "step_epochs" and (recipe["schedule"] != "steps" or recipe["epochs"] != RECIPE["epochs"]):
            continue  # moved with the epochs, which are named already
        if key == "momentum" and ours != original:
            found.append(f"momentum {_words(ours)} instead of none, which the original does not name")
        elif ours != original:
            found.append(f"{key.replace('_', ' ')} {_words(ours)} instead of {_words(original)}")
    return found


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
