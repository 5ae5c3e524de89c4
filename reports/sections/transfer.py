"""What the search said of the arms beside what the test says of them."""

import math
from dataclasses import dataclass

from reports.evidence import (
    Paired,
    difference_error,
    gain_image_error,
    hits_of,
    luck_constant,
    seed_deviation,
    trial_of,
)
from reports.results import Arm, Trial
from reports.sections.document import Document, distilled_arm
from reports.sections.words import (
    SAMPLERS,
    arm_label,
    count,
    difference_cells,
    mean_and_deviation,
    percent,
    points,
    table,
)
from reports.standing import count_competed

CAREFUL = 2
"""By so much the error of images may be too large where hits are not stored: two trials near 50 % that differ in 12 %
of images have half the error of two with images of their own."""


@dataclass(frozen=True)
class Transfer:
    """One arm's gain over the baseline twice: in the search, of one seed on validation, and on test.

    Attributes:
        searched: in the search, a share 0 to 1.
        tested: on test, paired by seed.
        errors: how many standard errors the two lie apart, with a sign; None where the test gives no interval.
        chosen_from: the best of how many it is; 1 for a pair that was named before, which may have luck both ways.
        is_careful: whether that error is larger than it is, as where the search's hits are not stored.
    """

    searched: float
    tested: Paired
    errors: float | None
    chosen_from: int
    is_careful: bool

    @property
    def bound(self) -> float:
        """How many standard errors luck may bring: more to the best of many, and upwards alone."""
        return luck_constant(self.chosen_from)

    @property
    def is_apart(self) -> bool:
        """Whether they differ by more than the images of both and the spread of the comparison's seeds explain."""
        return self.errors is not None and abs(self.errors) > self.bound

    @property
    def luck(self) -> str:
        """What luck may bring, in words."""
        share = 95 if self.chosen_from == 1 else 97.5
        return f"luck brings up to {self.bound:.2f} in {share:g} % of searches"


def transfers(document: Document) -> dict[str, Transfer]:
    """By arm: those that are distilled, were searched to the end and share a seed with the baseline."""
    base = _searched(document, "baseline")
    found = {}
    for name, gain in document.gains.items():
        trial = _searched(document, name)
        if base is None or trial is None:
            continue
        searched, error = trial[1] - base[1], None
        if gain.estimate is not None:
            of_search = difference_error(
                trial[0], base[0], document.validation_images, seed_deviation(document.results)
            )
            of_images = gain_image_error(
                document.arms[name], document.arms["baseline"], gain.seeds, document.data["test_images"]
            )
            total = math.hypot(of_search, gain.estimate.standard_error, of_images)
            error = (searched - gain.mean) / total if total else None
        # Who chooses the best has luck upwards only.
        chosen_from = _chosen_from(document, name) if (error or 0.0) > 0 else 1
        is_careful = any(hits_of(one, document.validation_images) is None for one in (trial[0], base[0]))
        found[name] = Transfer(searched, gain, error, chosen_from, is_careful)
    return found


def _chosen_from(document: Document, name: str) -> int:
    """Of how many distilled points an arm is the best; 1 for a pair that was named before."""
    results = document.results
    # Found by TPE or a Gaussian process, also where a later trial of theirs is better now.
    found_beyond = name in SAMPLERS or trial_of(results, document.arms[name]) in results["tpe"]
    if name != "best" and not found_beyond and name not in document.former_winners:
        return 1
    trials = results["grid"] + (results["tpe"] if found_beyond else [])
    return count_competed(trial for trial in trials if trial["alpha"] != 0)


def transfer(document: Document) -> list[str]:
    """Accuracies and gains of the search beside those of the test; nothing where no arm has both."""
    found = transfers(document)
    if not found:
        return []
    rows = [_row(document, name, arm, found.get(name)) for name, arm in document.plain.items()]
    return [
        "### From search to test",
        table(
            ["Arm", "Validation, one seed", "Test", "Gain on validation", "Gain on test", "95 % t interval"],
            [row for row in rows if row is not None],
        ),
        f"Gains are over the baseline, in points. {_do_they_agree(document, found)}".strip(),
    ]


