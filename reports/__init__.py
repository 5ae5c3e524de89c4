"""The report: results collected from what is stored, and everything that is drawn from them."""

from typing import Any

Results = dict[str, Any]
"""What ``reports.collect.collect`` returns and ``results.json`` holds: accuracies as shares 0 to 1, losses in nats,
times in seconds. Lists may be incomplete while a study runs."""
