"""Build the report of a study from what is stored, or check published reports against their results.

python -m reports.build                               every study of runs/study.db, each into runs/<study>/
python -m reports.build --study quick --output DIR    one study, into another folder
python -m reports.build --render DIR [DIR ...]        draw reports anew from the results.json that lie there
python -m reports.build --check [DIR ...]             exit 1 where a report is not what its results.json gives

A folder holds results.json, trials.csv, report.md, report.html and figures/*.png. The page is for reading at once; it
is built, not published. Where study.db lies beside them, as ``reports.export`` writes it, results.json is checked too.
"""

import argparse
import asyncio
import hashlib
import io
import json
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from reports import markdown, page
from reports.collect import collect
from reports.figures import figures
from reports.results import Results, ResultsError, all_trials, read_results
from storage.errors import PlainError, one_line_errors
from storage.files import write_whole
from storage.folders import RunsFolder
from storage.open_study import read_study
from storage.study_storage import StorageError, sqlite_url

PUBLISHED = Path(__file__).parent / "published"
WIDTH, SCALE = 800, 2
SECONDS_TO_DRAW = 180
FINGERPRINT = "figure-sha256"


class NoBrowserError(Exception):
    """Figures cannot be drawn as PNG here; the message says why in one line."""


class ForeignFileError(PlainError):
    """A file has the name of one of a report and is not of this one; it is left as it is."""


def write_report(results: Results, folder: Path) -> None:
    """Write results and everything that is drawn from them; PNG figures only where a browser can draw them.

    Raises:
        ForeignFileError: as ``draw_report``, or where the folder has results of a study of another name; nothing is
            written then.
        OSError: where the folder cannot be written.
    """
    _leave_other_results(results, folder / "results.json")
    draw_report(results, folder)
    write_whole(as_json(results), folder / "results.json")


def _leave_other_results(results: Results, file: Path) -> None:
    """Refuse to write over another study's results, and say where those of one of the same name are replaced."""
    try:
        there = read_results(file)
    except (FileNotFoundError, ResultsError):
        return
    if there["study"] != results["study"]:
        raise ForeignFileError(f"{file}: of another study, {there['study']!r}; move it away or give another --output")
    if there["manifest"]["starts"][:1] != results["manifest"]["starts"][:1]:
        print(f"{file}: was of another study of that name, and is replaced")


def draw_report(results: Results, folder: Path) -> None:
    """Write all of a report but its ``results.json``.

    Raises:
        ForeignFileError: where a figure's name is taken by a file that was not drawn here.
        OSError: where the folder cannot be written.
    """
    drawn = figures(results)
    shown = write_figures(drawn, folder / "figures")
    write_whole(trials_table(results).encode(), folder / "trials.csv")
    # A command may name a path that is no UTF-8.
    write_whole(markdown.render(results, shown).encode(errors="backslashreplace"), folder / "report.md")
    write_whole(page.render(results, drawn).encode(errors="backslashreplace"), folder / "report.html")


def write_figures(drawn: Mapping[str, go.Figure], folder: Path) -> Collection[str]:
    """Draw as PNG what was not drawn from the same before, and remove figures of other results.

    Files that were not drawn here stay.

    Returns:
        The names of the figures that lie there now.
    """
    refuse_foreign(drawn, folder)
    before = {path.stem: stored for path in folder.glob("*.png") if (stored := _stored_fingerprint(path)) is not None}
    missing = {name: figure for name, figure in drawn.items() if before.get(name) != fingerprint(figure)}
    images: dict[str, bytes] = {}
    try:
        images = asyncio.run(draw(missing)) if missing else {}
    except NoBrowserError as error:
        kept = len(drawn) - len(missing)
        instead = f"but for {kept} drawn before" if kept else "the page has them all the same"
        print(f"no PNG figures, {instead}: {error}", file=sys.stderr)
    for name, image in images.items():
        write_whole(image, folder / f"{name}.png")
    shown = [name for name in drawn if name in images or name not in missing]
    for name in before.keys() - set(shown):
        (folder / f"{name}.png").unlink(missing_ok=True)  # another build may be about the same
    return shown


