"""What every section asks of the results."""

import re
import statistics
from collections.abc import Collection

from reports import original
from reports.drawing import Figure
from reports.evidence import (
    Measure,
    Paired,
    arm_at,
    gain_image_error,
    holds_beyond_the_images,
    paired,
    scored,
)
from reports.results import (
    Arm,
    Results,
    Trial,
    all_trials,
    images_of_comparison,
    is_searched,
    without_repeats,
)
from reports.sections.words import SAMPLERS
from reports.standing import UNFINISHED, Cell, count_compared, grid_cells
from storage.arms import arms_asked_for, name_of_pair
from storage.controls import CONTROLS
from storage.trials import run_pair

WINNERS = ("best", *SAMPLERS)
"""Arms whose point the search chose: the grid's, TPE's and that of a Gaussian process."""


def plain_arms(results: Results) -> dict[str, Arm]:
    """The arms without the controls."""
    return {name: arm for name, arm in results["arms"].items() if name not in CONTROLS and arm["control"] is None}


def distilled_arm(results: Results) -> str | None:
    """The arm whose gains and losses are shown: the grid's best, where that is none or alpha = 0 the first other one.

    None where no arm is distilled.
    """
    plain = plain_arms(results)
    if "best" in plain and plain["best"]["alpha"] != 0:
        return "best"
    return next((name for name, arm in plain.items() if arm["alpha"] != 0 and arm["test_accuracy"]), None)


