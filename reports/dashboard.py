"""Watch a study in optuna-dashboard: what it shows beyond its own panels, and the command that opens it.

python -m reports.dashboard                  opens the studies of runs/ on http://127.0.0.1:8080
python -m reports.dashboard --storage URL    those of another storage

While a study runs, ``reports.live`` keeps its notes and figures current, whether or not somebody watches.
"""

import argparse
import ipaddress
import json
import re
import socket
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna
import optuna_dashboard
from optuna.artifacts import FileSystemArtifactStore
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from reports.collect import collect
from reports.drawing import Figure
from reports.figures import FIGURES, OF_COMPARISON, OF_SEARCH
from reports.notes import comparison_note, rates_note, study_note, trial_note
from reports.results import Results, all_trials
from storage.artifacts import artifact_store
from storage.claims import ClaimLostError
from storage.errors import one_line_errors
from storage.folders import COMPARISON, RATES, RunsFolder
from storage.open_study import OpenStudy, open_study, read_study
from storage.optuna_internals import set_system_attribute, system_attributes, trial_id
from storage.study_storage import StorageError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

KEPT = "\n\n---\n*What is written below this line stays.*"
FIGURE_HEIGHT = 450  # pixels, fixed by the dashboard


# What is shown.


def refresh(opened: OpenStudy) -> None:
    """Write notes and figures of a study as it is now; nothing where another process is doing so.

    Raises:
        StorageError: where the storage or the study is not there.
        ClaimLostError, StorageInternalError, SQLAlchemyError: where the storage does not answer.
    """
    claim = f"{opened.name}-dashboard"
    if not opened.claims.try_claim(claim):
        return
    try:
        _, study, compared = opened.begun()
        results, running, runs = collect(opened), _running(study), _running(compared)
        shown = Shown(study)
        shown.set_note(study_note(results, running, runs))
        trials = {trial["number"]: trial for trial in all_trials(results)}
        for trial in study.get_trials(deepcopy=False):
            if trial.number in trials:
                note = trial_note(trials[trial.number], results["configuration"]["epochs"])
                shown.set_trial_note(trial, note)
        shown.set_figures(results, OF_SEARCH)
        shown = Shown(compared)
        shown.set_note(comparison_note(results, runs))
        shown.set_figures(results, OF_COMPARISON)
        if opened.rates is not None:
            Shown(opened.rates).set_note(rates_note(results, _running(opened.rates)))
    finally:
        opened.claims.release(claim)


