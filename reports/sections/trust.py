"""How far to trust it, how to repeat it, and the manifest."""

import itertools
import re
import statistics
from collections.abc import Callable, Iterable, Mapping

from reports import original
from reports.sections.document import Document
from reports.sections.words import arm_label, count, mean_and_deviation, percent, plain, table
from reports.standing import count_compared, count_competed
from storage.description import Start
from storage.trials import MadeBy, convolutions_of, run_pair

OF_A_TRAINING: dict[str, Callable[[MadeBy], str]] = {
    "host": lambda made_by: made_by["host"],
    "device": lambda made_by: made_by["device"],
    "precision": lambda made_by: made_by["precision"],
    "convolutions": convolutions_of,
    "number of threads": lambda made_by: str(made_by["threads"]),
    "commit": lambda made_by: made_by["commit"],
    "torch version": lambda made_by: made_by["versions"]["torch"],
}
"""What may change the rounding of a training's numbers."""
NEAR_DOUBLES = (
    "A tenth of CIFAR-100's test images have a near double among its training images (Barz and Denzler 2020, arXiv "
    "1902.00423)"
)
FOLDERS = ("--runs-dir", "--data-dir", "--storage", "--config", "--teacher")


def trust(document: Document) -> list[str]:
    """What speaks against the numbers, the commands to repeat them, and the manifest."""
    remarks = [
        *_on_copies(document),
        *_on_the_teacher(document),
        *_on_the_winner(document),
        *_on_pruning(document),
        _on_seeds(document),
        *_on_first_weights(document),
        *_on_arithmetic(document),
        *_on_machines(document),
        "Each student was scored on the test images once, after its last epoch; no epoch was picked on them.",
        "The same numbers, bit for bit, are to be expected on the same processor and versions only.",
    ]
    blocks = ["## How far to trust it", "\n".join(f"- {remark}" for remark in remarks)]
    return [*blocks, *_repeat(document), *_manifest(document)]


def _on_copies(document: Document) -> list[str]:
    """Images that are scored on and were trained on; studies begun before they were counted know what others found."""
    data = document.data
    copies = data.get("copies")
    if document.synthetic or (copies is None and not original.is_original_data(document.results)):
        return []
    if copies is None:
        return [f"Whether test images are training images too was not counted. {NEAR_DOUBLES}."]
    of_validation, none_of_validation = "", ""
    if document.is_searched:
        of_validation = (
            f"; validation images that the search trains on: {copies['validation']:,} of {data['validation_images']:,}"
        )
        none_of_validation = ", and no validation image is trained on in the search"
    found = (
        f"Test images that are training images too, pixel by pixel: {copies['test']:,} of {data['test_images']:,}"
        f"{of_validation}. What is scored on them is too good. "
        if copies["test"] or (document.is_searched and copies["validation"])
        else f"No test image is a training image too, pixel by pixel{none_of_validation}. "
    )
    near = "Images that are nearly the same were not looked for"
    if original.is_original_data(document.results):
        near += f"; {NEAR_DOUBLES[0].lower()}{NEAR_DOUBLES[1:]}"
    return [f"{found}{near}."]


def _on_the_teacher(document: Document) -> list[str]:
    if document.imported_teacher:
        so_with_validation = "; so it is with validation images and the search" if document.is_searched else ""
        return [
            "What an imported teacher was trained on is not known here. Where test images were among it, all that is "
            f"distilled from it scores too high on them{so_with_validation}."
        ]
    remarks = []
    if document.teacher.get("hurried") is not None:
        remarks.append(
            "The teacher was trained in parts, as its card says: after each its accuracy on the test images was looked "
            f"at, and it went on while that was below the original's. Its {percent(document.teacher['test_accuracy'])} "
            "is a little too good for that reason."
        )
    if document.is_searched and document.teacher["hash"] is not None:
        copies = document.data.get("copies")
        but = ", but for the copies named above" if copies is not None and copies["validation"] else ""
        remarks.append(
            "The teacher was trained on the whole training set, the validation images among them. What it says of them "
            f"is surer than of new images; no student trains on them during the search{but}."
        )
    return remarks


