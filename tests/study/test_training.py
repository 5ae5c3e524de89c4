"""A training is a function of its arguments, however often it is stopped on the way."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from data import Draws, ImageBank, stream
from models import StudentCNN, weights_hash
from storage.claims import FileClaims
from storage.configuration import Recipe
from storage.errors import is_out_of_memory
from study import training as training_module
from study.evaluation import HeldOut, predict
from study.loss import distillation_loss
from study.step import TrainingStep
from study.teacher_logits import SmoothLabels, TeacherLogits
from study.training import DivergedError, Epoch, Training

STEPS = Recipe(epochs=3, batch_size=20, learning_rate=0.05, step_epochs=(1, 2), step_factor=0.2)
ONE_CYCLE = Recipe(epochs=3, batch_size=32, learning_rate=0.1, momentum=0.9, nesterov=True, schedule="one-cycle")
ADAMW = Recipe(epochs=3, batch_size=20, learning_rate=0.01, step_epochs=(2,), step_factor=0.2, optimizer="adamw")
TRAIN, VALIDATION = torch.arange(96), torch.arange(160, 200)
MakeTraining = Callable[..., Training]


def student() -> nn.Module:
    return StudentCNN(8)


def small_network() -> nn.Module:
    """Has running statistics, as a teacher in training has."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(3), nn.Flatten(), nn.Linear(400, 8)
    )


def dropping_network() -> nn.Module:
    """Draws by itself which values it drops."""
    return nn.Sequential(nn.Conv2d(3, 16, 8, stride=8), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(256, 8))


def teacher() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return small_network().eval()


def quiet(total: int) -> "tqdm[Any]":
    return tqdm(total=total, disable=True)


def losses_with_a_live_teacher(bank: ImageBank, alpha: float, temperature: float) -> list[float]:
    """The mean loss of each epoch of ``STEPS`` where the teacher sees each batch that the student sees."""
    torch.manual_seed(0)
    network, live = small_network(), teacher()
    losses = []
    for epoch in range(STEPS.epochs):
        optimizer = torch.optim.SGD(network.parameters(), STEPS.learning_rate_at(epoch, 0), weight_decay=5e-4)
        order, views = stream(TRAIN, 0, epoch)
        total = 0.0
        for indices, shown in zip(order.tensor_split(5), views.tensor_split(5), strict=True):
            images = bank.crop(indices, shown)
            with torch.no_grad():
                said = live(images)
            loss = distillation_loss(network(images), bank.labels[indices], said, alpha, temperature)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(indices)
        losses.append(total / len(TRAIN))
    return losses


@pytest.fixture
def make(tiny_bank: ImageBank, tmp_path: Path) -> MakeTraining:
    def make_training(
        recipe: Recipe = STEPS,
        seed: int = 0,
        alpha: float = 0.0,
        build: Callable[[], nn.Module] = small_network,
        step: TrainingStep | None = None,
        **other: object,
    ) -> Training:
        defaults = {
            "step": step or TrainingStep(build, recipe, tiny_bank, 8),
            "train": TRAIN,
            "validation": VALIDATION,
            "checkpoint": tmp_path / "training.pt",
            "name": "test",
            "temperature": 4.0,
        }
        if alpha != 0:
            defaults["logits"] = TeacherLogits(tmp_path / "logits", tiny_bank, teacher, 8, quiet, FileClaims(tmp_path))
        return Training(seed=seed, alpha=alpha, **{**defaults, **other})  # type: ignore[arg-type]

    return make_training


def without_seconds(curve: list[Epoch]) -> list[Epoch]:
    return [replace(epoch, seconds=0.0) for epoch in curve]


def finish(training: Training) -> tuple[list[Epoch], str]:
    curve = list(training.epochs())
    training.forget()
    return without_seconds(curve), weights_hash(training.network)


VARIANTS = pytest.mark.parametrize(
    "arguments",
    [
        {"build": student},
        {"alpha": 0.75, "draws": Draws(200, 3)},
        {"recipe": ONE_CYCLE},
        {"recipe": ADAMW},
        {"build": dropping_network},
    ],
    ids=["student", "distilled", "one-cycle", "adamw", "dropout"],
)


def test_what_diverged_leaves_no_epoch_to_go_on_from(make: MakeTraining, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.training.SECONDS_BETWEEN_CHECKPOINTS", 0)
    training = make(recipe=replace(STEPS, step_epochs=(1,), step_factor=1e30))
    epochs = training.epochs()
    next(epochs)
    assert training.checkpoint.exists()
    with pytest.raises(DivergedError):
        list(epochs)
    assert not training.checkpoint.exists()


@VARIANTS
def test_the_same_arguments_give_the_same_curve_and_weights(make: MakeTraining, arguments: dict[str, object]) -> None:
    first = finish(make(**arguments))
    torch.manual_seed(99)
    assert finish(make(**arguments)) == first


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"alpha": 0.5}, {"train": TRAIN[:-1]}, {"draws": Draws(200, 3)}, {"rate_factor": 0.5}],
    ids=["seed", "alpha", "images", "draws", "rate"],
)
def test_other_arguments_give_other_weights(make: MakeTraining, other: dict[str, object]) -> None:
    assert finish(make(**other))[1] != finish(make())[1]


