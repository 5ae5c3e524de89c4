"""What one worker does: claim a trial, run it, wait for those of others, be patient with the storage."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from optuna.artifacts import FileSystemArtifactStore
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState
from tqdm import tqdm

from storage.claims import ClaimLostError, Claims
from storage.configuration import Configuration, Point
from storage.errors import PlainError, in_one_line, is_disk_full, is_out_of_memory
from storage.exactly_once import TrialClaims, lacks_point
from storage.folders import COMPARISON
from storage.optuna_internals import is_deleted
from storage.study_storage import STORAGE_ERRORS, StorageError, reason_of
from storage.trials import MadeBy, TrialRecord
from study.progress import draws_bars, duration, say
from study.record import is_worth_trying_again
from study.training import DivergedError, Epoch, Training

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_BETWEEN_LINES = 300.0
OUT_OF_MEMORY_TRIES = 3
STARTS_WITHOUT_EPOCH = 5

SECONDS_OF_WORK = 600.0  # after so many the storage has answered meanwhile; Optuna itself asks a locked file for 300
# Between tries to reach the storage: about half an hour in all.
PAUSES: Sequence[float] = (1, 2, 4, 8, 15, 30, *[60] * 30)

Result = TypeVar("Result")

MakeTraining = Callable[[Point, str], Training]
"""Gives the training of a point, which has a seed, under a name; resumed where it was stopped."""


@dataclass(frozen=True)
class Worker:
    """This process, as one of those that may share a study.

    Attributes:
        configuration: what the study is.
        claims: of its storage.
        artifacts: where the curve of every training is kept, and its weights if it completes.
        made_by: what stands with a training that it was made by.
    """

    configuration: Configuration
    claims: Claims
    artifacts: FileSystemArtifactStore
    made_by: MadeBy

    def is_worth_trying_again(self, failed: FrozenTrial) -> bool:
        """As ``study.record`` has it, of what is made here and now."""
        return is_worth_trying_again(failed, self.made_by)


def work_together(
    trials: TrialClaims,
    ask: Callable[[], Trial | None],
    suggest: Callable[[Trial], object],
    run: Callable[[Trial], None],
    progress: "tqdm[Any]",
    ended: Callable[[], int],
    ready: Callable[[FrozenTrial], bool],
    awaited: Callable[[FrozenTrial], bool],
) -> None:
    """Run trials until none is left, together with any other process that does the same.

    A trial that diverges fails at once, one that runs out of memory after ``OUT_OF_MEMORY_TRIES``, one in which
    ``STARTS_WITHOUT_EPOCH`` processes died in turn without an epoch more, each with its reason. Where the storage does
    not answer, or a claim was lost, work is taken anew after a pause: a trial goes on from its checkpoint, here or
    elsewhere.

    Args:
        ask, suggest, ready: as ``TrialClaims.claim_next`` has them.
        run: runs a trial and tells its result.
        progress: shows how many trials have ended, which ``ended`` counts.
        awaited: whether a trial that waits or runs has to end before this worker may leave; one that lacks its point
            keeps it from asking.

    Raises:
        StorageError: where the storage was out of reach for half an hour.
        StorageInternalError, SQLAlchemyError: where its disk is full.
    """
    waiting = False

    def is_done() -> bool:
        nonlocal waiting
        trial = trials.claim_next(ask, suggest, ready)
        if trial is not None:
            waiting = False
            _run_or_fail(trial, run, trials)
        else:
            left = [trial for trial in trials.unfinished() if awaited(trial) or lacks_point(trial)]
            if not left:
                return True
            if not waiting:
                numbers = ", ".join(str(trial.number) for trial in left)
                say(f"{trials.study.study_name}: waiting for trial {numbers}, of other workers")
            waiting = True
            time.sleep(SECONDS_BETWEEN_LOOKS)
        progress.update(ended() - progress.n)
        return False

    while not patiently(is_done):
        pass


def patiently(act: Callable[[], Result]) -> Result:
    """Do something with the storage; where it does not answer, do it again after a pause.

    Raises:
        StorageError: where it was out of reach for half an hour, or something was deleted under this process.
        StorageInternalError, SQLAlchemyError: where its disk is full: nobody makes room for one who only waits.
    """
    pauses = iter(PAUSES)
    while (pause := next(pauses, None)) is not None:
        begun = time.monotonic()
        try:
            return act()
        except ClaimLostError as error:
            why = f" ({reason_of(error)})" if error.__cause__ is not None else ""
            say(f"the claim on {error} was lost{why}: nothing of it is written; taking work anew in {pause} s")
        except UpdateFinishedTrialError as error:
            # The claim was lost between asking for it and writing: a server that restarts takes long enough for that.
            say(f"another worker has ended it: nothing of it is written ({error}); taking work anew in {pause} s")
        except KeyError as error:
            if not is_deleted(error):
                raise
            raise StorageError("what this process works on is not in the storage any more: was it deleted?") from None
        except STORAGE_ERRORS as error:
            if is_disk_full(error):
                raise
            say(f"the storage does not answer ({reason_of(error)}); trying again in {pause} s")
        if time.monotonic() - begun > SECONDS_OF_WORK:  # it answered meanwhile
            pauses = iter(PAUSES)
        time.sleep(pause)
    raise StorageError("the storage was out of reach for half an hour; the same command goes on from here")


def _run_or_fail(trial: Trial, run: Callable[[Trial], None], trials: TrialClaims) -> None:
    try:
        _run(trial, run, trials)
    except DivergedError as error:
        _fail(trial, str(error), trials)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        tries = TrialRecord(trial, trials).ran_out_of_memory()
        if tries >= OUT_OF_MEMORY_TRIES:
            _fail(trial, f"out of memory {tries} times: {in_one_line(error)}", trials)
    finally:
        trials.give_back(trial)


def _run(trial: Trial, run: Callable[[Trial], None], trials: TrialClaims) -> None:
    """Run a trial unless it is one that ends every process which goes on with it."""
    record = TrialRecord(trial, trials)
    starts, epoch = record.starts
    if starts >= STARTS_WITHOUT_EPOCH:
        _fail(trial, f"{starts} processes in turn died in it, none of which trained an epoch more", trials)
        return
    record.started(starts + 1, epoch)
    try:
        run(trial)
    except (KeyboardInterrupt, OSError, PlainError, *STORAGE_ERRORS):
        # Whoever stopped this process, or whatever it lacked: it was not the trial, which may have been told already.
        # An epoch noted since stays noted.
        with suppress(*STORAGE_ERRORS, UpdateFinishedTrialError):
            without_epoch, noted = record.starts
            if without_epoch == starts + 1:
                record.started(starts, noted)
        raise


def with_lines(epochs: Iterable[Epoch], total: int, name: str) -> Iterator[Epoch]:
    """The epochs of a training as they come; where no bar is drawn, with a line every few minutes.

    Args:
        total: how many there will be.
        name: of the training.
    """
    last = time.monotonic()
    for number, epoch in enumerate(epochs, start=1):
        now = time.monotonic()
        if not draws_bars() and number < total and now - last >= SECONDS_BETWEEN_LINES:
            left = duration((total - number) * epoch.seconds)
            say(f"{name}: epoch {number} of {total}, loss {epoch.train_loss:.3f}, {left} left")
            last = now
        yield epoch


def _fail(trial: Trial, reason: str, trials: TrialClaims) -> None:
    TrialRecord(trial, trials).failed(reason)
    trials.tell(trial, state=TrialState.FAIL)
    say(f"{name_of(trial)}: failed: {reason}")


def name_of(trial: Trial) -> str:
    """A trial as a person reads it: number and parameters; those of the comparison are runs."""
    what = "run" if trial.study.study_name.endswith(COMPARISON) else "trial"
    letters = {"temperature": "T"}
    numbers = {name: value if name == "seed" else f"{value:.4g}" for name, value in trial.params.items()}
    parameters = ", ".join(f"{letters.get(name, name)} {number}" for name, number in numbers.items())
    return f"{what} {trial.number} ({parameters})"
