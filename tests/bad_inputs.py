"""Everything that can be given wrong, against the real command line: what is said, and what is left behind?

    python -m tests.bad_inputs                 all rows, some ten minutes on two cores
    python -m tests.bad_inputs --only teacher  those whose input has the word in it

Each row starts the command in a folder of its own and prints the input, the exit code, how many lines came on stderr
(torch's warnings apart), and the files that were not there before (lock files apart). A row says what
is expected: the exit code, one line at most and no traceback, a word of that line, and what may be left. The command
ends with 1 where a row is not as expected.
"""

import argparse
import contextlib
import json
import os
import pickle
import re
import resource
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from data.cifar100 import CLASSES
from models import build
from storage.folders import RunsFolder

ROOT = Path(__file__).parent.parent
SETTINGS = ["--preset", "demo", "--device", "cpu", "--train-images", "64", "--epochs", "1", "--seeds", "1"]
SETTINGS += ["--alphas", "0,0.5", "--temperatures", "4", "--runs-dir", "runs"]
SECONDS = 300
SECONDS_TO_STOP = 15
ENDED, REFUSED = (0,), (1,)
# What a study that is run to its end leaves, and what one that was stopped leaves.
STUDY = r"runs/(study\.db|(artifacts|cache|checkpoints|demo|again)/.*)"


@dataclass(frozen=True)
class Outcome:
    """What was seen: exit code (None where it hung), both outputs, files that were not there before."""

    code: int | None
    stdout: str
    stderr: str
    left: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        """What stderr says to a person: warnings of torch, each with its line of source, are left out."""
        said = re.sub(r"^.*Warning: .*\n(  .*\n)?", "", self.stderr, flags=re.MULTILINE)
        return [line for line in said.splitlines() if line.strip()]


Check = Callable[[Outcome, Path], str | None]


@dataclass(frozen=True)
class Row:
    """One bad input and what is expected.

    Attributes:
        input: in words.
        options: of the command, after ``SETTINGS``.
        prepare: makes what the options name, in the folder in which the command is started.
        before: what was run there before: ``nothing``, ``teacher`` or ``finished``, the whole study.
        codes: that the command may end with.
        says: a part of the line on stderr.
        leaves: pattern of the files that may be left.
        check: says what else is wrong.
        module: the command.
        limit: sets limits and signals in the started process.
        stop: a signal that is sent once the study has begun.
        quick: whether the tests run it, in their own process.
    """

    input: str
    options: tuple[str, ...] = ()
    prepare: Callable[[Path], object] = lambda folder: None
    before: str = "teacher"
    codes: tuple[int, ...] = REFUSED
    says: str = ""
    leaves: str = "nothing"
    check: Check = lambda outcome, folder: None
    module: str = "study.run"
    limit: Callable[[], object] | None = None
    stop: signal.Signals | None = None
    quick: bool = False

    def command(self) -> list[str]:
        """The arguments of the command."""
        return [*(SETTINGS if self.module == "study.run" else ["--runs-dir", "runs"]), *self.options]

    def faults(self, outcome: Outcome, folder: Path) -> list[str]:
        """What is not as expected."""
        found = []
        if outcome.code is None:
            found.append("hangs")
        elif outcome.code not in self.codes:
            found.append(f"exit code {outcome.code}, not {' or '.join(map(str, self.codes))}")
        if "Traceback" in outcome.stderr:
            found.append("traceback")
        if len(outcome.lines) > 1:
            found.append(f"{len(outcome.lines)} lines")
        if self.says not in outcome.stderr:
            found.append(f"does not say {self.says!r}")
        foreign = [name for name in outcome.left if re.fullmatch(self.leaves, name) is None]
        if foreign:
            found.append(f"leaves {', '.join(foreign[:3])}{' ...' if len(foreign) > 3 else ''}")
        if outcome.code in self.codes:
            fault = self.check(outcome, folder)
            found += [] if fault is None else [fault]
        return found


