"""`dashboard`."""

from __future__ import annotations

import argparse
import errno
import json
import re
import signal
import socketserver
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna.storages import RDBStorage
from optuna_dashboard import wsgi

from fmnist_tune.cli import EXIT_OK
from fmnist_tune.cli.store import storage_url
from fmnist_tune.errors import UserError
from fmnist_tune.escaping import printable
from fmnist_tune.study.comparison import retraining_cell
from fmnist_tune.study.dashboard import artifact_store, publish_report
from fmnist_tune.study.database import open_database
from fmnist_tune.study.importances import importances_of
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.lease import holders
from fmnist_tune.study.lock import is_running
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.retraining import retraining_status
from fmnist_tune.study.summary import count_states
from fmnist_tune.study.url import without_secrets

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

HOST = "127.0.0.1"  # local only, since anyone who reaches the dashboard can delete studies
OWN_NAMES = (HOST, "localhost")
SHOWN_TYPES = re.compile(r"(?:image|audio|video)/[\w.+-]+|text/(?:plain|csv)(?:; *charset=[\w-]+)?|application/json")


def dashboard(arguments: argparse.Namespace, started: float) -> int:
    """Show the studies in a browser until Ctrl-C."""
    storage = open_database(storage_url(arguments), create=False)
    app = wsgi(storage, artifact_store=artifact_store(arguments.studies_dir))
    app = OwnImportances(app, storage, arguments.studies_dir)
    with _listen(_Guard(app, storage, arguments.studies_dir), arguments.port) as server:
        url = f"http://{HOST}:{server.server_port}/dashboard"
        rows = [
            _publish(storage, arguments, name) | {"url": f"{url}/studies/{number}"}
            for number, name in sorted(
                (storage.get_study_id_from_name(study.study_name), study.study_name)
                for study in storage.get_all_studies()
            )
        ]
        for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background job would ignore SIGINT
            signal.signal(number, signal.default_int_handler)
        try:
            if arguments.json:
                shown = without_secrets(storage_url(arguments))
                print(json.dumps({"url": url, "storage": shown, "studies": rows}), flush=True)
            print(f"dashboard: {url} (Ctrl-C ends it)", file=sys.stderr)
            for row in rows:
                print(printable(f"  {row['study']}: {row['status']}, {row['url']}"), file=sys.stderr)
            sys.stderr.flush()
            server.serve_forever()
        except KeyboardInterrupt:
            return EXIT_OK
    return EXIT_OK


def _publish(storage: RDBStorage, arguments: argparse.Namespace, name: str) -> dict[str, Any]:
    """Update a study's note, unless it is being searched; return its status."""
    try:
        paths = StudyPaths(arguments.studies_dir, name, arguments.storage)
        record = StudyRecord.load(storage, paths)
        is_running = record.is_running
        counts = count_states(record.trials, is_running=is_running)
        status = f"{counts['total']} of {record.quota.n_target} trials, {counts['pruned']} pruned"
        if record.is_recipe:
            status = f"recipe, {retraining_cell(record, retraining_status(record, is_running=is_running))}"
        if is_running:
            return {"study": name, "status": status if record.is_recipe else f"{status}, being searched"}
        publish_report(record)
    except UserError as error:  # another program's study, or a search that has just started
        return {"study": name, "status": f"without a note: {error}"}
    return {"study": name, "status": status}


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a browser that did not wait for the answer
            super().handle_error(request, client_address)


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Do not log requests; errors in the dashboard have a traceback."""


def _listen(app: WSGIApplication, port: int) -> _Server:
    try:
        return make_server(HOST, port, app, _Server, _Handler)
    except OSError as error:
        reason = "already in use" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        raise UserError(f"--port {port}: {reason}; give another one, or --port 0 for any free one") from None


class OwnImportances:
    """Replaces optuna-dashboard's importances by the study's.

    optuna-dashboard uses COMPLETE trials only, which are few in a search with a pruner: the best tenth is often a
    single trial. Studies of other programs keep its importances.
    """

    def __init__(self, app: WSGIApplication, storage: RDBStorage, studies_dir: Path) -> None:
        self._app = app
        self._storage = storage
        self._studies_dir = studies_dir

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        asked = re.fullmatch(r"/api/studies/(\d+)/param_importances", environ["PATH_INFO"])
        importances = None if asked is None else self._importances(int(asked[1]))
        if importances is None:
            return self._app(environ, start_response)
        content = json.dumps({"param_importances": [importances]}).encode()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(content)))])
        return [content]

    def _importances(self, study_id: int) -> list[dict[str, Any]] | None:
        """Return a study's importances in optuna-dashboard's format, an empty list for too few trials.

        None if the study is another program's, or does not exist.
        """
        try:
            name = self._storage.get_study_name_from_id(study_id)
            record = StudyRecord.load(self._storage, StudyPaths(self._studies_dir, name)).snapshot()
        except (KeyError, UserError):
            return None
        importances = importances_of(record)
        if importances is None:
            return []
        kinds = {path: type(kind).__name__ for t in record.trials for path, kind in t.distributions.items()}
        return [
            {"name": path, "importance": share, "distribution": kinds[path]}
            for path, share in importances.shares.items()
        ]


class _Guard:
    """Blocks requests to the dashboard that could do harm by accident or from another page.

    The dashboard itself only checks a request's origin, which a page can forge with a name that resolves to 127.0.0.1.
    And a search would not survive the deletion of its study, or another program ending one of its trials.
    """

    def __init__(self, app: WSGIApplication, storage: RDBStorage, studies_dir: Path) -> None:
        self._app = app
        self._storage = storage
        self._studies_dir = studies_dir

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        host = environ.get("HTTP_HOST", "")
        if host.partition(":")[0] not in OWN_NAMES:
            return _refuse(start_response, "403 Forbidden", f"{host!r} is not this machine; use {HOST} or localhost")
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD") and not environ["PATH_INFO"].endswith("/note"):
            searched = self._searched()
            if searched:
                reason = f"{', '.join(searched)}: being searched; until that ends only notes can be changed"
                return _refuse(start_response, "409 Conflict", reason)
        is_artifact = environ["PATH_INFO"].startswith("/artifacts/")
        return self._app(environ, _inert(start_response) if is_artifact else start_response)

    def _searched(self) -> list[str]:
        """Return the running studies, driven from here or, according to the database, from elsewhere."""
        names = {lock.parent.name for lock in self._studies_dir.glob("*/driver.lock")}
        names |= holders(self._storage.engine).keys()
        return [name for name in sorted(names) if self._is_running(name)]

    def _is_running(self, name: str) -> bool:
        try:
            return is_running(StudyPaths(self._studies_dir, name), self._storage.engine)
        except UserError:  # a folder whose name cannot name a study
            return False


def _inert(start_response: StartResponse) -> StartResponse:
    """Prevent an artifact's response from executing anything: its declared type cannot be trusted."""

    def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
        known = {name.lower(): value for name, value in headers}
        if not SHOWN_TYPES.fullmatch(known.get("content-type", "")):
            known |= {"content-type": "application/octet-stream", "content-disposition": "attachment"}
        known |= {"x-content-type-options": "nosniff", "content-security-policy": "sandbox; default-src 'none'"}
        return start_response(status, list(known.items()), *rest)

    return start


def _refuse(start_response: StartResponse, status: str, reason: str) -> list[bytes]:
    start_response(status, [("Content-Type", "application/json")])
    return [json.dumps({"reason": reason}).encode()]