@pytest.mark.parametrize("recipe", [STEPS, ONE_CYCLE], ids=["steps", "one-cycle"])
def test_a_rate_factor_is_another_learning_rate_of_the_recipe(make: MakeTraining, recipe: Recipe) -> None:
    faster = replace(recipe, learning_rate=2 * recipe.learning_rate)
    assert finish(make(recipe, rate_factor=2.0)) == finish(make(faster))


@pytest.mark.parametrize("control", ["rate", "smoothing"])
def test_a_control_does_not_go_on_from_the_checkpoint_of_a_plain_training(
    make: MakeTraining, tiny_bank: ImageBank, control: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_module, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    smooth = SmoothLabels(tiny_bank.labels, 8, 0.3, 4.0, torch.device("cpu"))
    arguments: dict[str, Any] = {"rate_factor": 2.0} if control == "rate" else {"logits": smooth, "alpha": 0.5}
    list(islice(make(alpha=arguments.get("alpha", 0.0)).epochs(), 1))
    assert make(**arguments).curve == []


class Drawing(nn.Module):
    """Keeps what it drew in each step of a training."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.drawn = nn.Linear(3, 8), list[float]()

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.drawn.append(torch.rand(()).item())
        logits: Tensor = self.head(images.mean(dim=(2, 3)))
        return logits


def test_what_a_network_draws_is_other_in_each_epoch_and_for_each_seed(make: MakeTraining) -> None:
    drawn = []
    for seed in (0, 0, 1):
        training = make(build=Drawing, seed=seed)
        list(training.epochs())
        training.forget()
        drawn.append(cast(Drawing, training.network).drawn)
    first, again, other = drawn
    assert first == again
    assert len(set(first + other)) == len(first) + len(other) == 2 * STEPS.epochs * 5


def test_in_bfloat16_a_student_is_validated_as_it_is_trained(make: MakeTraining) -> None:
    training = make(recipe=replace(STEPS, precision="bfloat16", epochs=1, step_epochs=()))
    (epoch,) = training.epochs()
    bank = training.step.bank
    losses = {
        precision: F.cross_entropy(
            predict(training.network, bank, VALIDATION, precision), bank.labels[VALIDATION]
        ).item()
        for precision in ("bfloat16", "float32")
    }
    assert epoch.validation_loss == losses["bfloat16"] != losses["float32"]
    scores = HeldOut(bank, VALIDATION, "bfloat16", make_teacher=None).score(training.network)
    assert scores.loss == pytest.approx(losses["bfloat16"], rel=1e-6)
    assert abs(scores.loss - losses["float32"]) > 10 * abs(scores.loss - losses["bfloat16"])


def test_it_learns(make: MakeTraining) -> None:
    curve, _ = finish(make(replace(STEPS, epochs=10, step_epochs=())))
    assert curve[-1].train_loss < 0.5 * curve[0].train_loss
    assert curve[-1].validation_accuracy is not None
    assert curve[-1].validation_accuracy > 4 / 8


def test_alpha_0_does_not_depend_on_temperature(make: MakeTraining) -> None:
    assert finish(make(temperature=1.0)) == finish(make(temperature=8.0))


def test_trainings_of_one_seed_begin_with_the_same_weights_whatever_alpha(make: MakeTraining) -> None:
    assert weights_hash(make(alpha=0.5).network) == weights_hash(make().network)
    assert weights_hash(make(seed=1).network) != weights_hash(make().network)


def test_the_global_generator_is_left_alone(make: MakeTraining) -> None:
    before = torch.get_rng_state()
    finish(make())
    assert torch.equal(torch.get_rng_state(), before)


@VARIANTS
def test_stopped_after_any_epoch_it_goes_on_to_the_same_numbers(
    make: MakeTraining, arguments: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_module, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    whole = finish(make(**arguments))
    for stopped_after in range(1, len(whole[0]) + 1):
        stopped = list(islice(make(**arguments).epochs(), stopped_after))
        resumed = make(**arguments)
        assert resumed.curve == stopped
        assert finish(resumed) == whole


def test_stopped_after_every_epoch_it_ends_with_the_same_numbers(
    make: MakeTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_module, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    whole = finish(make(ONE_CYCLE))
    for epochs in range(1, ONE_CYCLE.epochs):
        list(islice(make(ONE_CYCLE).epochs(), epochs))
    assert finish(make(ONE_CYCLE)) == whole


def test_stopped_before_a_checkpoint_it_starts_over_to_the_same_numbers(
    make: MakeTraining, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_module, "SECONDS_BETWEEN_CHECKPOINTS", float("inf"))
    whole = finish(make())
    list(islice(make().epochs(), 2))
    assert not (tmp_path / "training.pt").exists()
    assert finish(make()) == whole


def test_killed_it_goes_on_to_the_same_numbers(make: MakeTraining, tiny_bank: ImageBank, tmp_path: Path) -> None:
    whole = finish(make(ONE_CYCLE))
    torch.save(tiny_bank, tmp_path / "bank.pt")
    program = f"""
import os
import signal
import torch
from pathlib import Path
from study import training
from study.step import TrainingStep
from tests.study.test_training import ONE_CYCLE, TRAIN, VALIDATION, small_network
training.SECONDS_BETWEEN_CHECKPOINTS = 0.0
torch.set_num_threads({torch.get_num_threads()})
folder = Path({str(tmp_path)!r})
bank = torch.load(folder / "bank.pt", weights_only=False)
checkpoint = folder / "training.pt"
step = TrainingStep(small_network, ONE_CYCLE, bank, 8)
started = training.Training(step, 0, TRAIN, checkpoint, "test", VALIDATION, temperature=4.0)
for epoch in started.epochs():
    if len(started.curve) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], env={**os.environ})
    assert killed.returncode == -signal.SIGKILL
    resumed = make(ONE_CYCLE)
    assert len(resumed.curve) == 2
    assert finish(resumed) == whole