def refuse_foreign(drawn: Mapping[str, go.Figure], folder: Path) -> None:
    """Raise ``ForeignFileError`` where a figure's name is taken by a file that was not drawn here."""
    for path in (folder / f"{name}.png" for name in drawn):
        if path.exists() and _stored_fingerprint(path) is None:
            raise ForeignFileError(f"{path}: is no figure of a report; move it away or give another --output")


def as_json(results: Results) -> bytes:
    """The content of results.json."""
    return json.dumps(results, indent=1).encode()


def trials_table(results: Results) -> str:
    """All trials of the search as CSV; the value of a trial that is not complete is empty."""
    columns = ["sampler", "number", "alpha", "temperature", "state", "value", "epochs", "repeats", "seconds", "reason"]
    rows = all_trials(results)
    table = pd.DataFrame(rows, columns=columns).astype({"number": "Int64", "epochs": "Int64", "repeats": "Int64"})
    return str(table.to_csv(index=False, lineterminator="\n"))


def fingerprint(figure: go.Figure) -> str:
    """What a PNG was drawn from, as a hash that does not change with the last bits of a number."""
    rounded = json.loads(figure.to_json(), parse_float=lambda number: float(f"{float(number):.9g}"))
    content = json.dumps(rounded, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


async def draw(drawn: Mapping[str, go.Figure]) -> dict[str, bytes]:
    """Each figure as PNG with its fingerprint inside, by one start of the browser.

    ``kaleido.start_sync_server`` is not used: without a browser it waits for ever.

    Raises:
        NoBrowserError: where kaleido, its browser or both are missing or do not work.
    """
    try:
        import kaleido
        from choreographer.errors import DevtoolsProtocolError
        from kaleido.errors import BrowserClosedError, BrowserFailedError, ChromeNotFoundError, KaleidoError
    except ImportError:
        raise NoBrowserError("kaleido is not installed (pip install kaleido)") from None
    images = {}
    try:
        async with asyncio.timeout(SECONDS_TO_DRAW), kaleido.Kaleido(n=1, mathjax=False) as browser:
            for name, figure in drawn.items():
                size = {"format": "png", "width": WIDTH, "height": figure.layout.height, "scale": SCALE}
                images[name] = _with_fingerprint(await browser.calc_fig(figure, opts=size), fingerprint(figure))
    except ChromeNotFoundError:
        raise NoBrowserError("no Chromium or Chrome found (kaleido_get_chrome installs one)") from None
    except (
        *(BrowserClosedError, BrowserFailedError, DevtoolsProtocolError, KaleidoError),
        *(OSError, RuntimeError, TimeoutError),  # what choreographer says of a browser that went away
    ) as error:
        raise NoBrowserError(f"the browser does not work ({type(error).__name__})") from None
    return images


def _with_fingerprint(image: bytes, value: str) -> bytes:
    text, buffer = PngInfo(), io.BytesIO()
    text.add_text(FINGERPRINT, value)
    Image.open(io.BytesIO(image)).save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()


def differences(folder: Path) -> list[str]:
    """In what a report differs from its own results.json, and that from its study.db if any, one line each.

    The page is not looked at.
    """
    try:
        stored = (folder / "results.json").read_bytes()
        results = read_results(folder / "results.json")
    except (OSError, ResultsError) as error:
        return [f"{folder / 'results.json'}: cannot be read ({error})"]
    drawn = figures(results)
    images = {
        path.stem: path
        for path in sorted((folder / "figures").glob("*.png"))
        if path.stem in drawn or _stored_fingerprint(path) is not None
    }
    found = [f"{images[name]}: not a figure of these results" for name in images.keys() - drawn.keys()]
    if images:
        for name, figure in drawn.items():
            if name not in images:
                found.append(f"{folder / 'figures' / name}.png: missing")
            elif _stored_fingerprint(images[name]) != fingerprint(figure):
                found.append(f"{images[name]}: drawn from other results")
    expected = {
        "report.md": markdown.render(results, drawn if images else ()),
        "trials.csv": trials_table(results),
    }
    for name, content in expected.items():
        path = folder / name
        if not path.exists():
            found.append(f"{path}: missing")
        elif path.read_bytes() != content.encode(errors="backslashreplace"):
            found.append(f"{path}: not what results.json gives")
    return sorted([*found, *_differences_from_database(folder, results["study"], stored)])


def _differences_from_database(folder: Path, study_name: str, stored: bytes) -> list[str]:
    """Whether ``stored`` is what the database beside it gives, where there is one."""
    database = folder / "study.db"
    if not database.exists():
        return []
    try:
        with read_study(sqlite_url(database), study_name) as opened:
            same = as_json(collect(opened)) == stored
    except StorageError as error:
        return [f"{database}: {error}"]
    return [] if same else [f"{folder / 'results.json'}: not what study.db gives"]


def _stored_fingerprint(path: Path) -> str | None:
    try:
        with Image.open(path) as image:
            return image.info.get(FINGERPRINT)
    except OSError:
        return None


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m reports.build",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--runs-dir", type=Path, metavar="DIR", help="(default: runs)")
    parser.add_argument("--storage", metavar="URL", help="Optuna storage (default: sqlite:///RUNS_DIR/study.db)")
    parser.add_argument("--study", metavar="NAME", help="(default: every study there)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="needs --study (default: RUNS_DIR/STUDY)")
    parser.add_argument(
        "--render", type=Path, nargs="+", metavar="DIR", help="only draw these reports anew from their results.json"
    )
    parser.add_argument(
        "--check", type=Path, nargs="*", metavar="DIR",
        help="only compare these reports with their results.json (default: all of reports/published)",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    if options.output is not None and options.study is None:
        parser.error("--output needs --study")
    of_storage = [options.study, options.storage, options.runs_dir, options.output]
    if (options.check is not None or options.render is not None) and any(of_storage):
        parser.error(
            "--check and --render take folders of reports, and neither --study, --storage, --runs-dir nor --output"
        )
    if None not in (options.storage, options.runs_dir, options.output):
        parser.error("--runs-dir has no effect beside --storage and --output, leave it out")
    if options.check is not None and options.render is not None:
        parser.error("--check and --render: give one of them")
    with one_line_errors():
        if options.check is not None:
            check(options.check or sorted(path for path in PUBLISHED.glob("*") if path.is_dir()))
        elif options.render is not None:
            render(options.render)
        else:
            build(options)


def render(folders: list[Path]) -> None:
    """Draw reports anew from their stored results, which stay as they are."""
    for folder in folders:
        if not (folder / "results.json").is_file():
            raise ResultsError(f"{folder}: holds no results.json, give the folder of a report")
        draw_report(read_results(folder / "results.json"), folder)
        print(folder / "report.md")


def check(folders: list[Path]) -> None:
    """Exit with 1 and a line for each difference where a report is not what its results give."""
    if not folders:
        raise ResultsError("no published reports here: give --check the folders of reports")
    found = [line for folder in folders for line in differences(folder)]
    if found:
        sys.exit("\n".join(found))
    print(f"{len(folders)} published report(s) match their results")


def build(options: argparse.Namespace) -> None:
    """Build the report that the options name, or every one that can be built; exit with 1 where one could not."""
    runs, failed = RunsFolder(options.runs_dir or Path("runs")), 0
    with read_study(options.storage or runs.url, options.study or "") as opened:
        if options.study is None and opened.storage is None:
            opened.begun()  # says what is missing
        names = [options.study] if options.study else opened.names()
        if not names:
            print("no study yet; python -m study.run begins one")
        for name in names:
            folder = options.output or runs.report(name)
            try:
                write_report(collect(opened.sibling(name)), folder)
            except PlainError as error:
                print(f"error: {error}", file=sys.stderr)
                failed = error.exit_code
            else:
                print(folder / "report.md", flush=True)
    if failed:
        sys.exit(failed)


if __name__ == "__main__":
    main()
