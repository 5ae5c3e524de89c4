"""The same arm of two studies, seed by seed: what a setting does that is no part of the search.

python -m reports.paired FOLDER FOLDER                  two reports; the baseline, second minus first
python -m reports.paired FOLDER FOLDER --arm best
"""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from reports.evidence import Paired, by_seed, paired
from reports.results import Arm, Results, ResultsError, images_of_comparison, read_results
from reports.sections.words import capitalised, interval, mean_and_deviation, percent, points, table
from storage.configuration import RECIPE_STORED_WHERE_OTHER
from storage.errors import one_line_errors
from storage.trials import MadeBy, convolutions_of


def compare(first: Results, second: Results, arm: str) -> str:
    """Markdown: every seed of both, their means, and the paired difference with its 95 % t interval.

    Raises:
        ResultsError: where an arm is missing, or no seed is shared.
    """
    arms = [_arm(results, arm) for results in (first, second)]
    # Trained twice: that they agree in all seeds does not make them the same runs.
    pairs = dataclasses.replace(paired(arms[1], arms[0]), are_shared=False)
    if not pairs.seeds:
        raise ResultsError(f"{first['study']} and {second['study']} share no seed of arm {arm!r}")
    names = [f"{results['study']}, {arm}" for results in (first, second)]
    rows = [
        (str(seed), *(percent(by_seed(arm)[seed]) for arm in arms), f"{100 * difference:+.2f}")
        for seed, difference in zip(pairs.seeds, pairs.differences, strict=True)
    ]
    means = ("mean", *(mean_and_deviation([by_seed(arm)[seed] for seed in pairs.seeds]) for arm in arms))
    header = ["Seed", *names, "Difference in points"]
    blocks = [table(header, [*rows, (*means, points(pairs.mean))]), _words(pairs), _settings(first, second, arm)]
    return "\n\n".join(blocks)


def _settings(first: Results, second: Results, arm: str) -> str:
    """In what the two differ beside what is asked about, so that nothing else is taken for it."""
    seeds = set(_arm(first, arm)["seeds"]) & set(_arm(second, arm)["seeds"])
    ours, theirs = (_facts(results, _arm(results, arm), seeds) for results in (first, second))
    other = [f"{key} {ours[key]} and {theirs[key]}" for key in ours if ours[key] != theirs[key]]
    if other:
        return f"They differ in: {', '.join(other)}."
    return "Their settings, images, networks, commit, torch, device, convolutions and threads are the same."


def _facts(results: Results, arm: Arm, seeds: set[int]) -> dict[str, str]:
    """What the runs of these seeds were trained with, and by."""
    configuration = results["configuration"]
    student = results["student"]
    facts = {
        "student": f"{student['name']} {student.get('source', '')[:12]}".strip(),
        **{
            key.replace("_", " "): value
            for key, value in {**RECIPE_STORED_WHERE_OTHER, **configuration["recipe"]}.items()
        },
        "learning rate": arm["learning_rate"],
        "alpha": arm["alpha"],
        "T": arm["temperature"],
        "training images": images_of_comparison(results["data"]),
        "draws": configuration["draws"],
        "data": results["data"]["hash"][:12],
        "teacher": str(results["teacher"]["hash"])[:12] if arm["alpha"] else "none",
        **_made_by(results, [by for seed, by in zip(arm["seeds"], arm["made_by"], strict=True) if seed in seeds]),
    }
    return {key: str(value) for key, value in facts.items()}


def _made_by(results: Results, runs: Sequence[MadeBy | None]) -> dict[str, str]:
    """Commit and machine of runs; of those before format 2 the commits of the study's starts are all that is known."""
    known = [run for run in runs if run is not None]
    commits = [run["commit"] for run in known]
    if len(known) < len(runs):
        commits = [start["commit"] for start in results["manifest"]["starts"]]
    facts = {
        "commit": commits,
        "torch": [run["versions"]["torch"] for run in known],
        "device": [run["device"] for run in known],
        "convolutions": [convolutions_of(run) for run in known],
        "threads": [str(run["threads"]) for run in known],
    }
    return {key: "/".join(sorted(set(values))) or "not known" for key, values in facts.items()}


def _arm(results: Results, name: str) -> Arm:
    if name not in results["arms"]:
        raise ResultsError(f"study {results['study']!r} has no arm {name!r}; it has {', '.join(results['arms'])}")
    return results["arms"][name]


def _words(pairs: Paired) -> str:
    known = pairs.estimate
    if known is None:
        return f"{capitalised(pairs.why_no_interval)}."
    return (
        f"Second minus first: {points(known.mean)} (95 % t interval {interval(known)}, paired over {len(pairs.seeds)} "
        f"seeds, higher in {pairs.wins})."
    )


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m reports.paired",
        description="Compare one arm of two studies over the seeds that they share.",
        allow_abbrev=False,
    )
    parser.add_argument("folders", type=Path, nargs=2, metavar="FOLDER", help="a report, with its results.json")
    parser.add_argument("--arm", default="baseline", metavar="NAME", help="(default: baseline)")
    options = parser.parse_args(arguments)
    with one_line_errors():
        for folder in options.folders:
            if not (folder / "results.json").is_file():
                raise ResultsError(f"{folder}: holds no results.json, give the folder of a report")
        first, second = (read_results(folder / "results.json") for folder in options.folders)
        print(compare(first, second, options.arm))


if __name__ == "__main__":
    main()