def _on_the_winner(document: Document) -> list[str]:
    among, complete = count_competed(document.results["grid"]), count_compared(document.results["grid"])
    if document.best is None or among < 2:
        return []
    accuracy, chosen = document.best["value"], f"the best of {among}"
    if among > complete:
        chosen += f", of which {among - complete} {'was' if among - complete == 1 else 'were'} pruned"
    of_grid = [run_pair(cell["alpha"], cell["temperature"]) for cell in document.results["grid"]]
    finalists = {
        pair: one
        for one in document.results["finalists"]
        if (pair := run_pair(one["alpha"], one["temperature"])) in of_grid
    }
    best = finalists.get(run_pair(document.best["alpha"], document.best["temperature"]))
    if best is not None:
        accuracy = statistics.fmean(best["values"])
        others = (
            f"the best of {len(finalists)} finalists of the grid" if len(finalists) > 1 else "the grid's one finalist"
        )
        chosen = f"over {len(best['seeds'])} seeds, {others}"
    remark = (
        f"The winner's validation accuracy of {percent(accuracy)} is optimistic: it is {chosen}, each with its own "
        "luck."
    )
    values = document.arms["best"]["test_accuracy"] if "best" in document.arms else []
    if values:
        remark += (
            f" On test the best arm reaches {mean_and_deviation(values)}, after training on more images and "
            "with other seeds."
        )
    return [remark]


def _on_pruning(document: Document) -> list[str]:
    remarks = []
    pruned = sum(cell.standing == "pruned" for cell in document.grid)
    if pruned:
        remarks.append(
            f"{count(pruned, 'grid point was', 'grid points were')} pruned; what "
            f"{'it' if pruned == 1 else 'they'} would have reached is not known, and a pruned point may be the "
            "true best."
        )
    depends = [
        *(["which trials are pruned"] if document.pruners != {"none"} else []),
        *(["which points are proposed"] if document.results["tpe"] else []),
    ]
    if _had_several_workers(document) and depends:
        remarks.append(
            "Several workers shared the search. The numbers of a trial do not depend on that; "
            f"{' and '.join(depends)} depends on the order in which they ended."
        )
    return remarks


def _had_several_workers(document: Document) -> bool:
    workers, starts = document.results["search"]["workers"], document.results["manifest"]["starts"]
    if workers is not None:
        return workers > 1
    return any(re.search(r"--worker\b|--workers[ =]([2-9]|\d\d)", start["command"]) for start in starts)


def _on_seeds(document: Document) -> str:
    """The seeds of the runs there are; those of the last command only where there is none."""
    of_arms = [set(arm["seeds"]) for arm in document.arms.values()]
    seeds = sorted(set().union(*of_arms))
    has, same = "has", "" if len(of_arms) == 1 else ", the same for every arm"
    if not seeds:
        has, same, seeds = "is to have", "", document.configuration["final_seeds"]
    elif any(of_arm != set(seeds) for of_arm in of_arms):
        same = ", which not every arm has yet" if len(seeds) == 1 else ", not all of them in every arm"
    named = f"({', '.join(map(str, seeds))}){same}"
    one_seed = len(seeds) == 1
    if not document.is_searched:
        return f"The comparison {has} {'one seed' if one_seed else 'seeds'} {named}."
    seed = document.configuration["seed"]
    searched = f"one seed ({seed})"
    if document.results["finalists"]:
        more = sorted({int(one) for finalist in document.results["finalists"] for one in finalist["seeds"]} - {seed})
        searched += f", and its finalists more ({', '.join(map(str, more))})"
    return f"The search has {searched}; the comparison {has} {'another' if one_seed else 'others'} {named}."


def _on_first_weights(document: Document) -> list[str]:
    """That the spread of seeds is not that of first weights, where a student's are fixed."""
    if "fixed_weights" not in document.student:
        return []
    return [
        f"The first weights of {document.student['name']} are the same whatever the seed, from a file or a seed of its "
        "own. Its runs differ in the order and views of the images alone, and in what it draws as it trains: how far "
        "other first weights would spread is in no interval here."
    ]