def _running(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


class Shown:
    """Notes and figures of one study, where the dashboard looks for them.

    The dashboard's own ``save_note`` and ``save_plotly_graph_object`` cut a text into rows and write them one after
    the other: who reads in between, or after a kill, gets halves of two texts. The dashboard joins the rows that it
    finds, however long, so here a text is one row. What has not changed is not written.
    """

    def __init__(self, study: optuna.Study) -> None:
        self.study = study
        self.rows: dict[str, Any] = system_attributes(study)

    def set_note(self, text: str) -> None:
        """Write the study's note, with the time on top; what a person wrote below it, or instead of it, stays."""
        before = optuna_dashboard.get_note(self.study)
        _, kept, own = before.partition(KEPT)
        if before and not kept:
            own = f"\n\n{before}"
        rest = f"\n\n{text}{KEPT}{own}"
        if not before.endswith(rest):
            self._write_note("dashboard:", f"*As of {datetime.now():%Y-%m-%d %H:%M:%S}*{rest}")

    def set_trial_note(self, trial: FrozenTrial, text: str | None) -> None:
        """Write the note of a trial that ended, once: from then on it is the person's."""
        prefix = f"dashboard:{trial_id(trial)}:"
        if text is not None and f"{prefix}note_ver" not in self.rows:
            self._write_note(prefix, text)

    def set_figures(self, results: Results, figures: Iterable[Figure]) -> None:
        """Draw the figures that have a panel and store each under its name."""
        for declared in figures:
            figure = declared.draw(results) if declared.panel is not None else None
            if figure is not None:
                if figure.layout.height > FIGURE_HEIGHT:
                    # Panels are lower here than in the report: inner ticks would lie under the titles.
                    figure.for_each_xaxis(lambda axis: axis.update(showticklabels=axis.title.text is not None))
                figure.update_layout(
                    template="kd_study_clear",
                    title={"text": declared.panel, "x": 0.02, "y": 0.97, "font_size": 15},
                    # Below: on a phone a legend has several lines, which would cover the title.
                    legend={"yref": "container", "y": 0.01, "yanchor": "bottom"},
                    margin_t=70,
                    height=FIGURE_HEIGHT,
                )
                self._write(f"dashboard:plot_data:{declared.name}:", figure.to_json())

    def _write_note(self, prefix: str, text: str) -> None:
        self._write(f"{prefix}note_str:", text)
        # The dashboard refuses a person's edit of a version that is not the last.
        self._set(f"{prefix}note_ver", self.rows.get(f"{prefix}note_ver", 0) + 1)

    def _write(self, prefix: str, text: str) -> None:
        self._set(f"{prefix}0", text)
        for key in [key for key in self.rows if key.startswith(prefix) and key != f"{prefix}0"]:
            self._set(key, "")

    def _set(self, key: str, value: str | int) -> None:
        if self.rows.get(key) != value:
            set_system_attribute(self.study, key, value)
            self.rows[key] = value


# Where it is shown.


STYLE = """
p.MuiTypography-body1 { white-space: normal; overflow-wrap: anywhere; max-height: 7.5em; overflow-y: auto; }
td.MuiTableCell-body { overflow-wrap: anywhere; }
@media (max-width: 700px) {
  main { min-width: 0; }
  .MuiGrid-container > .MuiGrid-root { flex-basis: 100%; max-width: 100%; }
}
""" + "\n".join(
    f".MuiGrid-container > :has([id='user-defined-plot:{figure.name}']) {{ order: {rank - 100}; }}"
    for rank, figure in enumerate(FIGURES)
)


def _styled(application: "WSGIApplication") -> "WSGIApplication":
    """The dashboard, with attributes that wrap, our figures in their order, and one column on a phone.

    By itself it writes each attribute on one line, so that a curve makes a page screens wide, and shows figures in
    the order of a Python set, another one in each process.
    """

    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if not environ["PATH_INFO"].startswith("/dashboard"):
            return application(environ, start_response)
        environ.pop("HTTP_IF_MODIFIED_SINCE", None)
        started: list[Any] = []
        page = application(environ, lambda *arguments: started.extend(arguments))  # type: ignore[arg-type]
        body = b"".join(page).replace(b"</head>", f"<style>{STYLE}</style></head>".encode())
        headers = [header for header in started[1] if header[0].lower() != "content-length"]
        start_response(started[0], [*headers, ("Content-Length", str(len(body)))])
        return [body]

    return answer


def _leaving_work_alone(application: "WSGIApplication", storage: RDBStorage, url: str) -> "WSGIApplication":
    """The dashboard, which deletes no study that a living process works on, and changes nothing else of ours.

    That one would go on writing, and in SQLite maybe into a newer study, whose trials have the same keys by then. A new
    name would part a study from its comparison, and a trial that is told to have failed from who trains it.
    """

    def refused(start_response: "StartResponse", reason: str) -> list[bytes]:
        body = json.dumps({"reason": reason}).encode()
        start_response("409 Conflict", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        # Bottle takes a path with a slash at its end as one without.
        request = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO'].rstrip('/')}"
        meant = re.fullmatch(
            r"DELETE /api/studies/(?P<study>\d+)|POST /api/studies/(?P<renamed>\d+)/rename|"
            r"POST /api/trials/(?P<told>\d+)/tell",
            request,
        )
        if meant is None:
            return application(environ, start_response)
        name = _study_of_trial(storage, int(meant["told"])) if meant["told"] else None
        if not meant["told"]:
            with suppress(KeyError):
                name = storage.get_study_name_from_id(int(meant["study"] or meant["renamed"]))
        if name is None:
            return application(environ, start_response)
        try:
            with open_study(url, name.removesuffix(COMPARISON).removesuffix(RATES)) as opened:
                if not meant["study"] and opened.description is not None:
                    reason = "a trial of study.run ends by itself, or the same command goes on with it"
                    if meant["renamed"]:
                        reason = f"the comparison, checkpoints and report of {opened.name!r} go by its name"
                    return refused(start_response, reason)
                with opened.alone():
                    return [b"".join(application(environ, start_response))]
        except (StorageError, ClaimLostError) as error:
            return refused(start_response, str(error))

    return answer


def _study_of_trial(storage: RDBStorage, number: int) -> str | None:
    for name in optuna.get_all_study_names(storage):
        trials = storage.get_all_trials(storage.get_study_id_from_name(name), deepcopy=False)
        if any(trial_id(trial) == number for trial in trials):
            return name
    return None


def is_own_name(header: str, host: str, port: int) -> bool:
    """Whether a request's Host is one that the dashboard was started for.

    Another site's name that was made to lead here could delete studies through a visitor's browser (DNS rebinding).
    That needs a name: who listens at every address also answers to any address in numbers.

    Args:
        header: name and port as the request has them.
        host, port: where it listens.
    """
    try:
        asked = urlsplit(f"//{header}")
        name, at = asked.hostname or "", asked.port or 80
    except ValueError:
        return False
    names = {"127.0.0.1", "localhost", "::1", host.lower()}
    if host in ("", "0.0.0.0", "::"):
        names |= {socket.gethostname().lower(), name if _is_address(name) else "localhost"}
    return name in names and at == port


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _for_own_names(application: "WSGIApplication", host: str, port: int) -> "WSGIApplication":
    """The application, for requests to its own names; others get one line."""

    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if is_own_name(environ.get("HTTP_HOST", ""), host, port):
            return application(environ, start_response)
        line = (
            f"this dashboard answers to {_address(host, port)} alone; both ends of a tunnel want that port (--port), "
            "and another name wants --host NAME\n"
        )
        start_response("403 Forbidden", [("Content-Type", "text/plain"), ("Content-Length", str(len(line.encode())))])
        return [line.encode()]

    return answer


class _Server(ThreadingMixIn, WSGIServer):
    # Browsers open connections in advance: a server with one thread would wait for what is said on them.
    daemon_threads = True


class _ServerOfIPv6(_Server):
    address_family = socket.AF_INET6


class _QuietHandler(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Not printed: an open page asks every few seconds."""


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m reports.dashboard",
        description="Open optuna-dashboard on the studies of a runs folder.",
        allow_abbrev=False,
    )
    parser.add_argument("--runs-dir", type=Path, metavar="DIR", help="(default: runs)")
    parser.add_argument("--storage", metavar="URL", help="Optuna storage (default: sqlite:///RUNS_DIR/study.db)")
    parser.add_argument(
        "--host", default="127.0.0.1", help="whoever reaches it may change and delete studies (default: 127.0.0.1)"
    )
    parser.add_argument("--port", type=int, default=8080, help="(default: 8080)")
    options = parser.parse_args(arguments)
    with one_line_errors():
        serve(options)


def serve(options: argparse.Namespace) -> None:
    """Serve the dashboard until Ctrl-C.

    Raises:
        StorageError: where the storage is not there, or nothing can listen at the address.
    """
    url = options.storage or RunsFolder(options.runs_dir or Path("runs")).url
    # To be looked at: an export that is looked at stays as it is, and may be written to all the same.
    with read_study(url, "") as opened:
        _serve(opened.require_storage(), url, options)


def _artifacts(url: str, runs_dir: Path | None) -> FileSystemArtifactStore | None:
    """Of the storage of a runs folder, or of a folder that was given for another.

    Beside a copy of a study lie the artifacts of its original, which would go with a copy that is deleted.
    """
    runs = RunsFolder(runs_dir or Path("runs"))
    return artifact_store(runs.artifacts) if runs_dir is not None or runs.holds(url) else None


def _serve(storage: RDBStorage, url: str, options: argparse.Namespace) -> None:
    application = _styled(optuna_dashboard.wsgi(storage, artifact_store=_artifacts(url, options.runs_dir)))
    application = _leaving_work_alone(application, storage, url)
    try:
        kind = _ServerOfIPv6 if ":" in options.host else _Server
        server = make_server(options.host, options.port, application, kind, _QuietHandler)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StorageError(f"{options.host}:{options.port}: {reason}; give another --port or --host") from None
    server.set_app(_for_own_names(application, options.host, server.server_port))
    print(f"{_address(options.host, server.server_port)}dashboard (Ctrl-C ends it)", flush=True)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
