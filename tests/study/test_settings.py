"""A study is a file: what it may say, what is refused, and that what is printed is read back as it was."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from storage.configuration import Configuration, ConfigurationError
from storage.description import FORMAT
from storage.study_storage import sqlite_url
from study.options import Request, request_of
from study.run import main
from study.settings import PRESETS, Settings, as_toml, read_settings
from tests.reports.stored import collect

STORED = Path(__file__).parent.parent / "stored"
FLOWERS = """
name = "flowers"
[data]
folder = "flowers"
image_size = 48
validation_images = 500
[student]
network = "mynets:TinyNet"
[teacher]
network = "resnet20"
recipe = "short"
[training]
epochs = 30
batch_size = 64
learning_rate = 0.05
momentum = 0.9
[search]
alphas = [0.0, 0.5, 0.9, 1.0]
temperatures = [1, 2]
seeds = 3
finalists = 2
finalist_seeds = 4
"""


def written(folder: Path, content: str) -> Path:
    file = folder / "mine.toml"
    file.write_text(content)
    return file


def asked(*arguments: str) -> Request:
    return request_of(list(arguments), None)


def test_a_file_is_the_study_that_it_describes(tmp_path: Path) -> None:
    settings = read_settings(written(tmp_path, FLOWERS))
    configuration, recipe = settings.configuration, settings.configuration.recipe
    assert (configuration.preset, configuration.dataset, settings.folder) == ("flowers", "folder", Path("flowers"))
    assert (configuration.image_size, configuration.validation_images, configuration.seeds) == (48, 500, 3)
    assert (configuration.student_network, configuration.teacher_network) == ("mynets:TinyNet", "resnet20")
    assert (configuration.finalists, configuration.finalist_seeds) == (2, 4)
    assert (configuration.alphas, configuration.temperatures) == ((0, 0.5, 0.9, 1), (1, 2))
    assert (recipe.epochs, recipe.batch_size, recipe.learning_rate, recipe.momentum) == (30, 64, 0.05, 0.9)
    # What it leaves out is as in the protocol, whose steps lie at 30, 60 and 90 % of the epochs.
    assert (recipe.step_epochs, recipe.step_factor, recipe.weight_decay) == ((9, 18, 27), 0.2, 5e-4)
    assert (configuration.seed, configuration.pruner) == (0, "median")


def test_options_override_the_file(tmp_path: Path) -> None:
    request = asked("--config", str(written(tmp_path, FLOWERS)), "--epochs", "10", "--data-dir", "elsewhere")
    assert request.name == "flowers"
    assert request.configuration.recipe.step_epochs == (3, 6, 9)
    assert request.data_dir == Path("elsewhere")
    assert asked("--config", str(tmp_path / "mine.toml")).data_dir == Path("flowers")


@pytest.mark.parametrize("name", [*PRESETS, "one-cycle", "adamw", "weights", "flowers", "no steps"])
def test_what_is_printed_is_read_back_as_it_was(name: str, tmp_path: Path) -> None:
    demo = PRESETS["demo"]
    cycle = replace(demo.recipe, schedule="one-cycle", step_epochs=(), step_factor=1.0, learning_rate=1e-5)
    settings = {
        **{preset: Settings(configuration) for preset, configuration in PRESETS.items()},
        "one-cycle": Settings(replace(demo, recipe=cycle, train_images=64)),
        "adamw": Settings(replace(demo, recipe=replace(demo.recipe, learning_rate=0.001, optimizer="adamw"))),
        "weights": Settings(PRESETS["full"], weights=Path('a "teacher".pth')),
        "flowers": read_settings(written(tmp_path, FLOWERS)),
        "no steps": read_settings(written(tmp_path, 'name = "a"\n[training]\nstep_epochs = []\n')),
    }[name]
    assert read_settings(written(tmp_path, as_toml(settings))) == settings


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_printed_of_few_epochs_is_read_back_too(preset: str, tmp_path: Path) -> None:
    for epochs in range(1, 12):
        settings = Settings(asked("--preset", preset, "--epochs", str(epochs)).configuration)
        assert read_settings(written(tmp_path, as_toml(settings))) == settings


def test_the_command_prints_its_settings_with_what_overrides_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--preset", "quick", "--epochs", "20", "--alphas", "0,1", "--print-config"])
    assert ended.value.code == 0
    request = asked("--config", str(written(tmp_path, capsys.readouterr().out)))
    assert request.configuration == asked("--preset", "quick", "--epochs", "20", "--alphas", "0,1").configuration


def test_a_home_folder_is_known_and_one_of_nobody_is_a_path_that_is_not_there(tmp_path: Path) -> None:
    content = 'name = "a"\n[data]\nfolder = "{}"\n'
    assert read_settings(written(tmp_path, content.format("~/images"))).folder == Path.home() / "images"
    assert read_settings(written(tmp_path, content.format("~nobody-of-that-name/images"))).folder == Path(
        "~nobody-of-that-name/images"
    )


def test_epochs_of_a_printed_file_can_be_changed_and_its_steps_move(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit):
        main(["--preset", "quick", "--print-config"])
    printed = capsys.readouterr().out.replace("epochs = 10 ", "epochs = 60 ", 1)
    recipe = read_settings(written(tmp_path, printed)).configuration.recipe
    assert (recipe.epochs, recipe.step_epochs) == (60, (18, 36, 54))


@pytest.mark.parametrize("epochs", [1, 4, 7, 30])
def test_epochs_beside_a_file_move_its_steps_as_epochs_in_the_file_do(epochs: int, tmp_path: Path) -> None:
    def steps(content: str, *options: str) -> tuple[int, ...]:
        return asked("--config", str(written(tmp_path, content)), *options).configuration.recipe.step_epochs

    file = 'name = "a"\n[training]\nepochs = {}\n'
    assert steps(file.format(epochs), "--epochs", "40") == steps(file.format(40)) == (12, 24, 36)
    own = file.format(10) + "step_epochs = [5]\n"
    assert steps(own, "--epochs", "40") == (20,)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[data]", 'name = None: give the study a name, such as name = "mine"'),
        ('name = "a"\n[train]\nepochs = 3', "no 'train' there; give name and [data], [student], [teacher], [training]"),
        ('name = "a"\ndata = 3', "data: give a section, [data]"),
        ('name = "a"\n[training]\nepoch = 3', "[training] epoch: no such key; give epochs, batch_size, optimizer"),
        ('name = "a"\n[training]\nepochs = "3"', "[training] epochs = '3': give a whole number"),
        ('name = "a"\n[training]\nepochs = true', "[training] epochs = True: give a whole number"),
        ('name = "a"\n[training]\nlearning_rate = inf', "[training] learning_rate = inf: give a number"),
        (f'name = "a"\n[training]\nlearning_rate = 1{400 * "0"}', "0: give a number"),
        ('name = "a"\n[training]\nschedule = "cosine"', '= \'cosine\': give "steps" or "one-cycle"'),
        ('name = "a"\n[training]\nschedule = "one-cycle"\nstep_factor = 0.1', "step_factor: has no effect"),
        (
            'name = "a"\n[training]\nstep_epochs = []\nstep_factor = 0.1',
            "step_factor: has no effect without step_epochs",
        ),
        ('name = "a"\n[training]\nflip = 1', "[training] flip = 1: give true or false"),
        ('name = "a"\n[training]\nnesterov = true', "nesterov: has no effect without momentum"),
        ('name = "a"\n[training]\noptimizer = "adamw"', 'optimizer = "adamw": give a learning_rate of its own'),
        (
            'name = "a"\n[training]\noptimizer = "adamw"\nlearning_rate = 0.1\nweight_decay = 0.05',
            "give a learning_rate of its own, 0.1 is of sgd",
        ),
        ('name = "a"\n[training]\noptimizer = "adamw"\nlearning_rate = 0.001', "give weight_decay too"),
        (
            'name = "a"\n[training]\noptimizer = "adamw"\nlearning_rate = 0.001\nmomentum = 0.9',
            '[training] momentum: has no effect with optimizer = "adamw", leave it out',
        ),
        ('name = "a"\n[training]\noptimizer = "adam"', '[training] optimizer = \'adam\': give "sgd" or "adamw"'),
        ('name = "a"\n[teacher]\nrecipe = "long"', '= \'long\': give "simkd" or "large-batch"'),
        ('name = "a"\n[teacher]\nrecipe = "short"\nweights = "x.pth"', "recipe: has no effect beside weights"),
        ('name = "a"\n[data]\nfolder = "b"\ndataset = "cifar100"', "folder and dataset: give one of them"),
        ('name = "a"\n[data]\nfolder = "b"\nimage_size = 200', "image_size 200: give 28 to 96 pixels"),
        ('name = "a"\n[data]\nimage_size = 64', "image_size 64: the images of cifar100 are 32 x 32"),
        ('name = "a"\n[search]\nalphas = [0.5, "1"]', "alphas = [0.5, '1']: give numbers in []"),
        ('name = "a"\n[search]\nseeds = 0', "seeds 0: give 1 to"),
        ('name = "a"\n[search]\nfinalist_seeds = 4', "finalist_seeds: has no effect without finalists"),
        ('name = "a"\n[training]\nepochs = 20\nstep_epochs = [10, 21]', "step_epochs: 21: give 1 to 20"),
        ('name = "a"\n[training]\nstep_epochs = [0]', "step_epochs: 0: give 1 to 100"),
        ('name = "a"\n[training]\nepochs = 0\nstep_epochs = [1]', "epochs 0: give 1 or more"),
        ('name = "a"\n[search]\nfinalists = 2\nfinalist_seeds = 1', "finalist_seeds 1: give 2 or more"),
        ("name = mine", "no TOML (Invalid value (at line 1, column 8))"),
    ],
)
def test_what_a_file_may_not_say_is_one_line_that_names_it(content: str, said: str, tmp_path: Path) -> None:
    file = written(tmp_path, content)
    with pytest.raises(ConfigurationError) as refused:
        read_settings(file)
    assert str(refused.value).startswith(f"{file}: ")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_or_beside_a_preset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml: no such file; .* --print-config prints one"):
        asked("--config", str(tmp_path / "nowhere.toml"))
    with pytest.raises(ConfigurationError, match=f"--config {tmp_path}: cannot be read"):
        asked("--config", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"mine\.toml: name 'a/b': give letters"):
        asked("--config", str(written(tmp_path, 'name = "a/b"')))
    with pytest.raises(ConfigurationError, match=r"--preset demo: --config .* is another, give one"):
        asked("--config", str(written(tmp_path, FLOWERS)), "--preset", "demo")


def test_settings_that_a_study_may_have_now_are_stored_only_where_they_are_other_ones(tmp_path: Path) -> None:
    new = {"student_network", "image_size", "validation_images"}
    assert new.isdisjoint(PRESETS["full"].as_json())
    flowers = read_settings(written(tmp_path, FLOWERS)).configuration
    stored = json.loads(json.dumps(flowers.as_json()))
    assert new <= stored.keys()
    assert Configuration.from_json(stored) == flowers


def test_every_format_that_was_ever_stored_is_in_the_tests() -> None:
    assert {path.name for path in STORED.glob("*.db")} == {f"format-{number}.db" for number in range(1, FORMAT + 1)}


@pytest.mark.parametrize(
    ("number", "draws", "batches"),
    [(1, "independent", "remainder"), (2, "shared", "remainder"), (3, "shared", "even"), (4, "shared", "even")],
)
def test_a_study_of_every_format_is_read_and_goes_on_by_the_same_command(
    number: int,
    draws: str,
    batches: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copy(STORED / f"format-{number}.db", tmp_path / "study.db")
    before = collect(sqlite_url(STORED / f"format-{number}.db"))
    rate = before["configuration"]["recipe"]["learning_rate"]  # of the preset of then
    of_then = replace(PRESETS["demo"], recipe=replace(PRESETS["demo"].recipe, learning_rate=rate))
    command = ["--config", str(written(tmp_path, as_toml(Settings(of_then))))]
    command += ["--epochs", "2", "--train-images", "320", "--seeds", "2", "--alphas", "0,0.5"]
    command += ["--temperatures", "1,4", "--sampler", "tpe", "--n-trials", "1", "--device", "cpu"]
    monkeypatch.setenv("BROWSER_PATH", "/nowhere")  # no PNG figures
    main([*command, "--runs-dir", str(tmp_path)])
    assert "all is trained" in capsys.readouterr().out
    after = json.loads((tmp_path / "demo" / "results.json").read_text())
    assert (after["configuration"]["draws"], len(after["grid"]), len(after["tpe"])) == (draws, 4, 1)
    assert after["configuration"]["recipe"]["batches"] == batches
    assert after == json.loads(json.dumps(before))


def test_a_study_that_is_named_is_printed_with_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        request_of(["--preset", "quick", "--study", "flowers", "--print-config"], None)
    assert capsys.readouterr().out.startswith('name = "flowers"')


@pytest.mark.parametrize(
    "option",
    [
        ["--controls"],
        ["--arm", "0.5,4"],
        ["--workers", "2"],
        ["--sampler", "none"],
        ["--data-dir", "images"],
        ["--runs-dir", "elsewhere"],
        ["--storage", "sqlite:///mine.db"],
        ["--device", "cpu"],
        ["--dry-run"],
    ],
)
def test_what_is_no_setting_of_a_file_is_not_printed_as_if_it_were(option: list[str]) -> None:
    with pytest.raises(ConfigurationError, match=f"{option[0]}: is no setting of a file"):
        request_of([*option, "--print-config"], None)