def _on_arithmetic(document: Document) -> list[str]:
    """What lower precision does, where the study has it."""
    remarks = []
    if document.configuration["recipe"]["precision"] == "bfloat16":
        # Studies that were begun before draws were shared asked their teacher and scored in float32.
        passes = "All" if document.configuration["draws"] == "shared" else "The student's training"
        remark = f"{passes} forward passes are bfloat16 (8 significant bits), weights and their steps float32."
        effect = document.teacher.get("precision_effect")
        if effect is not None:
            remark += (
                f" Of the test images the teacher has {percent(effect['bfloat16_accuracy'])} right in bfloat16 and "
                f"{percent(effect['float32_accuracy'])} in float32, and at T = 4 what it says of an image differs by "
                f"{effect['divergence_at_4']:.1e} nats (KL divergence, mean)."
            )
        remarks.append(remark)
    convolutions = {start["hardware"].get("convolutions") for start in document.results["manifest"]["starts"]}
    if "TF32" in convolutions:
        remarks.append("Convolutions of float32 are TF32 (11 significant bits) on a GPU that has it.")
    if "Winograd" in convolutions:
        remarks.append(
            "In starts that say Winograd below, 3 x 3 convolutions of stride 1 were computed by that algorithm, those "
            "of what was trained and those of the teacher where it was asked; it rounds about ten times as coarsely as "
            "the usual way."
        )
    return remarks


def _on_machines(document: Document) -> list[str]:
    """What the trainings do not have in common; where that is not stored of each, what the starts have not."""
    trials = [trial for trial in [*document.results["grid"], *document.results["tpe"]] if trial["curve"]]
    made_by = [trial["made_by"] for trial in trials] + [one for arm in document.arms.values() for one in arm["made_by"]]
    known = [one for one in made_by if one is not None]
    starts = document.results["manifest"]["starts"]
    from_starts = starts if len(known) < len(made_by) else []
    differences = {name: {of(one) for one in known} for name, of in OF_A_TRAINING.items()}
    may_be_of_any = from_starts or (starts if len(differences["host"]) > 1 else [])
    differences["processor"] = {str(start["hardware"]["name"]) for start in may_be_of_any}
    differences["number of threads"] |= {str(start["hardware"]["threads"]) for start in from_starts}
    differences["commit"] |= {start["commit"] for start in from_starts}
    differences["convolutions"] |= {"torch"} if from_starts else set()  # what is not stored is older than the other
    differences["torch version"] |= {start["versions"]["torch"] for start in from_starts}
    several = [f"{name} ({', '.join(sorted(values))})" for name, values in differences.items() if len(values) > 1]
    if not several:
        return []
    differ = f"differ in {', '.join(several)}"
    if from_starts:
        differ = f"may {differ}: of some it is not stored what made them, so these are those of the study's starts"
    commits = "; what a commit changed is not judged here" if len(differences["commit"]) > 1 else ""
    unlike = unlike_arms(document)
    part = " That is part of every difference between arms that were not made alike: " if unlike else ""
    named = f"{part}{' and '.join(f'{name} ({arms})' for name, arms in unlike.items())}." if unlike else ""
    return [
        f"The trainings {differ}. What is computed otherwise is rounded otherwise, and a training amplifies that"
        f"{commits}.{named}"
    ]


def unlike_arms(document: Document) -> dict[str, str]:
    """In what arms differ of which no training was made as one of another's, and which arms have what.

    The comparison cannot tell what that does.
    """
    unlike = {}
    for name, of in OF_A_TRAINING.items():
        values = {
            arm_label(arm_name, arm): {of(one) for one in arm["made_by"] if one is not None}
            for arm_name, arm in document.arms.items()
            if arm["made_by"] and None not in arm["made_by"]
        }
        if name == "commit":  # versions that did not store what made a training are others than those that do
            values |= {
                arm_label(arm_name, arm): {"earlier ones, which did not store it"}
                for arm_name, arm in document.arms.items()
                if arm["made_by"] and set(map(type, arm["made_by"])) == {type(None)}
            }
        if any(one.isdisjoint(other) for one, other in itertools.combinations(values.values(), 2)):
            arms: dict[str, list[str]] = {}
            for arm, found in values.items():
                arms.setdefault(", ".join(sorted(found)), []).append(arm)
            unlike[name] = "; ".join(f"{found}: {', '.join(labels)}" for found, labels in arms.items())
    return unlike


