"""The pruner of a configuration."""

import optuna
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.trial import FrozenTrial

from storage.optuna_internals import showing


class MedianOfPoints(MedianPruner):
    """Optuna's median over points of the search: the best have more curves than one where they are finalists."""

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether the trial is worse at its last epoch than the median of the complete points was there."""
        return super().prune(showing(study, lambda other: "seed" not in other.params), trial)


def make_pruner(name: str, epochs: int) -> BasePruner:
    """``median``: prune below the median of the trials completed so far, once half the epochs are over.

    The start-up of 4 trials and the warm-up of half the epochs are meant for 16 points. On the 13 full curves of
    reports/published/cifar100-ten-epochs, replayed in 20 orders by ``python -m reports.pruning_study``, they save 22 %
    of the epochs and never prune the best point; Optuna's defaults save 52 % and prune it in 45 % of the orders. A
    repeated trial counts for the start-up, but has no curve to be compared with. Only trials that have completed are
    compared with, so several workers prune less: https://github.com/optuna/optuna/issues/2441.
    """
    if name == "none":
        return NopPruner()
    return MedianOfPoints(n_startup_trials=4, n_warmup_steps=(epochs + 1) // 2)
