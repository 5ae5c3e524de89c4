"""Made-up results in the shape of ``reports.collect.collect``. No number here was measured."""

import base64
import functools
import io
import math
import random
from typing import Any, cast

import numpy as np
from PIL import Image

from data.cifar100 import CLASSES, GROUP_OF
from reports.calibration import calibration_error
from reports.results import FORMAT, UNKNOWN, Arm, Best, Epoch, ImageScores, Recipe, Results, State, Trial
from storage.description import CostFacts, TeacherFacts
from storage.trials import MadeBy

ALPHAS = [0.0, 0.25, 0.5, 0.75]
TEMPERATURES = [1.0, 2.0, 4.0, 8.0]
IMAGES_BY_CLASS = 100
BINS = 15
VERSIONS = {"python": "3.11.9", "torch": "2.14.0"}
HARDWARE: dict[str, str | int] = {
    "device": "cpu",
    "name": "a made-up processor",
    "threads": 2,
    "system": "Linux x86_64",
    "convolutions": "Winograd",
}
MADE_BY: MadeBy = {
    "commit": "0123456789ab",
    "versions": VERSIONS,
    "device": "cpu",
    "host": "made-up",
    "process": 4711,
    "threads": 1,
    "precision": "float32",
    "convolutions": "Winograd",
}