def _do_they_agree(document: Document, found: dict[str, Transfer]) -> str:
    """Whether search and test agree on each gain, and why they may not."""
    if all(known.errors is None for known in found.values()):
        return "Without an interval on test it cannot be said whether both agree."
    apart = [_apart(arm_label(name, document.arms[name]), known) for name, known in found.items() if known.is_apart]
    words = apart or _no_more_than_luck(document, found)
    if apart:
        seen = "" if document.imported_teacher else ", and its teacher has seen the validation images"
        words.append(
            f"The search has one seed, which all of its points share, on fewer images{seen}; which of these it is, is "
            "not known. Gains are to be read from the test, and the shares of alpha and T with the same care."
        )
    return " ".join([*words, *_last_steps(document)])


def _no_more_than_luck(document: Document, found: dict[str, Transfer]) -> list[str]:
    """How far search and test lie apart where that may be luck, and whether they agree."""
    known = {arm_label(name, document.arms[name]): one for name, one in found.items() if one.errors is not None}
    distances = (f"{label} {abs(one.errors or 0.0):.2f}, where {one.luck}" for label, one in known.items())
    conclusion = (
        "Which images a trial of the search had right is not stored, so the images' part of these errors is an upper "
        "bound, and a small distance does not show that both agree."
        if any(one.is_careful and CAREFUL * abs(one.errors or 0.0) > one.bound for one in known.values())
        else "So both agree within what one seed and the images leave open."
    )
    return [f"How far both lie apart, in standard errors: {'; '.join(distances)}.", conclusion]


def verdict_on_last_steps(document: Document) -> str | None:
    """That steps on a few images may have touched the comparison, where it has such."""
    rest = 0 if document.left_over is None else document.left_over[1]
    if not _are_few(document, rest) or not any(arm["seeds"] for arm in document.arms.values()):
        return None
    return (
        f"Each epoch of the comparison ended with a step on {count(rest, 'left-over image')}, which "
        "undoes part of it at a high learning rate: how much of these numbers comes from that is not known."
    )


def _are_few(document: Document, rest: int) -> bool:
    """Whether so many images left over from whole batches are a quarter of one or less."""
    return 0 < 4 * rest <= document.configuration["recipe"]["batch_size"]


def verdict_on_search(document: Document) -> str | None:
    """A sentence where the search said another gain than the test."""
    found, name = transfers(document), distilled_arm(document.results)
    if name is None or name not in found or not found[name].is_apart:
        return None
    gain = points(found[name].searched)
    which = "that gain" if name == "best" else f"the gain of {arm_label(name, document.arms[name])}"
    return (
        f"In the search, with the seed that all points share, {which} was {gain}: gains are to be read from the test."
    )


def _apart(label: str, known: Transfer) -> str:
    assert known.errors is not None
    return (
        f"That of {label} is {points(known.searched)} in the search and "
        f"{points(known.tested.mean)} on test, {abs(known.errors):.2f} standard errors apart, where "
        f"{known.luck}: more than the images of both and the spread between the comparison's seeds explain."
    )


def _last_steps(document: Document) -> list[str]:
    """A cause, where there is one: steps on a few images, which do not weigh alike in search and comparison."""
    if document.left_over is None:
        return []
    search, comparison = document.left_over
    if not any(_are_few(document, rest) for rest in document.left_over):
        return []
    return [
        f"Here each epoch ends with a step on what is left over from whole batches, {search} images in the search and "
        f"{comparison} in the comparison. A step on so few at a high learning rate undoes much of an epoch "
        "(`python -m tests.choices --batches` shows it), so search and comparison did not train alike."
    ]


def _row(document: Document, name: str, arm: Arm, known: Transfer | None) -> tuple[str, ...] | None:
    trial = _searched(document, name)
    if trial is None or not arm["test_accuracy"]:
        return None
    gains = ("-", "-", "-")
    if known is not None:
        gains = (f"{100 * known.searched:+.2f}", *difference_cells(known.tested)[:2])
    return (arm_label(name, arm), percent(trial[1]), mean_and_deviation(arm["test_accuracy"]), *gains)


def _searched(document: Document, name: str) -> tuple[Trial, float] | None:
    """The search's trial of an arm with its accuracy; None where it has none that counts."""
    trial = trial_of(document.results, document.arms[name]) if name in document.arms else None
    return None if trial is None or trial["value"] is None else (trial, trial["value"])
