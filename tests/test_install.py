"""What is installed is what is run, also from a folder that has folders of the same names."""

import subprocess
import sys
import tomllib
from pathlib import Path

from study.settings import PRESET_FILES

ROOT = Path(__file__).parent.parent
ROOMS = ("data", "models", "reports", "storage", "study", "tests")


def test_commands_work_from_a_folder_that_has_plain_folders_of_the_same_names(tmp_path: Path) -> None:
    for room in ROOMS:
        (tmp_path / room / "cifar-100-python").mkdir(parents=True)
    # With -c, as with -m, Python looks into the working folder first.
    command = [sys.executable, "-c", "import tests.kill_storm, study.run; study.run.main(['--help'])"]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("usage: python -m study.run")


def test_commands_work_beside_modules_of_ones_own_of_the_same_names(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text("class Net: pass\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "__init__.py").touch()
    for module in ("study.run", "reports.build"):
        command = [sys.executable, "-m", module, "--help"]
        process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert process.returncode == 0, process.stderr
        assert process.stdout.startswith(f"usage: python -m {module}")


def test_every_package_but_the_tests_is_installed() -> None:
    packages = {
        ".".join(file.parent.relative_to(ROOT).parts) for room in ROOMS for file in (ROOT / room).rglob("__init__.py")
    }
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert set(settings["packages"]) == {name for name in packages if name.split(".")[0] != "tests"}


def test_the_presets_are_installed_with_the_code() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    listed = {file for pattern in settings["package-data"]["study"] for file in (ROOT / "study").glob(pattern)}
    assert listed == set(PRESET_FILES.values())
