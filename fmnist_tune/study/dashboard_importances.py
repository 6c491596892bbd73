"""The importances on the dashboard's first page: those that every other place tells of the study."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.storages import RDBStorage

from fmnist_tune.errors import UserError
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.summary import importances_of

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


class OwnImportances:
    """optuna-dashboard with the study's importances instead of its own.

    Its own weigh the COMPLETE trials alone, of which a search with a pruner has few: the best tenth of them, often a
    single trial. Studies of other programs keep those.
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
        """Return a study's importances as optuna-dashboard has them, none while there are too few trials.

        None if the study is another program's, or there is none of this number.
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