def files(folder: Path) -> set[str]:
    """All files below a folder but lock files and SQLite's own beside a database, by their path from it."""
    passing = (".lock", ".db-wal", ".db-shm")
    paths = (path for path in folder.rglob("*") if not path.is_dir() and path.suffix not in passing)
    return {str(path.relative_to(folder)) for path in paths}


def run(row: Row, folder: Path) -> Outcome:
    """Start the command of a row in its prepared folder."""
    before = files(folder)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "BROWSER_PATH": "/nowhere"}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", row.module, *row.command()],
            cwd=folder, env=environment, stdout=out, stderr=err, preexec_fn=row.limit,
        )  # fmt: skip
        code: int | None = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            if row.stop is not None:
                _wait_until_begun(folder, process)
                process.send_signal(row.stop)
            code = process.wait(SECONDS if row.stop is None else SECONDS_TO_STOP)
        if code is None:
            process.kill()
            process.wait()
        out.seek(0)
        err.seek(0)
        return Outcome(code, out.read(), err.read(), tuple(sorted(files(folder) - before)))


def _wait_until_begun(folder: Path, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + SECONDS
    while not list((folder / "runs" / "checkpoints").rglob("*.pt")) and process.poll() is None:
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)


class Grounds:
    """Folders to start in, each a copy of what was run once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepared(self, row: Row, name: str) -> Path:
        """A folder for one row."""
        folder = self.folder / name
        if row.before == "nothing":
            folder.mkdir()
        else:
            shutil.copytree(self._after(row.before), folder)
        row.prepare(folder)
        return folder

    def _after(self, what: str) -> Path:
        folder = self.folder / what
        if folder.exists():
            return folder
        if what == "teacher":
            folder.mkdir()
            options = ("--preset", "demo", "--device", "cpu", "--epochs", "2")
            outcome = run(Row("", options, module="study.teacher"), folder)
        else:
            shutil.copytree(self._after("teacher"), folder)
            outcome = run(Row(""), folder)
        if outcome.code != 0:
            raise RuntimeError(f"{what}: {outcome.stderr}")
        return folder


# What is prepared.


def folders(damage: Callable[[Path], object]) -> Callable[[Path], None]:
    """Class folders with one image for each class of CIFAR-100, then damaged; ``damage`` gets the folder."""

    def prepare(folder: Path) -> None:
        for part in ("train", "test"):
            for label, name in enumerate(CLASSES):
                (folder / "images" / part / name).mkdir(parents=True)
                Image.new("RGB", (32, 32), (label, 0, 0)).save(folder / "images" / part / name / "image.png")
        damage(folder / "images")

    return prepare


def image(change: Callable[[Path], object]) -> Callable[[Path], None]:
    """Class folders of which one image is changed."""
    return folders(lambda images: change(images / "train" / "apple" / "image.png"))


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def promise_pixels(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    file.write_bytes(content)


def replace(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        file.unlink()
        make(file)

    return change


def archive(folder: Path) -> None:
    (folder / "images" / "cifar-100-python").mkdir(parents=True)
    for name in ("train", "test", "meta"):
        (folder / "images" / "cifar-100-python" / name).write_bytes(os.urandom(10_000))


def damaged_cache(folder: Path) -> None:
    (folder / "images").mkdir()
    (folder / "runs" / "cache" / "cifar100.pt").write_bytes(b"damaged")


def stored(folder: Path, suffix: str) -> Path:
    """The stored teacher's weights (``.pth``) or card (``.json``)."""
    return next((folder / "runs" / "cache" / "teachers").rglob(f"*{suffix}"))


def weights(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], None]:
    """``file.pth``: what ``change`` makes of the weights of the stored teacher."""

    def prepare(folder: Path) -> None:
        content = torch.load(stored(folder, ".pth"), weights_only=True)
        torch.save({**content, "model": change(dict(content["model"]))}, folder / "file.pth")

    return prepare


def last_layer(change: Callable[[Tensor], Tensor]) -> Callable[[Path], None]:
    return weights(lambda model: {**model, "fc.weight": change(model["fc.weight"].float())})


def other(network: str, classes: int) -> Callable[[Path], None]:
    return weights(lambda model: build(network, classes).state_dict())


