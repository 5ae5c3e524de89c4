"""A result names the commit of the code that made it, and no other."""

import re
import subprocess
from pathlib import Path

import pytest
import torch

from study.manifest import _float32_of_cuda, commit, hardware


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", *arguments],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with rooms of which one file each is tracked."""
    for name in ("study/manifest.py", "data/views.py", "README.md", ".gitignore"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("build/\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "begin")
    return tmp_path


def test_a_clean_checkout_is_its_commit(checkout: Path) -> None:
    assert re.fullmatch("[0-9a-f]{12}", commit(checkout))
    git(checkout, "tag", "--annotate", "--message", "a", "v1")
    assert re.fullmatch("[0-9a-f]{12}", commit(checkout))


@pytest.mark.parametrize("file", ["study/manifest.py", "README.md", "study/new.py", "data/deep/new.py"])
def test_changed_and_new_code_is_told(checkout: Path, file: str) -> None:
    clean = commit(checkout)
    (checkout / file).parent.mkdir(exist_ok=True)
    (checkout / file).write_text("changed\n")
    assert commit(checkout) == f"{clean}+changes"


@pytest.mark.parametrize("file", ["notes.txt", "study/build/made.py", "other/new.py"])
def test_what_is_no_code_of_ours_is_no_change(checkout: Path, file: str) -> None:
    clean = commit(checkout)
    (checkout / file).parent.mkdir(exist_ok=True)
    (checkout / file).write_text("new\n")
    assert commit(checkout) == clean


def test_installed_within_a_repository_of_somebody_else_it_does_not_name_theirs(checkout: Path) -> None:
    installed = checkout / ".venv" / "lib" / "site-packages"
    (installed / "study").mkdir(parents=True)
    (installed / "study" / "manifest.py").write_text("")
    assert commit(installed) == "unknown"


def test_outside_a_repository_and_without_git_it_is_unknown(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert commit(tmp_path_factory.mktemp("elsewhere")) == "unknown"
    monkeypatch.setenv("PATH", str(checkout))
    assert commit(checkout) == "unknown"


def test_how_cuda_computes_in_float32_is_told_of_convolutions_and_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(torch.cuda, "is_tf32_supported", lambda: False)
    assert set(_float32_of_cuda().values()) == {"IEEE float32"}
    monkeypatch.setattr(torch.cuda, "is_tf32_supported", lambda: True)
    assert _float32_of_cuda() == {"convolutions": "TF32", "matrix products": "IEEE float32"}
    monkeypatch.setattr("study.device.has_winograd", lambda: True)
    cpu = torch.device("cpu")
    usual = hardware(cpu, "bfloat16")
    assert set(usual) == {"device", "name", "threads", "system"}
    assert hardware(cpu, None) == usual
    assert hardware(cpu, "float32") == {**usual, "convolutions": "Winograd"}