def _repeat(document: Document) -> list[str]:
    starts = document.results["manifest"]["starts"]
    # Each command at the commit of its first start. Earlier versions noted the starts of workers too.
    first = {start["command"].removesuffix(" --worker"): start["commit"] for start in reversed(starts)}
    lines, checked_out = [], "unknown"
    for command in dict.fromkeys(start["command"].removesuffix(" --worker") for start in starts):
        if first[command] not in (checked_out, "unknown"):
            checked_out = first[command]
            lines.append(f"git checkout {checked_out.removesuffix('+changes')}")
        lines.append(command)
    commits = [*dict.fromkeys(start["commit"] for start in starts)]
    blocks = ["### To repeat it", "```sh\n" + "\n".join(lines) + "\n```", *_on_folders(lines)]
    if len(commits) > 1:
        blocks.append(
            f"The study went on over several commits ({', '.join(commits)}); each command stands at the first that "
            "ran it."
        )
    if (digest := document.teacher["hash"]) is not None:
        blocks.append(
            f"Its teacher has the weights `{digest[:12]}`. Where another one or none is found, `--teacher FILE` names "
            "its file."
        )
    if document.configuration["draws"] == "independent":
        blocks.append(
            "Runs of different seeds draw their views independently; arms of one seed share them. A later version goes "
            "on with this study so; a new study of these commands has draws that all seeds share."
        )
    if document.left_over is not None:
        search, comparison = document.left_over
        left = f"{search} in the search and {comparison} in the comparison" if document.is_searched else comparison
        blocks.append(
            "The last step of each epoch takes the images that are left over from whole batches of "
            f"{document.configuration['recipe']['batch_size']}: {left}. A later version goes on with this study so; a "
            "new study of these commands has even batches."
        )
    if any(commit.endswith("+changes") for commit in commits):
        blocks.append("The code had changes that are in no commit.")
    return blocks


def _on_folders(commands: Iterable[str]) -> list[str]:
    """That folders are those of the machine that ran the study, where a command names any."""
    typed = [line for line in commands if not line.startswith("git ")]
    named = [{word.split("=")[0] for word in line.split()}.intersection(FOLDERS) for line in typed]
    if not any(named):
        return []
    listed = ", ".join(f"`{option}`" for option in sorted(set().union(*named)))
    same = ""
    if len(named) > 1 and any(option in set().union(*named) for option in ("--runs-dir", "--storage")):
        same = " Give every command the same there: each goes on with the study of the one before."
    return [f"What follows {listed} is where it was on the machine that ran it.{same}"]


def _manifest(document: Document) -> list[str]:
    teacher, search = document.teacher, document.results["search"]
    described: dict[str, object] = {
        "student's training": document.configuration["recipe"],
        "teacher": {
            "name": teacher["name"],
            "origin": teacher["origin"],
            **({"epochs": epochs} if (epochs := teacher.get("epochs")) is not None else {}),
            **({"recipe": teacher["recipe"]} if "recipe" in teacher else {}),
        },
        **({"search": {key: search[key] for key in ("started", "finished")}} if document.is_searched else {}),
    }
    of_study, starts = dict(document.results["manifest"]), document.results["manifest"]["starts"]
    del of_study["starts"]
    names = dict.fromkeys(name for start in starts for name in start["versions"])
    versions = {
        name: [*dict.fromkeys(start["versions"][name] for start in starts if name in start["versions"])]
        for name in names
    }
    return [
        "### Manifest",
        table(["Key", "Value"], [*_flat({**described, **of_study, "versions": versions})]),
        "The study was started, or went on, at these times:",
        table(["Date", "Commit", "Hardware"], dict.fromkeys(map(_start, starts))),
    ]


def _start(start: Start) -> tuple[str, str, str]:
    words = [
        count(int(value), "thread") if name == "threads" else str(value) for name, value in start["hardware"].items()
    ]
    return start["date"], start["commit"], plain(", ".join(words))


def _flat(nested: Mapping[str, object], above: str = "") -> Iterable[tuple[str, str]]:
    for key, value in nested.items():
        name = f"{above}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}: ")
        elif isinstance(value, list | tuple):
            yield name, plain(", ".join(map(str, value)))
        else:
            yield name, "-" if value is None else plain(str(value))
