"""Make the small study of today's format that stays in the tests, as an earlier version made that of its own.

python -m tests.stored.make

A study of every format that was ever stored has to be read: when ``storage.description.FORMAT`` grows, run this once
and commit the file. That of format 1 was made by commit 07811ef with the same options.
"""

import os
import tempfile
from pathlib import Path

from reports.export import main as export
from storage.description import FORMAT
from study.run import main as run

FOLDER = Path(__file__).parent
OPTIONS = ["--preset", "demo", "--epochs", "2", "--train-images", "320", "--seeds", "2", "--device", "cpu"]
OPTIONS += ["--alphas", "0,0.5", "--temperatures", "1,4", "--sampler", "tpe", "--n-trials", "1", "--runs-dir", "runs"]


def main() -> None:
    """Run the study and export it, in place of one of the same format."""
    file = FOLDER / f"format-{FORMAT}.db"
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # the options are stored with the study, and name no folder of this machine
        run(OPTIONS)
        file.unlink(missing_ok=True)
        export(["--runs-dir", "runs", "--study", "demo", "--output", str(file)])


if __name__ == "__main__":
    main()
