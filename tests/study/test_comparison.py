"""The runs of a comparison, in the order in which they are worth most."""

from study.comparison import points_of


def test_runs_go_seed_by_seed_and_arms_of_one_pair_share_them() -> None:
    arms = {"baseline": (0.0, 1.0), "best": (0.75, 4.0), "tpe": (0.6, 3.0), "0.75,4": (0.75, 4.0)}
    controls = {
        "rate": {"alpha": 0.0, "temperature": 1.0, "learning_rate": 0.2},
        "best-rate": {"alpha": 0.75, "temperature": 4.0, "learning_rate": 0.2},
    }
    points = points_of(arms, (1, 2), controls)
    settings = [(0.0, None), (0.75, None), (0.6, None), (0.0, 0.2), (0.75, 0.2)]
    assert [(point["seed"], point["alpha"], point.get("learning_rate")) for point in points] == [
        (seed, alpha, rate) for seed in (1, 2) for alpha, rate in settings
    ]