@pytest.mark.parametrize("damage", [lambda content: b"damaged", lambda content: b"", lambda content: content[:-500]])
def test_a_damaged_checkpoint_starts_over_and_says_so(
    make: MakeTraining, tmp_path: Path, damage: Callable[[bytes], bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "training.pt"
    list(make().epochs())
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    training = make()
    assert f"{checkpoint}: damaged" in capsys.readouterr().out
    assert training.curve == []
    again = finish(training)
    assert again == finish(make())


def test_a_checkpoint_that_cannot_be_read_stays(
    make: MakeTraining, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(make().epochs())

    def without_memory(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    with monkeypatch.context() as patched:
        patched.setattr(torch, "load", without_memory)
        with pytest.raises(RuntimeError):
            make()
    assert len(make().curve) == STEPS.epochs
    make().forget()
    (tmp_path / "training.pt").mkdir()
    with pytest.raises(IsADirectoryError):
        make()


def test_a_finished_training_is_not_trained_again(make: MakeTraining) -> None:
    first = list(make().epochs())
    assert list(make().epochs()) == first


def test_forget_removes_the_checkpoint(make: MakeTraining, tmp_path: Path) -> None:
    training = make()
    list(training.epochs())
    assert (tmp_path / "training.pt").exists()
    training.forget()
    training.forget()
    assert not (tmp_path / "training.pt").exists()


def test_without_validation_images_there_are_no_validation_figures(make: MakeTraining) -> None:
    scored, weights = finish(make())
    plain, same_weights = finish(make(validation=None))
    assert {(epoch.validation_loss, epoch.validation_accuracy) for epoch in plain} == {(None, None)}
    assert [epoch.train_loss for epoch in plain] == [epoch.train_loss for epoch in scored]
    assert same_weights == weights


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_a_loss_that_is_not_finite_ends_the_training(make: MakeTraining, alpha: float) -> None:
    with pytest.raises(DivergedError, match=r"^the loss became (nan|inf) in epoch [12]$"):
        finish(make(replace(STEPS, learning_rate=1e9), alpha=alpha))


@pytest.mark.parametrize(
    ("validation", "said"), [(None, "nan after epoch 1"), (VALIDATION, "nan on validation after epoch 1")]
)
def test_what_diverges_in_its_very_last_step_is_known_though_no_loss_has_seen_it(
    make: MakeTraining, validation: torch.Tensor | None, said: str
) -> None:
    one_step = replace(STEPS, epochs=1, batch_size=len(TRAIN), learning_rate=1e39, step_epochs=())
    training = make(one_step, validation=validation)
    training.checkpoint.write_bytes(b"of an epoch before")
    with pytest.raises(DivergedError, match=f"^the loss became {said}$"):
        list(training.epochs())
    assert not training.checkpoint.exists(), "another version begins anew"
    assert training.curve == []


@pytest.mark.parametrize(("alpha", "temperature"), [(0.75, 1.0), (1.0, 4.0)])
def test_cached_teacher_logits_train_as_a_live_teacher_does(
    make: MakeTraining, tiny_bank: ImageBank, alpha: float, temperature: float
) -> None:
    with torch.random.fork_rng():
        live = losses_with_a_live_teacher(tiny_bank, alpha, temperature)
    cached, _ = finish(make(alpha=alpha, temperature=temperature))
    # The cache rounds to float16; measured over four seeds: 2e-4 at most.
    assert [epoch.train_loss for epoch in cached] == pytest.approx(live, rel=1e-3)


def test_a_whole_study_asks_the_teacher_for_what_one_run_sees(
    make: MakeTraining, tiny_bank: ImageBank, tmp_path: Path
) -> None:
    asked: list[int] = []

    def counting(total: int) -> "tqdm[Any]":
        asked.append(total)
        return quiet(total)

    draws = Draws(len(tiny_bank), STEPS.epochs)
    logits = TeacherLogits(tmp_path / "logits", tiny_bank, teacher, 8, counting, FileClaims(tmp_path))
    every = torch.arange(len(tiny_bank))
    for alpha in (0.0, 0.25, 0.75):
        finish(make(alpha=alpha, logits=logits, draws=draws))
        for seed in (1, 2, 3):
            finish(make(alpha=alpha, seed=seed, train=every, validation=None, logits=logits, draws=draws))
    shown = [stream(every, 5, epoch, draws) for epoch in range(STEPS.epochs)]
    seen_by_one_run = {pair for epoch in shown for pair in zip(*(part.tolist() for part in epoch), strict=True)}
    assert sum(asked) == len(seen_by_one_run)


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"train": TRAIN[:48]},
        {"recipe": replace(STEPS, batch_size=32)},
        {"draws": Draws(200, 3)},
        {"source": "of another file"},
        {"data_hash": "of other images"},
    ],
)
def test_a_checkpoint_of_another_training_is_not_gone_on_from(
    make: MakeTraining, other: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    list(make().epochs())
    training = make(**other)
    assert training.curve == []
    assert "left by another study" in capsys.readouterr().out


def test_a_checkpoint_of_another_training_is_not_written_over(
    make: MakeTraining, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.training.SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    begun = list(islice(make().epochs(), 2))
    other = make(seed=1)
    list(other.epochs())
    assert len(list(tmp_path.glob("*training.pt"))) == 2
    assert make(seed=1).curve == other.curve, "it has one of its own"
    make(seed=1).forget()
    assert without_seconds(make().curve) == without_seconds(begun), "the first goes on"
    list(make(seed=1).epochs())
    make().forget()
    assert len(make(seed=1).curve) == STEPS.epochs, "also where the other has ended"


def test_two_trainings_that_began_before_either_wrote_do_not_write_over_one_another(
    make: MakeTraining, tmp_path: Path
) -> None:
    one, other = make(), make(seed=1)
    list(one.epochs())
    list(other.epochs())
    assert len(list(tmp_path.glob("*training.pt"))) == 2
    assert make().curve == one.curve
    other.forget()
    assert make().curve == one.curve


def test_only_what_comes_to_the_same_numbers_is_bound_to_its_convolutions(
    make: MakeTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.training.SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    list(islice(make(bit_for_bit=False).epochs(), 2))
    training = make(bit_for_bit=False)
    assert len(training.curve) == 2
    elsewhere = make().step
    elsewhere.convolutions = "Winograd" if elsewhere.convolutions == "torch" else "torch"
    assert len(make(step=elsewhere, bit_for_bit=False).curve) == 2
    training.forget()
    list(islice(make().epochs(), 2))
    assert make(step=elsewhere).curve == []


class Recording:
    """Ends as the recording of a CUDA graph does: with an error of its own, whatever happened in it."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *reason: object) -> None:
        raise RuntimeError("operation failed due to a previous error during capture")


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (torch.OutOfMemoryError("no memory"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("out of memory of a bug"), False),
    ],
)
def test_out_of_memory_is_known_behind_the_error_of_a_recording(reason: Exception, expected: bool) -> None:
    with pytest.raises(RuntimeError) as caught, Recording():
        raise reason
    assert is_out_of_memory(caught.value) is expected
    assert is_out_of_memory(reason) is expected


def test_out_of_memory_of_a_cpu_is_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    ("image_sizes", "identity"),
    [
        ((), "9d7689010a9b0d941a11b28002296d8ce0d5f1460ce6cd42abefa3d028eedb7b"),
        (((0, 16), (2, 24)), "3d12763acf236c50b53a6191ae0ff80c1482200ae5009a0524f6342d8139440f"),
    ],
)
def test_a_training_begun_with_an_earlier_version_is_known(
    make: MakeTraining, image_sizes: Any, identity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(ONE_CYCLE, image_sizes=image_sizes, batches="remainder")
    assert make(recipe)._identity() != identity, "by other convolutions it does not go on to the same numbers"
    monkeypatch.setattr("study.device.has_winograd", lambda: False)
    assert make(recipe)._identity() == identity
