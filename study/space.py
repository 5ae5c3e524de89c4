"""The search space: alpha and T, for the grid and for TPE alike."""

from optuna.trial import Trial

from storage.configuration import Configuration
from storage.exactly_once import Point


def suggest(trial: Trial) -> tuple[float, float]:
    """(alpha, T) of a trial. Grid and TPE use the same distributions, so TPE learns from the grid's trials."""
    return trial.suggest_float("alpha", 0.0, 1.0), trial.suggest_float("temperature", 1.0, 16.0, log=True)


def grid(configuration: Configuration) -> dict[str, list[float]]:
    """The values of the grid by parameter, as ``GridSampler`` takes them."""
    return {"alpha": list(configuration.alphas), "temperature": list(configuration.temperatures)}


def grid_points(configuration: Configuration) -> list[Point]:
    """All pairs of the grid."""
    return [
        {"alpha": alpha, "temperature": temperature}
        for alpha in configuration.alphas
        for temperature in configuration.temperatures
    ]
