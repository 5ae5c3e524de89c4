"""Settings that make no sense are refused in one line; the protocol is what the presets say."""

import dataclasses
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from storage.configuration import Configuration, ConfigurationError, Recipe
from storage.study_storage import StorageError, open_claims, without_password
from study.recipes import TEACHER_RECIPES
from study.settings import PRESETS

DEMO = PRESETS["demo"]
STUDENT_RECIPE = PRESETS["full"].recipe


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(0, 0.1), (29, 0.1), (30, 0.02), (59, 0.02), (60, 0.004), (89, 0.004), (90, 0.0008), (99, 0.0008)],
)
@pytest.mark.parametrize("share", [0.0, 0.999])
def test_the_learning_rate_of_the_protocol(epoch: int, expected: float, share: float) -> None:
    assert PRESETS["full"].recipe.learning_rate_at(epoch, share) == pytest.approx(expected)


def test_the_full_preset_is_the_protocol() -> None:
    full, recipe = PRESETS["full"], PRESETS["full"].recipe
    assert (full.dataset, full.teacher_network, full.train_images, full.seeds) == ("cifar100", "resnet32x4", None, 5)
    assert full.alphas == (0, 0.25, 0.5, 0.75)
    assert full.temperatures == (1, 2, 4, 8)
    assert (recipe.epochs, recipe.batch_size, recipe.momentum, recipe.weight_decay) == (100, 128, 0, 5e-4)
    assert recipe.precision == "float32"


@pytest.mark.parametrize(("epoch", "expected"), [(0, 0.05), (149, 0.05), (150, 5e-3), (180, 5e-4), (210, 5e-5)])
def test_the_learning_rate_of_simkd(epoch: int, expected: float) -> None:
    assert TEACHER_RECIPES["simkd"].learning_rate_at(epoch, 0.5) == pytest.approx(expected)


def test_the_large_batch_recipe_scales_the_learning_rate_of_simkd_with_the_batch() -> None:
    large, simkd = TEACHER_RECIPES["large-batch"], TEACHER_RECIPES["simkd"]
    assert large.batch_size == 8 * simkd.batch_size
    assert large.learning_rate_at(25, 0.0) == pytest.approx(8 * simkd.learning_rate)
    assert large.weight_decay == simkd.weight_decay
    assert PRESETS["full"].teacher_recipe == "simkd"


@pytest.mark.parametrize(
    ("epochs", "steps"), [(100, (30, 60, 90)), (200, (60, 120, 180)), (10, (3, 6, 9)), (30, (9, 18, 27))]
)
def test_steps_move_in_proportion_to_the_epochs(epochs: int, steps: tuple[int, ...]) -> None:
    recipe = STUDENT_RECIPE.with_epochs(epochs)
    assert recipe == replace(STUDENT_RECIPE, epochs=epochs, step_epochs=steps)


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_few_epochs_begin_at_the_full_learning_rate(epochs: int) -> None:
    assert STUDENT_RECIPE.with_epochs(epochs).learning_rate_at(0, 0.0) == 0.1


def test_one_cycle_rises_for_a_quarter_and_falls_to_zero() -> None:
    recipe = Recipe(epochs=40, batch_size=1, learning_rate=0.3, schedule="one-cycle")
    rates = [recipe.learning_rate_at(step // 10, step % 10 / 10) for step in range(400)]
    assert rates[:101] == sorted(rates[:101])
    assert rates[100:] == sorted(rates[100:], reverse=True)
    assert max(rates) == rates[100] == pytest.approx(0.3)
    assert rates[50] == pytest.approx(0.15)
    assert rates[250] == pytest.approx(0.15)
    assert rates[-1] < 1e-5


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: replace(DEMO, alphas=(2.0,)), "alpha = 2"),
        (lambda: replace(DEMO, alphas=(0.5, -0.1)), "alpha = -0.1"),
        (lambda: replace(DEMO, alphas=(float("nan"),)), "alpha = nan"),
        (lambda: replace(DEMO, temperatures=(0.0,)), "T = 0"),
        (lambda: replace(DEMO, temperatures=(1.0, 17.0)), "T = 17"),
        (lambda: replace(DEMO, alphas=()), "--alphas"),
        (lambda: replace(DEMO, temperatures=()), "--temperatures"),
        (lambda: replace(DEMO, seed=-1), "--seed -1"),
        (lambda: replace(DEMO, seed=2**32), "--seed 4294967296"),
        (lambda: replace(DEMO, seeds=0), "--seeds 0"),
        (lambda: replace(DEMO.recipe, epochs=0), "--epochs 0"),
        (lambda: DEMO.recipe.with_epochs(0), "--epochs 0"),
        (lambda: DEMO.recipe.with_epochs(-3), "--epochs -3"),
        (lambda: replace(DEMO.recipe, batch_size=0), "batch size 0"),
        (lambda: replace(DEMO.recipe, learning_rate=0.0), "learning rate 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_one_line(make: Callable[[], object], named: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{re.escape(named)}.*: .*give ") as refusal:
        make()
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 5, 6, 100])
@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_final_seeds_are_as_many_as_asked_for_without_the_search_seed(seed: int, seeds: int) -> None:
    final = replace(DEMO, seed=seed, seeds=seeds).final_seeds
    assert len(final) == len(set(final)) == seeds
    assert seed not in final


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_more_final_seeds_begin_with_the_fewer(seed: int) -> None:
    few, many = (replace(DEMO, seed=seed, seeds=seeds).final_seeds for seeds in (2, 5))
    assert many[:2] == few


