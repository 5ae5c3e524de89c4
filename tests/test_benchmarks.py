"""The benchmark measures; what it finds is not for a test."""

import torch

from tests.benchmarks import Bench


def test_what_takes_no_minutes_is_measured() -> None:
    bench = Bench(torch.device("cpu"), repeats=1, images=128, usual_batches=1)
    assert len(bench.overhead_seconds()) == 16
    assert len(bench.input_seconds()) == 1
    assert bench.views_of_study() == 1.0
