"""Every trial is owned by one living process, and goes on under the next when that one dies.

A worker claims a trial before it works on it and keeps the claim until the trial is told. Claims end with their
process, so a RUNNING trial that nobody claims was left by a dead worker: it is continued, as the same trial, before
anything new is asked for. Asking is done by one process at a time. So no trial is lost and none is run twice, with
no heartbeat and no guess about how long a worker may be silent. (Optuna's own retry makes a second trial of it, and
counts one that failed as visited: https://github.com/optuna/optuna/issues/4721.)
"""

from collections.abc import Callable, Iterable

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from storage.claims import ClaimLostError, Claims, hold
from storage.configuration import Point
from storage.optuna_internals import as_stored, continued, enqueued_parameters


class TrialClaims:
    """Gives one worker the trials of one study, each to it alone.

    Args:
        study: the Optuna study; its sampler is used to ask.
        claims: of the study's storage.
    """

    def __init__(self, study: optuna.Study, claims: Claims) -> None:
        self.study, self.claims = study, claims
        failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        self._failed_before = {trial.number for trial in failed}

    def claim_next(
        self,
        ask: Callable[[], Trial | None],
        suggest: Callable[[Trial], object],
        ready: Callable[[FrozenTrial], bool] = lambda trial: True,
    ) -> Trial | None:
        """Claim a trial: one that a dead worker left, else what ``ask`` gives.

        Args:
            ask: asks the study for a new trial, or gives None where there is nothing left to ask for. Called by one
                process at a time.
            suggest: gives a trial its parameters, before any other trial is asked for.
            ready: whether a trial that has parameters can be worked on now. One that cannot is left to whoever can.

        Returns:
            The trial, in state RUNNING, or None where there is nothing to do now.
        """
        asking = f"{self.study.study_name}-ask"
        with hold(self.claims, asking):
            for left in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if not lacks_point(left) and not ready(left):
                    continue
                if self.claims.try_claim(self._claim(left.number)):
                    # Its owner may have told it between the listing and the claim.
                    if as_stored(self.study, left).state == TrialState.RUNNING:
                        trial = continued(self.study, left)
                        suggest(trial)
                        if ready(as_stored(self.study, trial)):
                            return trial
                    self.claims.release(self._claim(left.number))
                elif lacks_point(left):
                    # Its owner died before it had all parameters, on a machine that the server still waits for, or the
                    # storage did not take one. What they will be decides what other trials repeat and which points are
                    # left, so nothing is asked for until then.
                    return None
            self.claims.check_held(asking)  # or another has asked since
            while (asked := ask()) is not None:
                if not self.claims.try_claim(self._claim(asked.number)):
                    raise ClaimLostError(self._claim(asked.number))
                suggest(asked)
                if ready(as_stored(self.study, asked)):
                    return asked
                self.give_back(asked)
            return None

    def ask_for(
        self, points: Iterable[Point], retry: Callable[[FrozenTrial], bool] = lambda failed: True
    ) -> Trial | None:
        """Ask for the first point that no trial runs or has finished; for use as, or in, ``ask``.

        Args:
            points: what is to be tried.
            retry: whether a trial that failed before this object was made may be tried again; a point is, where every
                one of its trials may. What failed since is not.
        """
        trials = self.study.get_trials(deepcopy=False)
        if any(trial.state == TrialState.WAITING for trial in trials):
            return self.study.ask()
        taken = [
            point_of(trial)
            for trial in trials
            if trial.state != TrialState.FAIL or trial.number not in self._failed_before or not retry(trial)
        ]
        for point in points:
            if point not in taken:
                self.study.enqueue_trial(point)
                return self.study.ask()
        return None

    def give_back(self, trial: Trial) -> None:
        """Release the claim on a trial that was told, or that has to wait for another."""
        self.claims.release(self._claim(trial.number))

    def tell(self, trial: Trial, value: float | None = None, state: TrialState | None = None) -> None:
        """End a trial as ``Study.tell`` does.

        Raises:
            ClaimLostError: where this process no longer owns the trial, or another has ended it since it did.
        """
        self.check_held(trial)
        try:
            self.study.tell(trial, value, state)
        except (ValueError, UpdateFinishedTrialError) as error:
            if as_stored(self.study, trial).state.is_finished():
                raise ClaimLostError(self._claim(trial.number)) from error
            raise

    def check_held(self, trial: Trial) -> None:
        """Raise ``ClaimLostError`` where this process no longer owns the trial."""
        self.claims.check_held(self._claim(trial.number))

    def unfinished(self) -> list[FrozenTrial]:
        """The trials that wait or run, here or elsewhere."""
        return self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING))

    def is_left(self, trial: FrozenTrial) -> bool:
        """Whether no living process owns a trial that runs."""
        name = self._claim(trial.number)
        if not self.claims.try_claim(name):
            return False
        self.claims.release(name)
        return True

    def _claim(self, number: int) -> str:
        return f"{self.study.study_name}-{number}"


def lacks_point(trial: FrozenTrial) -> bool:
    """Whether a trial runs that has not all parameters yet: nothing else can be asked for until it has."""
    return trial.state == TrialState.RUNNING and not {"alpha", "temperature"} <= trial.params.keys()


def point_of(trial: FrozenTrial) -> Point:
    """The parameters of a trial, also of one that was enqueued and has not started."""
    return dict(enqueued_parameters(trial) or trial.params)