class Document:
    """The results, what follows from them at once, and the figures that lie beside the report.

    A section is a function of it that gives blocks of markdown, which are set apart by empty lines.

    Attributes:
        synthetic: whether the images are drawn by a program, so that they show no more than that everything works.
        original: whether images and networks are the original's; nothing can be held against it where they are not.
        departures: from the original's protocol, in words; none where there is nothing to depart from.
        pruners: those that the trials ran with; that of the configuration before one has begun.
        grid: its cells, each with where it stands.
        plain: its arms without the controls.
        gains: what each distilled arm gains over the baseline, by its name; without those that share no seed with it.
        gain: best arm minus baseline, paired by seed; None where they share no seed.
        undistilled: whether the best arm is alpha = 0, so that no distilled one was trained.
    """

    def __init__(self, results: Results, figure_names: Collection[str]) -> None:
        self.results, self.figure_names = results, figure_names
        self.configuration, self.data, self.arms = results["configuration"], results["data"], results["arms"]
        self.teacher, self.student, self.best = results["teacher"], results["student"], results["best"]
        self.plain = plain_arms(results)
        distilled = {name: self.paired_with_baseline(name) for name, arm in self.plain.items() if arm["alpha"] != 0}
        self.gains = {name: gain for name, gain in distilled.items() if gain is not None}
        self.synthetic, self.original = self.data["synthetic"], original.is_original(results)
        self.departures = original.departures(results) if self.original else []
        self.grid = grid_cells(results)
        self.validation_images = self.data["validation_images"]
        trained = without_repeats(all_trials(results))
        self.pruners = {trial["pruner"] for trial in trained} - {None} or {self.configuration["pruner"]}
        self.gain = self.paired_with_baseline("best")
        self.undistilled = "best" in self.arms and self.arms["best"]["alpha"] == 0

    @property
    def imported_teacher(self) -> bool:
        """Whether it was trained elsewhere, nobody knows here on what."""
        return self.teacher["origin"].startswith("imported")

    @property
    def is_searched(self) -> bool:
        """As ``reports.results`` has it."""
        return is_searched(self.results)

    @property
    def finalists(self) -> int:
        """How many points are finalists; there may have been more of them once than are asked for now."""
        complete = count_compared(all_trials(self.results))
        return max(len(self.results["finalists"]), min(self.configuration["finalists"], complete))

    @property
    def search_is_open(self) -> bool:
        """Whether a point of the grid or a finalist has not ended, so that another may become the best."""
        return self.finalist_trainings_left > 0 or any(cell.standing in UNFINISHED for cell in self.grid)

    @property
    def finalist_trainings_left(self) -> int:
        """How many trainings of the points that are finalists now have not ended; others may have been before."""
        ranked = sorted(
            scored(without_repeats(all_trials(self.results))), key=lambda ended: (-ended[0], ended[1]["number"] or 0)
        )
        known = {run_pair(one["alpha"], one["temperature"]): len(one["seeds"]) for one in self.results["finalists"]}
        failed = self.results.get("failed_finalists", [])
        left = 0
        for _, trial in ranked[: self.configuration["finalists"]]:
            pair = run_pair(trial["alpha"], trial["temperature"])
            ended = known.get(pair, 1) + sum(run_pair(one["alpha"], one["temperature"]) == pair for one in failed)
            left += max(0, self.configuration["finalist_seeds"] - ended)
        return left

    @property
    def left_over(self) -> tuple[int, int] | None:
        """How many images the last step of an epoch takes in search and comparison; None where batches are even."""
        recipe, data = self.configuration["recipe"], self.data
        together = images_of_comparison(data)
        rests = self.configuration["train_images"] % recipe["batch_size"], together % recipe["batch_size"]
        return rests if recipe["batches"] == "remainder" and any(rests) else None

    @property
    def test_images_by_class(self) -> list[int]:
        """How many test images each class has; empty where no run has ended."""
        return next((arm["images_by_class"] for arm in self.plain.values() if arm["images_by_class"]), [])

    def figure(self, figure: Figure) -> list[str]:
        """A figure with its caption; nothing where it is not there."""
        if figure.name not in self.figure_names:
            return []
        return [f"![figure: {figure.name.replace('_', ' ')}](figures/{figure.name}.png)", f"*{figure.caption}*"]

    def paired_with_baseline(self, name: str, of: Measure = "test_accuracy") -> Paired | None:
        """What an arm has on test minus what the baseline has; None of the baseline, and where they share no seed."""
        if name == "baseline" or not {name, "baseline"} <= self.arms.keys():
            return None
        found = paired(self.arms[name], self.arms["baseline"], of)
        return found if found.seeds else None

    @property
    def held_against_original(self) -> dict[str, str]:
        """The arms held against the original's distilled student, each with what tells it apart in words.

        The search's best, and the points that the original names, where they were compared.
        """
        named = {
            name: f" at ({alpha:g}, {temperature:g})"
            for alpha, temperature in original.BEST_POINTS
            if (name := arm_at(self.results, alpha, temperature)) not in (None, "best")
        }
        if not named:
            return {"best": ""}
        return {**({"best": " at the search's best"} if "best" in self.arms else {}), **named}

    def on_few_images(self, *pairs: tuple[str, str]) -> str:
        """That a difference of these pairs of arms may be one on these test images alone; nothing where none is."""
        images, unsure = self.data["test_images"], set[str]()
        for names in pairs:
            first, second = (self.arms[name] for name in names)
            found = paired(first, second)
            if (known := found.estimate) is None or known.interval[0] <= 0 <= known.interval[1]:
                continue
            if not holds_beyond_the_images(known, gain_image_error(first, second, found.seeds, images)):
                unsure |= {*names}
        if not unsure:
            return ""
        stored = all(None not in self.arms[name]["hits"] for name in unsure)
        few = f"which {'are' if stored else 'may be'} too few to say it of others"
        return f" on these {images:,} test images, {few}"

    @property
    def originals(self) -> dict[str, original.Summary]:
        """What the original has of an arm, by its name; nothing where images or networks are others."""
        if not self.original:
            return {}
        held = [name for name in self.held_against_original if name != "best" or not self.undistilled]
        return {"baseline": original.BASELINE, **dict.fromkeys(held, original.DISTILLED)}

    def cell(self, where: tuple[float, float]) -> Cell | None:
        """The grid's cell at (alpha, T); None where the grid has no such point."""
        return next((cell for cell in self.grid if cell.point == where), None)

    @property
    def arms_asked_for(self) -> list[tuple[float, float]]:
        """The pairs that commands named."""
        return arms_asked_for(self.results["manifest"]["starts"])

    @property
    def former_winners(self) -> list[str]:
        """Arms that no command named and the search does not choose any more: it went on after they were compared."""
        return [
            name
            for name, arm in self.plain.items()
            if name not in ("baseline", *WINNERS)
            and run_pair(arm["alpha"], arm["temperature"]) not in self.arms_asked_for
        ]

    @property
    def searching_commands(self) -> list[str]:
        """The commands that asked for a search; one that did not says so."""
        commands = [start["command"] for start in self.results["manifest"]["starts"]]
        return [command for command in commands if not re.search("--sampler[ =]none", command)]

    @property
    def decided_winners(self) -> dict[str, tuple[float, float]]:
        """The pairs that the search chose, by the names of their arms, of those of its parts that have ended."""
        if self.search_is_open:
            return {}
        winners = {} if self.best is None else {"best": run_pair(self.best["alpha"], self.best["temperature"])}
        beyond = self.results["tpe"]
        ended = sum(trial["state"] in ("COMPLETE", "PRUNED", "FAIL") for trial in beyond)
        if ended < self.results["search"]["tpe_trials"]:
            return winners
        for sampler in SAMPLERS:
            complete = scored(trial for trial in beyond if trial["sampler"] == sampler)
            if complete:
                _, trial = max(complete, key=self.rank)
                winners[sampler] = run_pair(trial["alpha"], trial["temperature"])
        return winners

    def rank(self, ended: tuple[float, Trial]) -> tuple[bool, float, int]:
        """How a trial and its value stand in the search: by the mean of its seeds where it is a finalist, or after."""
        value, trial = ended
        pair = run_pair(trial["alpha"], trial["temperature"])
        means = {
            run_pair(one["alpha"], one["temperature"]): statistics.fmean(one["values"])
            for one in self.results["finalists"]
        }
        return pair in means, means.get(pair, value), -(trial["number"] or 0)

    @property
    def wanted_arms(self) -> dict[str, tuple[set[int], set[int]]]:
        """The planned seeds that have ended and those that failed, of each arm that is to have all of them.

        Arms of which no run has begun are among them, and not those that nothing asks for any more.
        """
        planned = set(self.configuration["final_seeds"])
        begun = [run_pair(arm["alpha"], arm["temperature"]) for arm in self.plain.values()]
        # Two winners of one pair share their runs.
        waiting = {pair: name for name, pair in reversed(self.decided_winners.items()) if pair not in begun}
        chosen = {name: pair for pair, name in reversed(waiting.items())}
        asked = [pair for pair in self.arms_asked_for if pair not in (*begun, *chosen.values())]
        first = ["best"] if "best" in chosen else []
        names = dict.fromkeys(["baseline", *first, *self.arms, *chosen, *map(name_of_pair, asked)])
        wanted = {}
        for name in names:
            if name not in self.arms:
                wanted[name] = set[int](), set[int]()
            elif name not in self.former_winners and (name in CONTROLS or self.arms[name]["control"] is None):
                arm = self.arms[name]
                wanted[name] = planned & {*arm["seeds"]}, planned & {run["seed"] for run in arm["failed"]}
        return wanted

    def missing_runs(self) -> str | None:
        """Which arm has how many of the planned seeds, in a sentence; None where all have all, or nothing has begun."""
        planned, wanted = len(self.configuration["final_seeds"]), self.wanted_arms
        lacking = [name for name, (done, _) in wanted.items() if len(done) < planned]
        if not self.arms or not lacking:
            return None
        words = []
        for name, (done, failed) in wanted.items():
            label = f"({name.replace(',', ', ')})" if "," in name else name
            words.append(f"{label} has {len(done)} of {planned}" + (f" ({len(failed)} failed)" if failed else ""))
        how = "; `--controls` with the same command trains them" if set(lacking) <= set(CONTROLS) else ""
        return f"Not all of the planned seeds are done: {', '.join(words)}{how}."
