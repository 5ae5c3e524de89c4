"""Workers are killed at random moments, and started again, until their study is done: what is lost, what is done twice?

    python -m tests.kill_storm --kills 200
    python -m tests.kill_storm --kills 200 --storage postgresql --workers 4

The network is a toy whose epoch takes milliseconds, so that most kills fall between epochs: in claims, questions,
reports, checkpoints and tells. With one worker at a time the table has to be that of an undisturbed run, bit for bit;
with several, which trials are pruned depends on who is faster, and the values of every epoch have to be the same.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import TrialState

from storage.exactly_once import point_of
from study.settings import PRESETS
from tests.storage.postgres import running_server
from tests.storage.toy import Toy, opened

KILLS_A_STUDY = 25
TPE_TRIALS = 3


@dataclass
class Outcome:
    """What is seen after a storm.

    Attributes:
        once, lost, twice: grid points that ended exactly once, that never ended, that have more than one trial.
        epochs: trained in all.
        epochs_again: of those, trained a second time.
        wrong: epochs with another value than in an undisturbed training.
        other_tables: of studies with one worker, those that differ from the undisturbed one in any bit.
        other_tpe: studies that have not the number of TPE trials asked for.
    """

    studies: int = 0
    kills: int = 0
    once: int = 0
    lost: int = 0
    twice: int = 0
    epochs: int = 0
    epochs_again: int = 0
    wrong: int = 0
    other_tables: int = 0
    other_tpe: int = 0

    @property
    def is_right(self) -> bool:
        """Whether the promise held."""
        bad = self.lost + self.twice + self.wrong + self.other_tables + self.other_tpe
        return bad == 0 and self.epochs_again <= self.kills

    def __str__(self) -> str:
        return "\n".join(
            f"{name:<45} {count}"
            for name, count in (
                ("kills", self.kills),
                ("studies", self.studies),
                ("points exactly once", self.once),
                ("points lost", self.lost),
                ("points twice", self.twice),
                ("epochs trained", self.epochs),
                ("epochs trained twice (at most one a kill)", self.epochs_again),
                ("epochs with a value that differs", self.wrong),
                ("tables that differ (one worker at a time)", self.other_tables),
                ("studies with too many or too few TPE trials", self.other_tpe),
            )
        )


def storm(url: str, folder: Path, kills: int, workers: int, seed: int, say: Callable[[str], None]) -> Outcome:
    """Run studies one after the other in one storage until so many workers were killed, then look at them all.

    Args:
        url: of the storage.
        folder: an empty folder.
        kills: of workers, at most ``KILLS_A_STUDY`` in one study.
        workers: at a time.
        seed: of the moments and the workers that are killed.
    """
    outcome, generator = Outcome(), random.Random(seed)
    while outcome.kills < kills:
        toy = Toy(url, folder, name=f"storm{outcome.studies}", tpe_trials=TPE_TRIALS)
        in_this = _run_killing(toy, workers, min(KILLS_A_STUDY, kills - outcome.kills), generator)
        outcome.kills += in_this
        outcome.studies += 1
        with opened:
            _look(toy, workers, outcome)
        say(f"{toy.name}: {in_this} kills, {'all right' if outcome.is_right else 'NOT RIGHT'}")
    return outcome


def _run_killing(toy: Toy, workers: int, kills: int, generator: random.Random) -> int:
    """Run a study to its end; the number of workers killed on the way."""
    running, killed = [toy.start() for _ in range(workers)], 0
    while killed < kills:
        time.sleep(generator.uniform(0.0, 1.2 / workers))
        victim = generator.randrange(workers)
        if running[victim].exitcode == 0:
            break
        running[victim].kill()
        running[victim].join()
        killed += 1
        running[victim] = toy.start()
    for worker in running:
        worker.join()
        assert worker.exitcode == 0, "a worker that nobody killed ended with an error"
    return killed


def _look(toy: Toy, workers: int, outcome: Outcome) -> None:
    trials = toy.study().get_trials()
    ended = Counter(str(point_of(t)) for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED))
    started = Counter(str(point_of(t)) for t in trials)
    points = [str(point) for point in PRESETS["demo"].points]
    outcome.once += sum(ended[point] == started[point] == 1 for point in points)
    outcome.lost += sum(ended[point] == 0 for point in points)
    outcome.twice += sum(started[point] > 1 for point in points)
    outcome.other_tpe += len(trials) != len(points) + TPE_TRIALS
    trained = toy.epochs_trained()
    outcome.epochs += len(trained)
    outcome.epochs_again += len(trained) - len(set(trained))
    with tempfile.TemporaryDirectory() as folder:
        undisturbed = Toy(f"sqlite:///{folder}/study.db", Path(folder), tpe_trials=TPE_TRIALS)
        for trial in trials:
            if "repeats" not in trial.user_attrs:
                training = undisturbed.training({**trial.params, "seed": 0}, "undisturbed")
                values = [epoch.validation_accuracy for epoch in training.epochs()]
                outcome.wrong += sum(values[step - 1] != seen for step, seen in trial.intermediate_values.items())
                outcome.wrong += [e["validation_accuracy"] for e in trial.user_attrs["curve"]] != values[
                    : len(trial.intermediate_values)
                ]
                training.forget()
        if workers == 1:
            undisturbed.run()
            outcome.other_tables += toy.table() != undisturbed.table()


def main() -> None:
    """Run a storm as the command line says; exit 1 where the promise did not hold."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.kill_storm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200, metavar="N")
    parser.add_argument("--storage", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="at a time (default: 1)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the moments of the kills (default: 0)")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if options.storage == "sqlite":
            url = f"sqlite:///{folder / 'study.db'}"
        else:
            url = stack.enter_context(running_server()).new_database()
        outcome = storm(url, folder, options.kills, options.workers, options.seed, lambda line: print(line, flush=True))
    print(f"\n{options.storage}, {options.workers} workers at a time\n{outcome}")
    sys.exit(0 if outcome.is_right else 1)


if __name__ == "__main__":
    main()