def enlarge(model: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.float() * 1e6 if key.startswith("fc.") else value for key, value in model.items()}


def flip_variance(model: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**model, "bn1.running_var": -1 - model["bn1.running_var"]}


def fine_tune(model: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**model, "fc.bias": model["fc.bias"].float() + 0.001}


class RunsWhenUnpickled:
    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("ran",)


def pickle_bomb(folder: Path) -> None:
    (folder / "file.pth").write_bytes(pickle.dumps({"model": RunsWhenUnpickled()}))


def zipped_pickle_bomb(folder: Path) -> None:
    torch.save({"model": RunsWhenUnpickled()}, folder / "file.pth")


def nothing_ran(outcome: Outcome, folder: Path) -> str | None:
    return "it was executed" if (folder / "ran").exists() else None


def database(change: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda folder: change(folder / "runs" / "study.db")


def of_another_optuna(file: Path) -> None:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v0.9.0.a'")
        connection.commit()


def logits(change: Callable[[Path], object]) -> Callable[[Path], None]:
    """Change the files of the teacher logits."""

    def prepare(folder: Path) -> None:
        for file in (folder / "runs" / "cache" / "logits").rglob("*"):
            if file.is_file() and file.suffix != ".lock":
                change(file)

    return prepare


def zero(file: Path) -> None:
    if file.name != "filled":
        file.write_bytes(bytes(file.stat().st_size))


def delete(file: Path) -> None:
    if file.name != "filled":
        file.unlink()


def losses(folder: Path, study: str) -> list[float]:
    """The training loss of every epoch of a search; accuracies of 192 images are often the same by chance."""
    query = "SELECT a.value_json FROM trial_user_attributes a JOIN trials t USING (trial_id) JOIN studies s"
    query += " USING (study_id) WHERE s.study_name = ? AND a.key = 'curve' ORDER BY t.number"
    with contextlib.closing(sqlite3.connect(folder / "runs" / "study.db")) as connection:
        curves = [json.loads(curve) for (curve,) in connection.execute(query, (study,))]
    return [epoch["train_loss"] for curve in curves for epoch in curve]


def same_numbers(outcome: Outcome, folder: Path) -> str | None:
    return None if losses(folder, "again") == losses(folder, "demo") != [] else "other numbers than before"


def one_point(outcome: Outcome, folder: Path) -> str | None:
    return None if len(losses(folder, "demo")) == 1 else f"{len(losses(folder, 'demo'))} points"


def old_checkpoint(folder: Path) -> None:
    file = RunsFolder(folder / "runs").checkpoint("demo", 0.5, 4.0, 0)
    file.parent.mkdir(parents=True)
    torch.save([1, 2], file)


def no_secret(outcome: Outcome, folder: Path) -> str | None:
    return "prints the password" if "topsecret" in outcome.stdout + outcome.stderr else None


def not_instant(outcome: Outcome, folder: Path) -> str | None:
    return "promises 0 s" if "about 0 s" in outcome.stdout else None


def goes_on(outcome: Outcome, folder: Path) -> str | None:
    """The same command, with nothing in its way, has to end what was begun."""
    again = run(Row("", ("--epochs", "30") if "stop" in folder.name else ()), folder)
    return None if again.code == 0 else f"does not go on: {again.stderr.strip()[-200:]}"


def no_orphans(outcome: Outcome, folder: Path) -> str | None:
    deadline = time.monotonic() + SECONDS_TO_STOP
    while left := [path for path in Path("/proc").glob("[0-9]*/cwd") if _links_to(path, folder)]:
        if time.monotonic() > deadline:
            for path in left:
                os.kill(int(path.parent.name), signal.SIGKILL)
            return f"{len(left)} processes live on"
        time.sleep(0.2)
    return goes_on(outcome, folder)


def _links_to(path: Path, folder: Path) -> bool:
    try:
        return path.readlink() == folder.resolve()
    except OSError:
        return False


def small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))


def ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


QUICK = ("--preset", "quick")
IMAGES = (*QUICK, "--data-dir", "images")
TEACHER = ("--teacher", "file.pth")
AGAIN = ("--study", "again")
LONG = ("--epochs", "30")