@pytest.mark.parametrize("preset", PRESETS)
def test_a_configuration_survives_json(preset: str) -> None:
    configuration = PRESETS[preset]
    assert Configuration.from_json(json.loads(json.dumps(configuration.as_json()))) == configuration


def test_a_setting_that_a_newer_version_stored_is_refused() -> None:
    stored = DEMO.as_json()
    for newer in ({**stored, "hints": 3}, {**stored, "recipe": {**stored["recipe"], "hints": 3}}):
        with pytest.raises(ConfigurationError, match=r"^hints: a newer version stored this setting, update kd-study$"):
            Configuration.from_json(newer)


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        DEMO.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("address", "stored"),
    [
        ("postgresql+psycopg://kd:se:cr%40et@host/kd", "postgresql+psycopg://kd:***@host/kd"),
        ("postgresql://:secret@host/kd", "postgresql://:***@host/kd"),
        ("postgresql://kd:a secret@host/kd", "postgresql://kd:***@host/kd"),
        ("postgresql://kd:at@and/too@host/kd", "postgresql://kd:***@host/kd"),
        ("postgresql://kd@host/kd?password=secret&a=b", "postgresql://kd@host/kd?password=***&a=b"),
        ("postgresql://kd@host:5432/kd", "postgresql://kd@host:5432/kd"),
        ("sqlite:///runs/study.db", "sqlite:///runs/study.db"),
    ],
)
def test_no_password_is_stored_with_a_study(address: str, stored: str) -> None:
    assert without_password(["--storage", address, "--seed", "1"]) == ["--storage", stored, "--seed", "1"]
    assert without_password([f"--storage={address}"]) == [f"--storage={stored}"]


def test_small_images_come_first_and_move_with_the_epochs() -> None:
    recipe = TEACHER_RECIPES["two-cores"]
    assert [recipe.image_size_at(epoch) for epoch in (0, 9, 10, 25, 26, 39)] == [16, 16, 24, 24, 32, 32]
    assert [recipe.with_epochs(20).image_size_at(epoch) for epoch in (0, 4, 5, 12, 13, 19)] == [16, 16, 24, 24, 32, 32]
    assert [recipe.with_epochs(epochs).image_size_at(epochs - 1) for epochs in (1, 2, 3)] == [32, 32, 32]
    assert TEACHER_RECIPES["simkd"].image_size_at(0) is None


@pytest.mark.parametrize("images", [1, 63, 64, 65, 45_000, 50_000])
def test_batches_are_as_even_as_they_can_be(images: int) -> None:
    recipe = replace(DEMO.recipe, batch_size=64)
    sizes = recipe.batch_sizes(images)
    assert sum(sizes) == images
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= 64
    assert len(sizes) == math.ceil(images / 64)


def test_a_recipe_that_was_stored_before_there_were_even_batches_has_a_remainder() -> None:
    stored = TEACHER_RECIPES["short"].as_json()
    del stored["batches"]
    before = Recipe.from_json(stored)
    assert before.batch_sizes(300) == [128, 128, 44]
    assert before.batch_sizes(256) == [128, 128]
    assert before.as_json() == stored
    assert "batches" not in repr(before), "its checkpoints are known by what it was"


def test_an_epoch_costs_as_much_as_it_has_pixels() -> None:
    work = TEACHER_RECIPES["two-cores"].work_by_epoch()
    assert (work[0], work[10], work[26]) == (0.25, 0.5625, 1)
    assert sum(work) == 10 * 0.25 + 16 * 0.5625 + 14
    assert TEACHER_RECIPES["simkd"].work_by_epoch() == [1] * 240


@pytest.mark.parametrize("name", TEACHER_RECIPES)
def test_a_recipe_survives_json_and_is_stored_as_before_there_were_image_sizes(name: str) -> None:
    recipe = TEACHER_RECIPES[name]
    stored = json.loads(json.dumps(recipe.as_json()))
    assert Recipe.from_json(stored) == recipe
    assert stored == recipe.as_json()
    assert ("image_sizes" in stored) == (name == "two-cores")
    assert ("image_sizes" in repr(recipe)) == (name == "two-cores")


def test_an_address_whose_password_has_a_colon_is_refused_without_it() -> None:
    with pytest.raises(StorageError) as refused:
        open_claims("postgresql://kd:p@ss:word@host/kd")
    assert str(refused.value).startswith("--storage: no storage address; give sqlite:///FILE or")
    assert "word" not in str(refused.value)
