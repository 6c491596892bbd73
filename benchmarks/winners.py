"""The search spaces that continue the reports, each searched and its winner confirmed: `python -m benchmarks.winners`.

Runs `fmnist-tune search SPACE` and `fmnist-tune retrain STUDY --seeds n`, and writes docs/case-studies/winners.md. A
study that ended at its timeout goes on, one that has all of its trials does not; what is not run yet is a row that says
so.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.recipes import ROOT, machine, measured_when, percent, run_command, table
from benchmarks.systems import SYSTEMS
from fmnist_tune.config import load_space
from fmnist_tune.evaluation import share_spread
from fmnist_tune.study.database import database_url, open_database, study_exists
from fmnist_tune.study.layout import StudyPaths, write_atomically
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.sampling import values_of
from fmnist_tune.study.trial_data import history_of

SPACES = {"a-mlp": "A", "b-cnn": "B", "d-batch-size": "D", "e-cnn": "E"}

TEXT = """\
# The winners of the spaces that continue the reports

Written by `python -m benchmarks.winners`; `--only NAME ...` runs some of them and keeps the other rows.
Measured {measured}, the page written on {where}.

Each of these spaces in `search_spaces/` continues a report ([systems.md](systems.md)).
`fmnist-tune search` searched it, without the test set.
`fmnist-tune retrain STUDY --seeds n` then trained its best trial on all 60,000 images and scored each seed's model on
the test set once.

- *Test* is the mean over the n seeds with the 95 % interval of that mean.
- *Ours - report* is in points, against the report's best figure, which is one run's.
- *Tested* is how many retrainings opened the test set. It is more than one where the search continued and its new
  winner was retrained too.
- *Core minutes* is the training and validation of all trials, each on one core.

E's report gives no figure; its recipe as it stands is a row of [systems.md](systems.md).

{winners}

What won:

{values}
"""


def best_reported(report: str) -> float | None:
    """Return the highest test accuracy of a report, such as "A", in per cent; None where it gives none."""
    return max((value for s in SYSTEMS if s.what.startswith(f"{report}:") for value in s.reported), default=None)


def winner_row(space: str, record: StudyRecord | None) -> list[str]:
    """Return a space's cells of the table.

    Args:
        space: its file's name.
        record: its study; None if it is yet to be searched.
    """
    reported = best_reported(SPACES[space])
    head = [f"[{space}](../../search_spaces/{space}.yaml)", "none" if reported is None else f"{reported:.2f}"]
    if record is None or record.best is None or record.best.value is None:
        return [*head, "not run yet", "", "", "", "", "", ""]
    counts = Counter(trial.state.name.lower() for trial in record.trials)
    trials = f"{len(record.trials)} ({', '.join(f'{n} {state}' for state, n in counts.items())})"
    searched = [*head, trials, f"{epochs_s(record) / 60:.0f}", f"{100 * record.best.value:.2f}"]
    metrics = record.retraining.result
    if metrics is None or metrics["trial"] != record.best.number:
        return [*searched, "not retrained yet", "", "", ""]
    figure = share_spread(metrics["test_accuracy"]["values"])
    lead = "" if reported is None else f"{100 * figure.mean - reported:+.2f}"
    return [*searched, percent(figure), str(len(figure.values)), str(len(record.retraining.test_uses)), lead]


def epochs_s(record: StudyRecord) -> float:
    """Return the seconds in the epochs of a study's trials."""
    return float(sum(epoch.train_s + epoch.val_s for trial in record.trials for epoch in history_of(trial)))


def winner_values(record: StudyRecord) -> str:
    """Return the searched values of a study's best trial, on one line."""
    values: dict[str, Any] = {} if record.best is None else values_of(record.best.params, record.space)
    return ", ".join(f"`{k}` {f'{v:.3g}' if isinstance(v, float) else v}" for k, v in values.items())


def page(records: dict[str, StudyRecord], where: str) -> str:
    """Return docs/case-studies/winners.md.

    Args:
        records: the study of each space that was searched.
        where: the machine.
    """
    columns = ["space", "report, %", "trials", "core minutes", "validation, %", "test, % [95 % interval]", "n"]
    columns += ["tested", "ours - report"]
    rows = [winner_row(space, records.get(space)) for space in SPACES]
    values = [f"- {space}, trial {r.best.number}: {winner_values(r)}" for space, r in records.items() if r.best]
    return TEXT.format(
        measured=measured_when([record.retraining.result for record in records.values() if record.retraining.result]),
        where=where,
        winners=table(columns, rows),
        values="\n".join(values),
    )


def _records(spaces: Path, studies_dir: Path) -> dict[str, StudyRecord]:
    url = database_url(studies_dir)
    names = {space: load_space(spaces / f"{space}.yaml").settings.study for space in SPACES}
    return {
        space: StudyRecord.load(open_database(url, create=False), StudyPaths(studies_dir, name))
        for space, name in names.items()
        if study_exists(url, name)
    }


def main(argv: list[str] | None = None) -> None:
    """Search and retrain, and write the page after every space."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="each winner is trained with the seeds 0 to SEEDS - 1 (3)")
    parser.add_argument("--timeout", help="of each search, instead of its file's")
    parser.add_argument(
        "--only", nargs="*", choices=SPACES, default=list(SPACES), metavar="NAME", help="run these alone"
    )
    parser.add_argument("--studies-dir", type=Path, default=Path("studies"), metavar="DIR")
    parser.add_argument("--data-dir", type=Path, metavar="DIR")
    parser.add_argument("--spaces", type=Path, default=ROOT / "search_spaces", metavar="DIR")
    parser.add_argument(
        "--page", type=Path, default=ROOT / "docs" / "case-studies" / "winners.md", help="what is written"
    )
    arguments = parser.parse_args(argv)
    place = ["--studies-dir", str(arguments.studies_dir)]
    place += [] if arguments.data_dir is None else ["--data-dir", str(arguments.data_dir)]
    limit = [] if arguments.timeout is None else ["--timeout", arguments.timeout]
    for space in SPACES:
        if space in arguments.only:
            path = arguments.spaces / f"{space}.yaml"
            run_command("search", str(path), *limit, *place)
            run_command("retrain", load_space(path).settings.study, "--seeds", str(arguments.seeds), *place)
            write_atomically(arguments.page, page(_records(arguments.spaces, arguments.studies_dir), machine()))
    write_atomically(arguments.page, page(_records(arguments.spaces, arguments.studies_dir), machine()))


if __name__ == "__main__":
    main()