def option(text: str, says: str, **expected: Any) -> Row:
    """A row whose input is an option alone."""
    name, _, value = text.partition(" ")
    return Row(
        text if value else f'{name} ""', (name, value), says=says, **{"before": "nothing", "quick": True, **expected}
    )


ROWS = [
    # Images.
    Row("--data-dir: no such folder", IMAGES, before="nothing", says="images: no such folder", quick=True),
    Row("--data-dir: a file", IMAGES, lambda folder: (folder / "images").touch(), says="no such folder"),
    Row("--data-dir: an empty folder", IMAGES, lambda folder: (folder / "images").mkdir(), says="nor the whole"),
    Row("--data-dir: a damaged archive", IMAGES, archive, says="nor the whole unpacked archive"),
    Row("cached images are damaged, none beside", IMAGES, damaged_cache, says="nor the whole"),
    Row("image: cut", IMAGES, image(cut), says="apple/image.png: damaged"),
    Row("image: a flipped bit", IMAGES, image(flip_a_bit), says="apple/image.png: damaged"),
    Row("image: header says 60000 x 60000", IMAGES, image(promise_pixels), says="apple/image.png: far too many"),
    Row("image: grey", IMAGES, image(lambda file: Image.new("L", (32, 32)).save(file)), says="image.png (grey)"),
    Row("image: 31 x 31", IMAGES, image(lambda file: Image.new("RGB", (31, 31)).save(file)), says="31 x 31 pixels"),
    Row("image: a pipe", IMAGES, image(replace(os.mkfifo)), before="nothing", says="apple/image.png: no regular file"),
    Row("image: /dev/zero", IMAGES, image(replace(lambda f: f.symlink_to("/dev/zero"))), says="no regular file"),
    Row("class folder: empty", IMAGES, image(Path.unlink), says="train/apple: holds no image"),
    Row("class folders: 99", IMAGES, folders(lambda f: shutil.rmtree(f / "train" / "bear")), says="no folder 'bear'"),
    Row("class folders: 101", IMAGES, folders(lambda f: (f / "train" / "x").mkdir()), says="101 class folders"),
    Row("class folders: no test", IMAGES, folders(lambda f: shutil.rmtree(f / "test")), says="test: no such folder"),
    Row("class folders: of one's own", (*IMAGES, "--dry-run"), before="nothing", quick=True,
        prepare=lambda f: shutil.copytree(f, f / "images" / "train" / "rose"),
        says="no folder 'apple'; images of your own are the folder of [data] in a file"),
    Row("class folders: other images", IMAGES, folders(lambda f: None), says="not those of CIFAR-100"),
    option("--data-dir somewhere", "--data-dir"),
    # Teachers.
    Row("--teacher: no such file", TEACHER, before="nothing", says="file.pth: no such file", quick=True),
    Row("--teacher: a folder", TEACHER, lambda folder: (folder / "file.pth").mkdir(), says="file.pth"),
    Row("--teacher: empty", TEACHER, lambda folder: (folder / "file.pth").touch(), says="file.pth"),
    Row("--teacher: text", TEACHER, lambda folder: (folder / "file.pth").write_text("text"), says="file.pth"),
    Row("--teacher: a list", TEACHER, lambda f: torch.save([1], f / "file.pth"), says="no checkpoint"),
    Row("--teacher: another network", TEACHER, other("resnet14", 16), says="not a resnet8"),
    Row("--teacher: 100 classes", TEACHER, other("resnet8", 100), says="'fc.weight' has shape"),
    Row("--teacher: sparse", TEACHER, last_layer(Tensor.to_sparse), says="no plain tensor"),
    Row("--teacher: complex", TEACHER, last_layer(lambda w: w.to(torch.complex64)), says="complex64"),
    Row("--teacher: without values", TEACHER, last_layer(lambda w: w.to("meta")), says="no plain tensor"),
    Row("--teacher: not finite", TEACHER, last_layer(lambda w: w / 0), says="not finite"),
    Row("--teacher: negative variance", TEACHER, weights(flip_variance), says="is no teacher"),
    Row("--teacher: random", TEACHER, last_layer(torch.randn_like), says=""),
    Row("--teacher: last layer x 1e6", TEACHER, weights(enlarge), says="stored as float16"),
    Row("--teacher: pickle bomb", TEACHER, pickle_bomb, says="file.pth: refused", check=nothing_ran),
    Row("--teacher: zipped pickle bomb", TEACHER, zipped_pickle_bomb, says="file.pth: refused", check=nothing_ran),
    Row("--teacher: of DataParallel", (*TEACHER, *AGAIN),
        weights(lambda model: {f"module.{key}": value for key, value in model.items()}), codes=ENDED, leaves=STUDY),
    Row("--teacher: half precision", (*TEACHER, *AGAIN),
        weights(lambda model: {key: v.half() if v.is_floating_point() else v for key, v in model.items()}),
        codes=ENDED, leaves=STUDY),
    Row("--teacher: not the study's", TEACHER, weights(fine_tune), before="finished", says="was begun"),
    Row("stored teacher: a flipped bit", AGAIN, lambda f: flip_a_bit(stored(f, ".pth")), says=".pth: "),
    Row("stored teacher: no weights", AGAIN, lambda f: stored(f, ".pth").unlink(), says="only its card"),
    Row("stored teacher: card cut", AGAIN, lambda f: cut(stored(f, ".json")), says="damaged teacher card"),
    Row("--import with --epochs", ("--import", "x.pth", "--epochs", "3"), module="study.teacher", says="--epochs out"),
    Row("--import with --recipe", ("--import", "x.pth", "--recipe", "short"), module="study.teacher", says="--recipe"),
    Row("study.teacher --seed -1", ("--seed", "-1"), module="study.teacher", says="--seed -1"),
    Row("study.teacher --network resnet21", ("--network", "resnet21"), module="study.teacher", says="resnet21"),
    # Options.
    option("--alphas 2", "alpha = 2"),
    option("--alphas nan", "alpha = nan"),
    option("--alphas ", "--alphas", codes=(1, 2)),
    option("--alphas 0.5,", "--alphas", codes=(1, 2)),
    option("--temperatures 0", "T = 0"),
    option("--temperatures ", "--temperatures", codes=(1, 2)),
    option("--arm 0.5", "--arm", codes=(1, 2)),
    option("--arm 0.5,4,1", "--arm", codes=(1, 2)),
    option("--epochs 0", "--epochs 0"),
    option("--seeds 0", "--seeds 0"),
    option("--seed -1", "--seed -1"),
    option("--seed 4294967296", "--seed 4294967296"),
    option("--train-images 0", "--train-images 0"),
    option("--train-images 100000", "--train-images 100000"),
    option("--device cpu:x", "--device cpu:x"),
    option("--device abacus", "--device abacus"),
    option("--device cuda:99", "--device cuda:99"),
    option("--workers 0", "--workers 0"),
    option("--n-trials 4", "--n-trials"),
    option("--n-trials 0", "--n-trials 0"),
    option("--finalists -1", "--finalists -1"),
    option("--finalist-seeds 1", "--finalist-seeds 1"),
    option("--finalist-seeds 4", "--finalist-seeds 4"),
    Row("--workers 1000 --dry-run", ("--workers", "1000", "--dry-run"), codes=ENDED, check=not_instant),
    Row("--alphas 0.5,0.5", ("--alphas", "0.5,0.5"), codes=ENDED, leaves=STUDY, check=one_point),
    Row("--train-images 200, not divisible by 16", ("--train-images", "200"), codes=ENDED, leaves=STUDY),
    Row("another --epochs", ("--epochs", "2"), before="finished", says="was begun with"),
    # Names and places.
    *(option(f"--study {name}", "--study") for name in
      ("", ".", "..", "a/b", "cache", "artifacts", "checkpoints", "study.db", "demo-comparison", "x" * 300)),
    Row("--study Ünï", ("--study", "Ünï"), codes=ENDED, leaves=STUDY.replace("demo", "Ünï")),
    Row("--study demo-comparison, of a study", ("--study", "demo-comparison"), before="finished", says="--study"),
    *(Row(f"--runs-dir '{name}'", ("--runs-dir", name), before="nothing", codes=ENDED,
          leaves=STUDY.replace("runs/", re.escape(name) + "/"))
      for name in ("a b", "a#b", "a%20b", "a?b", "ä")),
    Row("--runs-dir: a file", ("--runs-dir", "file"), lambda folder: (folder / "file").touch(), before="nothing"),
    Row("--runs-dir: may not be written", ("--runs-dir", "/proc/nowhere"), before="nothing"),
    # Storages.
    option("--storage nonsense", "--storage"),
    option("--storage mysql://nowhere/study", "--storage"),
    option("--storage journal.log", "--storage"),
    option("--storage postgresql+psycopg://kd@127.0.0.1:1/kd", "--storage"),
    option("--storage sqlite:///notes.txt", "--storage", prepare=lambda f: (f / "notes.txt").write_text("no " * 999)),
    option("--storage postgresql+psycopg://kd:topsecret@127.0.0.1:1/kd", "--storage", check=no_secret),
    option("--storage postgresql://kd@127.0.0.1:1/kd?password=topsecret", "--storage", check=no_secret),
    Row("study.db: cut", prepare=database(cut), before="finished", says="error: "),
    Row("study.db: of another Optuna", prepare=database(of_another_optuna), before="finished", says="error: "),
    Row("reports.build: no study.db", ("--study", "demo"), module="reports.build", says="not there"),
    Row("reports.build: no such study", ("--study", "nope"), before="finished", module="reports.build", says="nope"),
    # What is kept between runs.
    *(Row(f"teacher logits: {what}", AGAIN, logits(change), before="finished", codes=ENDED, leaves=STUDY,
          check=same_numbers)
      for what, change in (("cut", cut), ("zeros", zero), ("a flipped bit", flip_a_bit), ("deleted", delete))),
    Row("checkpoint: a list", prepare=old_checkpoint, codes=ENDED, leaves=STUDY),
    Row("no file above 1 MB", limit=small_files, says="error: ", leaves=STUDY, check=goes_on),
    # Signals.
    *(Row(f"{how.name}, {workers} worker{'s' * (workers - 1)}", (*LONG, "--workers", str(workers)), stop=how,
          codes=(128 + how, -how, 130), leaves=STUDY, check=goes_on)
      for how in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) for workers in (1, 2)),
    Row("SIGTERM, 2 workers, started with &", (*LONG, "--workers", "2"), stop=signal.SIGTERM, limit=ignore_interrupts,
        codes=(143, -15, 130), leaves=STUDY, check=goes_on),
    Row("SIGKILL, 2 workers", (*LONG, "--workers", "2"), stop=signal.SIGKILL, codes=(-9,), leaves=STUDY,
        check=no_orphans),
    Row("stdout is closed", limit=lambda: os.close(1), codes=(0, 1), leaves=STUDY),
]  # fmt: skip


def main() -> None:
    """Run the rows and print the table; exit 1 where one is not as expected."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bad_inputs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="WORD", help="rows whose input has it")
    options = parser.parse_args()
    rows = [row for row in ROWS if options.only in row.input]
    wrong = 0
    print("| input | exit | lines | left behind | |\n|---|--:|--:|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        grounds = Grounds(Path(folder))
        for number, row in enumerate(rows):
            place = grounds.prepared(row, f"{'stop' if row.stop else 'row'}{number}")
            outcome = run(row, place)
            faults = row.faults(outcome, place)
            wrong += bool(faults)
            tops = sorted({name if name.count("/") < 2 else name.rsplit("/", 1)[0] + "/" for name in outcome.left})
            left = ", ".join(tops[:4]) + (" ..." if len(tops) > 4 else "")
            cells = [row.input, "hangs" if outcome.code is None else outcome.code, len(outcome.lines), left or "-"]
            print(f"| {' | '.join(map(str, cells))} | {'; '.join(faults) or 'as expected'} |", flush=True)
            shutil.rmtree(place)
    print(f"\n{len(rows)} rows, {wrong} not as expected")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
