"""The final comparison: runs, paired differences, losses, classes and calibration."""

from collections.abc import Sequence

from reports import original
from reports.evidence import calibration_error, gains
from reports.figures import arm_label
from reports.sections.document import Document
from reports.sections.words import count, interval, mean, mean_and_deviation, percent, table


def comparison(document: Document) -> list[str]:
    """All arms over the same seeds, on the test images."""
    names = list(document.arms)
    rows: list[Sequence[str]] = [
        (
            f"Teacher (`{document.teacher['name']}`)",
            percent(original.TEACHER_ACCURACY),
            percent(document.teacher.get("test_accuracy")),
            "1",
        )
    ]
    originals = {"baseline": original.BASELINE, "best": original.DISTILLED}
    for name in names:
        there = originals.get(name)
        rows.append(
            (
                f"Student, {arm_label(name, document.arms[name])}",
                "-" if there is None else f"{percent(there.mean)} ± {100 * there.deviation:.2f} %",
                mean_and_deviation(document.arms[name]["test_accuracy"]),
                str(len(document.arms[name]["seeds"])),
            )
        )
    beside = "Original, table 2" if not document.departures else "Original, table 2 (another protocol)"
    blocks = [
        "## The comparison",
        "Test accuracy after the last epoch, mean ± sample standard deviation over seeds. Training and validation "
        "images are trained on together, and each network meets the test images once.",
        table(["Model", beside, "Here", "Runs"], rows),
    ]
    if not names:
        return [*blocks, "The final comparison has not started."]
    blocks += [*_runs(document), *document.figure("comparison"), *_differences(document)]
    return [*blocks, *_losses(document), *_gains(document), *_calibration(document)]


def _runs(document: Document) -> list[str]:
    seeds = sorted({seed for arm in document.arms.values() for seed in arm["seeds"]})
    accuracy = {name: dict(zip(arm["seeds"], arm["test_accuracy"], strict=True)) for name, arm in document.arms.items()}
    rows = []
    for run_seed in seeds:
        values = [accuracy[name].get(run_seed) for name in document.arms]
        row = [str(run_seed), *map(percent, values)]
        if document.gain is not None:
            shared = run_seed in document.gain.seeds
            row.append(
                f"{100 * document.gain.differences[document.gain.seeds.index(run_seed)]:+.2f}" if shared else "-"
            )
        rows.append(row)
    header = ["Seed", *(arm_label(name, arm) for name, arm in document.arms.items())]
    if document.gain is not None:
        header.append("best - baseline")
    blocks = ["Run by run:", table(header, rows)] if rows else []
    failed = [
        f"- {name}, seed {failure['seed']}: {failure['reason']}"
        for name, arm in document.arms.items()
        for failure in arm.get("failed", [])
    ]
    if failed:
        blocks += ["Runs that failed, left out of every number here:", "\n".join(failed)]
    return blocks


def _differences(document: Document) -> list[str]:
    rows = []
    for name in document.arms:
        pairs = document.paired_with_baseline(name) if name != "baseline" else None
        if pairs is None:
            continue
        known = pairs.estimate
        ties = f", {pairs.ties} equal" if pairs.ties else ""
        rows.append(
            (
                f"{arm_label(name, document.arms[name])} - baseline",
                f"{100 * pairs.mean:+.2f}",
                "none from one seed" if known is None else interval(known),
                f"{pairs.wins} of {len(pairs.seeds)}{ties}",
            )
        )
    if not rows:
        return ["No seed has finished in both arms yet, so there is no paired difference."]
    blocks = [table(["Paired difference", "Mean, points", "95 % t interval", "Better in"], rows)]
    if document.gain is None:
        return blocks
    if document.undistilled:
        return [*blocks, "The best arm is the baseline's own configuration: the difference says nothing."]
    runs, known = len(document.gain.seeds), document.gain.estimate
    if known is None:
        return [*blocks, "One seed gives no interval: how far the next seed would fall from it is not known."]
    blocks.append(
        f"What {count(runs, 'seed')} can and cannot show: a difference smaller than about "
        f"{100 * known.half_width:.2f} points would not be told from zero here. The interval takes the differences "
        f"as roughly normal, which {count(runs, 'value')} cannot check. A sign-flip test of {runs} cannot give a "
        f"p-value below {document.gain.smallest_sign_flip_p:.4g}, so it is not used; nor is a percentile bootstrap, "
        "which is too narrow for so few. The interval covers the spread of training seeds for these test images "
        "and this teacher, not that of other images or teachers."
    )
    return blocks


def _losses(document: Document) -> list[str]:
    rows = []
    for name, arm in document.arms.items():
        last = [curve[-1]["train_loss"] for curve in arm["curves"] if curve]
        rows.append((arm_label(name, arm), mean(last, "{:.4f}"), mean(arm["test_loss"], "{:.4f}")))
    return [
        "### Losses",
        table(["Arm", "Training loss, last epoch", "Test cross-entropy"], rows),
        "Means over seeds, in nats. The training loss of a distilled arm is the weighted sum that it trains on and "
        "does not compare with the baseline's.",
        *document.figure("loss_without_distillation"),
        *document.figure("loss_with_distillation"),
    ]


def _calibration(document: Document) -> list[str]:
    kept = {arm_label(name, arm): arm.get("calibration") or [] for name, arm in document.arms.items()}
    if document.teacher.get("calibration"):
        kept["teacher"] = [document.teacher["calibration"]]
    rows = [
        (name, mean([100 * calibration_error(bins) for bins in networks], "{:.2f} %"))
        for name, networks in kept.items()
    ]
    return [
        "### Calibration",
        table(["Network", "Expected calibration error"], rows),
        "The mean gap between confidence and accuracy on the test images, over 15 equal bins of confidence; the "
        "mean over seeds.",
        *document.figure("calibration"),
    ]


def _gains(document: Document) -> list[str]:
    by_group = gains(document.results, document.data["groups"])
    by_class = gains(document.results, document.data["classes"])
    if not by_class or document.undistilled:
        return []
    rows = []
    for gain in by_group:
        known = gain.paired.estimate
        rows.append(
            (
                gain.name,
                percent(gain.before),
                percent(gain.after),
                f"{100 * gain.paired.mean:+.2f}",
                "-" if known is None else interval(known),
            )
        )
    blocks = [
        "### Which groups and classes gain",
        table(["Group", "baseline", "best", "Gain, points", "95 % t interval"], rows),
        f"Of {len(rows)} intervals of 95 %, about {max(1, round(0.05 * len(rows)))} would leave out zero by chance "
        "even if nothing had changed.",
        *document.figure("groups"),
    ]
    up = sum(gain.paired.mean > 0 for gain in by_class)
    down = sum(gain.paired.mean < 0 for gain in by_class)
    blocks.append(
        f"Of {count(len(by_class), 'class', 'classes')}, {up} gain, {down} lose and {len(by_class) - up - down} "
        "stay the same on average. With few test images a class, single classes move by chance; the ends of the "
        "list:"
    )
    shown = by_class if len(by_class) <= 10 else by_class[:5] + by_class[-5:]
    blocks.append(
        table(
            ["Class", "baseline", "best", "Gain, points"],
            [
                (
                    gain.name.replace("_", " "),
                    percent(gain.before),
                    percent(gain.after),
                    f"{100 * gain.paired.mean:+.2f}",
                )
                for gain in shown
            ],
        )
    )
    return [*blocks, *document.figure("classes")]