def made_up_results(
    preset: str = "quick",
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5),
    pruned: tuple[tuple[float, float], ...] = ((0.25, 1.0), (0.75, 8.0)),
    failed: tuple[tuple[float, float], ...] = ((0.5, 8.0),),
    tpe_trials: int = 0,
    best: tuple[float, float] = (0.75, 4.0),
    gain: float = 0.02,
) -> Results:
    """Results of a finished study. ``full`` is the original's protocol, ``demo`` has synthetic images."""
    chance = random.Random(0)
    epochs = {"full": 100, "quick": 10, "demo": 6}[preset]
    synthetic = preset == "demo"
    teacher_network = {"full": "resnet32x4", "quick": "resnet20", "demo": "resnet8"}[preset]
    classes = [f"shape {index}" for index in range(100)] if synthetic else list(CLASSES)
    groups = [f"family {index // 5}" for index in range(100)] if synthetic else [GROUP_OF[name] for name in CLASSES]
    level = 0.54 if preset == "full" else 0.36
    grid = [
        _trial(number, alpha, temperature, level + gain * alpha + 0.003 * math.log2(temperature), epochs, chance)
        for number, (alpha, temperature) in enumerate((a, t) for a in ALPHAS for t in TEMPERATURES)
    ]
    for cell in grid:
        point = cell["alpha"], cell["temperature"]
        if cell["alpha"] == 0 and cell["temperature"] != 1:
            cell.update({"repeats": 0, "curve": [], "epochs": 0, "seconds": 0.0, "value": grid[0]["value"]})
            cell.update({"pruner": None, "made_by": None})
        if point in pruned:
            stop(cell, "PRUNED", epochs)
        if point in failed:
            stop(cell, "FAIL", epochs)
            cell["reason"] = "the loss became nan in epoch 6"
    tpe = [
        _trial(16 + n, chance.random(), 2 ** (4 * chance.random()), level + gain * chance.random(), epochs, chance)
        for n in range(tpe_trials)
    ]
    for cell in tpe[1::3]:
        stop(cell, "PRUNED", epochs)
    ceiling = max((cell["value"] for cell in grid if cell["value"] is not None), default=None)
    best_cell = next(cell for cell in grid if (cell["alpha"], cell["temperature"]) == best)
    if best_cell["state"] == "COMPLETE":
        for cell in grid:
            if cell is best_cell or (cell["alpha"] == best_cell["alpha"] == 0):
                cell["value"] = ceiling
    for cell in grid + tpe:
        if cell["value"] is not None and cell["repeats"] is None:
            scores = _image_scores(cell["alpha"], cell["value"], 5000, cell["number"] or 0)
            cell["hits"], cell["agreement"], cell["divergence"] = (
                scores["hits"],
                scores["agreement"],
                scores["divergence"],
            )
    best_entry: Best | None = None
    if best_cell["value"] is not None:
        number, value = best_cell["number"] or 0, best_cell["value"]
        best_entry = {"alpha": best[0], "temperature": best[1], "number": number, "value": value, "sampler": "grid"}
    arms = {"baseline": made_up_arm(0.0, 1.0, seeds, level, epochs), "best": made_up_arm(*best, seeds, level, epochs)}
    if best[0] != 0:
        arms["best"] = made_up_arm(*best, seeds, level + gain, epochs)
    trained = [cell for cell in grid + tpe if cell["curve"]]
    recipe: Recipe = {
        "epochs": epochs,
        "batch_size": 128 if preset == "full" else 64,
        "learning_rate": 0.1,
        "momentum": 0.0,
        "nesterov": False,
        "weight_decay": 5e-4,
        "schedule": "steps",
        "step_epochs": [30 * epochs // 100, 60 * epochs // 100, 90 * epochs // 100],
        "step_factor": 0.2,
        "precision": "float32",
        "batches": "even",
    }
    return {
        "format": FORMAT,
        "study": preset,
        "configuration": {
            "preset": preset,
            "dataset": "synthetic" if synthetic else "cifar100",
            "epochs": epochs,
            "train_images": {"full": 45_000, "quick": 15_000, "demo": 4_000}[preset],
            "seed": 0,
            "seeds": len(seeds),
            "final_seeds": list(seeds),
            "pruner": "median",
            "finalists": 0,
            "finalist_seeds": 3,
            "alphas": ALPHAS,
            "temperatures": TEMPERATURES,
            "teacher_network": teacher_network,
            "teacher_recipe": "short",
            "draws": "shared",
            "recipe": recipe,
        },
        "data": {
            "name": "Synthetic shapes" if synthetic else "CIFAR-100",
            "synthetic": synthetic,
            "hash": "00" * 32,
            "classes": classes,
            "groups": groups,
            "official_train_images": 5_000 if synthetic else 50_000,
            "test_images": 10_000,
            "train_images": {"full": 45_000, "quick": 15_000, "demo": 4_000}[preset],
            "validation_images": 5_000,
            "image_size": 32,
            "channels": 3,
            "normalisation": [[0.5, 0.5, 0.5], [0.25, 0.25, 0.25]],
            "copies": {"test": 0, "validation": 0},
            "samples": [{"class": name, "png": _made_up_image(chance)} for name in classes[:100:5]],
        },
        "teacher": cast(
            TeacherFacts,
            {
                **_network(teacher_network, 7_433_860 if preset == "full" else 278_324),
                "hash": "ff" * 32,
                "data": "CIFAR-100",
                "data_hash": "00" * 32,
                "classes": 100,
                "test_accuracy": 0.78 if preset == "full" else 0.67,
                "test_loss": 1.2,
                "calibration": _bins(0.67),
                "correct_by_class": [round(IMAGES_BY_CLASS * (0.67 + chance.uniform(-0.2, 0.2))) for _ in range(100)],
                "versions": VERSIONS,
                "hardware": HARDWARE,
                "date": "2025-01-01",
                "origin": "trained by python -m study.teacher",
                "weights": "parameters rounded to float16",
                "before_rounding": {"hash": "ee" * 32, "test_accuracy": 0.67, "test_loss": 1.2},
                "recipe": recipe,
                "seed": 0,
                "epochs": 40,
                "training_seconds": 1000.0,
                "channels": 3,
                "image_size": 32,
                "normalisation": [[0.5, 0.5, 0.5], [0.25, 0.25, 0.25]],
                "source": "",
            },
        ),
        "student": {**_network("StudentCNN", 799_652), "test_accuracy": level + gain},
        "grid": grid,
        "tpe": tpe,
        "finalists": [],
        "best": best_entry,
        "arms": arms,
        "rates": [],
        "search": {
            "tpe_trials": tpe_trials,
            "epochs_trained": sum(cell["epochs"] for cell in trained),
            "epochs_full": epochs * len(trained),
            "seconds": sum(cell["seconds"] for cell in trained),
            "started": "2025-01-01T10:00:00+00:00",
            "finished": "2025-01-01T11:00:00+00:00",
            "workers": 1,
        },
        "manifest": {
            "data_hash": "00" * 32,
            "teacher_hash": "ff" * 32,
            "search_seed": 0,
            "final_seeds": list(seeds),
            "starts": [
                {
                    "date": "2025-01-01 10:00",
                    "command": f"python -m study.run --preset {preset}",
                    "commit": "0123456789ab",
                    "versions": VERSIONS,
                    "hardware": HARDWARE,
                }
            ],
        },
    }


@functools.cache
def odd_cases() -> dict[str, Results]:
    """Results that are as incomplete or as strange as results can be, by what is odd about them; not to be changed."""
    every_point = tuple((alpha, temperature) for alpha in ALPHAS for temperature in TEMPERATURES)
    cases = {
        "finished": made_up_results(),
        "full protocol": made_up_results("full"),
        "synthetic": made_up_results("demo"),
        "with TPE": made_up_results(tpe_trials=7),
        "every cell complete": made_up_results(pruned=(), failed=()),
        "all pruned": made_up_results(pruned=every_point, failed=()),
        "all failed": made_up_results(pruned=(), failed=every_point),
        "one seed": made_up_results("full", seeds=(1,)),
        "no gain": made_up_results("full", gain=0.0),
        "harm": made_up_results("full", gain=-0.03),
        "alpha 0 best": made_up_results("full", best=(0.0, 1.0)),
        "nothing finished": made_up_results(),
        "no arms": made_up_results(),
        "a failed run": made_up_results("full"),
        "no run of the best arm": made_up_results("full"),
        "no shared seed": made_up_results("full"),
        "arms at both of the original's points": made_up_results("full"),
        "little known of the networks": made_up_results(),
        "TPE all pruned": made_up_results(tpe_trials=3),
        "no pruner": made_up_results(pruned=(), failed=()),
        "own images": own(made_up_results(), 7),
        "own images of many classes": own(made_up_results(), 100),
        "own student": made_up_results("full"),
        "arms without a search": made_up_results("full"),
        "the baseline alone, before a teacher": made_up_results("full"),
    }
    cases["own student"]["student"]["name"] = "mynets:TinyNet"
    cases["with controls"] = with_controls(made_up_results("full"))
    cases["nothing finished"]["arms"] = {}
    cases["nothing finished"]["best"] = None
    for index, cell in enumerate(cases["nothing finished"]["grid"]):
        if index:
            cell.update({"state": "MISSING", "value": None, "epochs": 0, "curve": [], "number": None, "repeats": None})
            cell.update({"pruner": None, "made_by": None})
        else:
            stop(cell, "RUNNING", 4)
    cases["no arms"]["arms"] = {}
    drop_run(cases["a failed run"]["arms"]["best"], 2)
    for _ in range(5):
        drop_run(cases["no run of the best arm"]["arms"]["best"], 0)
    cases["no shared seed"]["arms"]["best"]["seeds"] = [6, 7, 8, 9, 10]
    cases["arms at both of the original's points"]["arms"]["0.25,4"] = made_up_arm(
        0.25, 4.0, (1, 2, 3, 4, 5), 0.545, 100
    )
    cases["little known of the networks"]["teacher"]["peak_memory_bytes"] = {"1": None, "128": None}
    cases["little known of the networks"]["student"]["peak_memory_bytes"] = {"1": None, "128": None}
    cases["little known of the networks"]["student"]["test_accuracy"] = None
    for cell in cases["TPE all pruned"]["tpe"]:
        stop(cell, "PRUNED", 10)
    cases["no pruner"]["configuration"]["pruner"] = "none"
    for cell in cases["no pruner"]["grid"]:
        cell["pruner"] = "none"
    for case in ("arms without a search", "the baseline alone, before a teacher"):
        without_search(cases[case])
    arms = cases["arms without a search"]["arms"]
    arms["0.75,4"] = arms.pop("best")
    alone = cases["the baseline alone, before a teacher"]
    del alone["arms"]["best"]
    alone["student"]["test_accuracy"] = None
    alone["teacher"].update({"hash": None, "test_accuracy": None, "test_loss": None, "calibration": []})
    return cases


def own(results: Results, classes: int) -> Results:
    """The same of a folder of images of so many classes and of a network of one's own."""
    names = [f"flower {label}" for label in range(classes)]
    results["configuration"]["dataset"] = "folder"
    results["data"].update({"name": "flowers", "classes": names, "groups": names, "image_size": 48})
    results["student"]["name"], results["teacher"]["name"] = "mynets:TinyNet", "torchvision.models:resnet18"
    for arm in results["arms"].values():
        arm["correct_by_class"] = [correct[:classes] for correct in arm["correct_by_class"]]
        arm["images_by_class"] = arm["images_by_class"][:classes]
    return results


def without_search(results: Results) -> None:
    """Let no trial of the search have begun."""
    results["best"] = None
    for cell in results["grid"]:
        cell.update({"state": "MISSING", "value": None, "epochs": 0, "curve": [], "number": None, "repeats": None})
        cell.update({"pruner": None, "made_by": None, "seconds": 0.0, "reason": None})
    results["search"].update({"epochs_trained": 0, "epochs_full": 0, "seconds": 0.0, "started": None, "finished": None})


def with_controls(results: Results, gain: float = 0.02) -> Results:
    """The results with controls that take back 20, 40 and 10 % of the gain."""
    arms, epochs = results["arms"], results["configuration"]["epochs"]
    seeds, best = tuple(arms["baseline"]["seeds"]), arms["best"]
    pair, level = (best["alpha"], best["temperature"]), 0.54
    for number, (control, share) in enumerate({"shuffled": 0.8, "smoothing": 0.6}.items(), start=1):
        # Another alpha has other luck.
        arms[control] = made_up_arm(pair[0] + number / 100, pair[1], seeds, level + share * gain, epochs)
        arms[control].update({"control": control, "alpha": pair[0]})
    arms["smoothing"]["smoothing"] = 0.31
    arms["rate"] = made_up_arm(0.0, 1.0, seeds, level + 0.1 * gain, epochs)
    arms["rate"].update({"control": "rate", "learning_rate": 0.2})
    arms["best-rate"] = best
    for control, where in (("rate", (0.0, 1.0)), ("best-rate", pair)):
        for rate in (0.05, 0.1, 0.2, 0.4):
            diverged = control == "rate" and rate == 0.4
            results["rates"].append(
                {
                    "control": control,
                    "alpha": where[0],
                    "temperature": where[1],
                    "learning_rate": rate,
                    "state": "FAIL" if diverged else "COMPLETE",
                    "value": None if diverged else level - abs(rate - (0.2 if control == "rate" else 0.1)),
                    "reason": "the loss became nan in epoch 3" if diverged else None,
                }
            )
    return results


def drop_run(arm: Arm, index: int) -> None:
    """Let a run of an arm have failed."""
    arm["failed"].append({"seed": arm["seeds"][index], "reason": "the loss became nan in epoch 3"})
    lists: Any = arm
    for key in (
        "seeds",
        "test_accuracy",
        "test_loss",
        "correct_by_class",
        "calibration",
        "calibration_error",
        "hits",
        "agreement",
        "divergence",
        "seconds",
        "curves",
        "made_by",
    ):
        del lists[key][index]
    if not arm["seeds"]:
        arm["images_by_class"] = []


def made_up_arm(alpha: float, temperature: float, seeds: tuple[int, ...], accuracy: float, epochs: int) -> Arm:
    """One arm; the images of a seed are equally hard for every arm."""
    correct_by_class = []
    for seed in seeds:
        luck = random.Random(seed)
        own = random.Random(seed + round(1000 * alpha))
        shares = [accuracy + luck.uniform(-0.25, 0.25) + own.uniform(-0.05, 0.05) for _ in range(100)]
        correct_by_class.append([round(IMAGES_BY_CLASS * min(max(share, 0.0), 1.0)) for share in shares])
    chance = random.Random(round(100 * accuracy))
    test_accuracy = [sum(correct) / (100 * IMAGES_BY_CLASS) for correct in correct_by_class]
    images = 100 * IMAGES_BY_CLASS
    scores = [_image_scores(alpha, share, images, seed) for share, seed in zip(test_accuracy, seeds, strict=True)]
    return {
        "alpha": alpha,
        "temperature": temperature,
        "learning_rate": 0.1,
        "control": None,
        "smoothing": None,
        "seeds": list(seeds),
        "test_accuracy": test_accuracy,
        "test_loss": [2.4 - accuracy + 0.01 * seed for seed in seeds],
        "correct_by_class": correct_by_class,
        "images_by_class": [IMAGES_BY_CLASS] * 100,
        "calibration": [_bins(accuracy) for _ in seeds],
        "calibration_error": [calibration_error(_bins(accuracy)) for _ in seeds],
        "hits": [score["hits"] for score in scores],
        "agreement": [score["agreement"] for score in scores],
        "divergence": [score["divergence"] for score in scores],
        "seconds": [300.0 for _ in seeds],
        "curves": [
            [
                {
                    "train_loss": epoch["train_loss"],
                    "validation_loss": None,
                    "validation_accuracy": None,
                    "seconds": epoch["seconds"],
                }
                for epoch in _curve(accuracy, epochs, chance)
            ]
            for _ in seeds
        ],
        "made_by": [MADE_BY for _ in seeds],
        "failed": [],
    }


def _trial(number: int, alpha: float, temperature: float, level: float, epochs: int, chance: random.Random) -> Trial:
    curve = _curve(level + chance.gauss(0, 0.004), epochs, chance)
    return {
        "alpha": alpha,
        "temperature": temperature,
        "sampler": "grid" if number < 16 else "tpe",
        "number": number,
        "state": "COMPLETE",
        "value": curve[-1]["validation_accuracy"],
        "epochs": epochs,
        "repeats": None,
        "seconds": 20.0 * epochs,
        "reason": None,
        "pruner": "median",
        "curve": curve,
        "made_by": MADE_BY,
        **UNKNOWN,
    }


@functools.cache
def _image_scores(alpha: float, accuracy: float, images: int, seed: int) -> ImageScores:
    """Which images a network got right, where easy ones are easy for all, and how like its teacher it is."""
    ease = np.random.default_rng(0).normal(size=images) + np.random.default_rng(seed).normal(size=images)
    correct = np.zeros(images, dtype=bool)
    correct[np.argsort(-ease)[: round(accuracy * images)]] = True
    return {
        "hits": np.packbits(correct).tobytes().hex(),
        "agreement": 0.5 + 0.1 * alpha,
        "divergence": {"1": 1.2 - 0.5 * alpha, "4": 0.3 - 0.1 * alpha},
    }


def stop(cell: Trial, state: State, epochs: int) -> None:
    """End a trial half-way; one that repeats another has not trained at all."""
    trained = 0 if cell["repeats"] is not None else epochs // 2
    cell.update({"state": state, "value": None, "epochs": trained, "curve": cell["curve"][:trained]})
    cell.update({"hits": None, "agreement": None, "divergence": None})


def _curve(level: float, epochs: int, chance: random.Random) -> list[Epoch]:
    curve: list[Epoch] = []
    for epoch in range(1, epochs + 1):
        learned = 1 - math.exp(-4 * epoch / epochs)
        curve.append(
            {
                "train_loss": 4.6 - 2.8 * learned + chance.gauss(0, 0.02),
                "validation_loss": 4.6 - 2.3 * learned + chance.gauss(0, 0.03),
                "validation_accuracy": round(5000 * (level * learned + chance.gauss(0, 0.003))) / 5000,
                "seconds": 20.0,
            }
        )
    return curve


def _bins(accuracy: float) -> list[list[float]]:
    bins = []
    for index in range(BINS):
        confidence = (index + 0.5) / BINS
        images = 1000 if index < 10 else 0
        bins.append([images, images * confidence, round(images * confidence * (0.7 + 0.5 * accuracy))])
    return bins


def _network(name: str, parameters: int) -> CostFacts:
    return {
        "name": name,
        "parameters": parameters,
        "multiply_adds": 50 * parameters,
        "bytes": 4 * parameters,
        "latency_seconds": {"1": 1e-9 * parameters + 1e-3, "128": 5e-8 * parameters + 1e-2},
        "peak_memory_bytes": {"1": 8 * parameters, "128": 100 * parameters},
    }


def _made_up_image(chance: random.Random) -> str:
    image = Image.new("RGB", (32, 32), tuple(chance.randrange(256) for _ in range(3)))
    image.paste(tuple(chance.randrange(256) for _ in range(3)), (8, 8, 24, 24))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
