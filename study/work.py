"""What one worker does: take a trial, run it, wait for those of others, be patient with the storage."""

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState
from tqdm import tqdm

from storage.claims import ClaimLostError
from storage.exactly_once import TrialClaims
from storage.study_storage import STORAGE_ERRORS, StorageError, reason_of
from study.progress import say
from study.training import DivergedError, is_out_of_memory

SECONDS_BETWEEN_LOOKS = 1.0
OUT_OF_MEMORY_TRIES = 3

# Between tries to reach the storage: about half an hour in all.
PAUSES: Sequence[float] = (1, 2, 4, 8, 15, 30, *[60] * 30)

Result = TypeVar("Result")


def work_together(
    worker: TrialClaims,
    ask: Callable[[], Trial | None],
    suggest: Callable[[Trial], object],
    run: Callable[[Trial], None],
    progress: "tqdm[Any]",
    ended: Callable[[], int],
    ready: Callable[[FrozenTrial], bool] = lambda trial: True,
    awaited: Callable[[FrozenTrial], bool] = lambda trial: True,
) -> None:
    """Run trials until none is left, together with any other process that does the same.

    A trial that diverges fails at once, one that runs out of memory after ``OUT_OF_MEMORY_TRIES``, both with their
    reason. Where the storage does not answer, or a claim was lost, work is taken anew after a pause: a trial goes on
    from its checkpoint, here or elsewhere.

    Args:
        ask, suggest, ready: as ``TrialClaims.claim_next`` has them.
        run: runs a trial and tells its result.
        progress: shows how many trials have ended, which ``ended`` counts.
        awaited: whether a trial that waits or runs has to end before this worker may leave.

    Raises:
        StorageError: where the storage was out of reach for half an hour.
    """
    waiting = False

    def is_done() -> bool:
        nonlocal waiting
        trial = worker.claim_next(ask, suggest, ready)
        if trial is not None:
            waiting = False
            _run_or_fail(trial, run, worker)
        else:
            left = [trial for trial in worker.unfinished() if awaited(trial)]
            if not left:
                return True
            if not waiting:
                numbers = ", ".join(str(trial.number) for trial in left)
                say(f"{worker.study.study_name}: waiting for trial {numbers}, of other workers")
            waiting = True
            time.sleep(SECONDS_BETWEEN_LOOKS)
        progress.update(ended() - progress.n)
        return False

    while not patiently(is_done):
        pass


def patiently(act: Callable[[], Result]) -> Result:
    """Do something with the storage; where it does not answer, do it again after a pause.

    Raises:
        StorageError: where it was out of reach for half an hour.
    """
    for pause in PAUSES:
        try:
            return act()
        except ClaimLostError as error:
            say(f"the claim on {error} was lost: nothing of it is written; taking work anew in {pause} s")
        except UpdateFinishedTrialError as error:
            # The claim was lost between asking for it and writing: a server that restarts takes long enough for that.
            say(f"another worker has ended it: nothing of it is written ({error}); taking work anew in {pause} s")
        except STORAGE_ERRORS as error:
            say(f"the storage does not answer ({reason_of(error)}); trying again in {pause} s")
        time.sleep(pause)
    raise StorageError("the storage was out of reach for half an hour; the same command goes on from here")


def _run_or_fail(trial: Trial, run: Callable[[Trial], None], worker: TrialClaims) -> None:
    try:
        run(trial)
    except DivergedError as error:
        _fail(trial, str(error), worker)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        tries = trial.user_attrs.get("out_of_memory", 0) + 1
        worker.check_held(trial)
        trial.set_user_attr("out_of_memory", tries)
        if tries >= OUT_OF_MEMORY_TRIES:
            _fail(trial, f"out of memory {tries} times: {str(error).splitlines()[0]}", worker)
    finally:
        worker.give_back(trial)


def _fail(trial: Trial, reason: str, worker: TrialClaims) -> None:
    worker.check_held(trial)
    trial.set_user_attr("reason", reason)
    worker.study.tell(trial, state=TrialState.FAIL)
    say(f"{name_of(trial)}: failed: {reason}")


def name_of(trial: Trial) -> str:
    """A trial as a person reads it: number and parameters."""
    letters = {"temperature": "T"}
    parameters = ", ".join(f"{letters.get(name, name)} {value:.4g}" for name, value in trial.params.items())
    return f"trial {trial.number} ({parameters})"
