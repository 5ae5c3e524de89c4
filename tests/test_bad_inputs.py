"""The quick rows of ``python -m tests.bad_inputs``, in this process, and one in a process of its own."""

import pytest

import study.run
from tests.bad_inputs import ROWS, Grounds, Outcome, Row, files, run

QUICK = [row for row in ROWS if row.quick]


@pytest.fixture(scope="module")
def grounds(tmp_path_factory: pytest.TempPathFactory) -> Grounds:
    return Grounds(tmp_path_factory.mktemp("grounds"))


@pytest.mark.parametrize("row", QUICK, ids=[row.input for row in QUICK])
def test_a_bad_input_gets_one_line_and_a_non_zero_exit_and_leaves_nothing(
    row: Row, grounds: Grounds, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = grounds.prepared(row, f"row{QUICK.index(row)}")
    before = files(folder)
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as ended:
        study.run.main(row.command())
    said, code = capsys.readouterr(), ended.value.code
    # A line instead of a code is what Python prints, and ends with 1.
    code, line = (code, "") if isinstance(code, int) else (1, f"{code}\n")
    outcome = Outcome(code, said.out, said.err + line, tuple(files(folder) - before))
    assert row.faults(outcome, folder) == [], outcome


def test_a_pipe_among_the_images_does_not_hang_the_command(grounds: Grounds) -> None:
    row = next(row for row in ROWS if row.input == "image: a pipe")
    folder = grounds.prepared(row, "pipe")
    outcome = run(row, folder)
    assert row.faults(outcome, folder) == [], outcome
