"""A study as pandas tables."""

from __future__ import annotations

import pandas as pd

from fmnist_tune.study.decisions import decisions_of
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.sampling import values_of
from fmnist_tune.study.summary import state_name
from fmnist_tune.study.trial_data import history_of, metadata_of


def trials_frame(record: StudyRecord, *, is_running: bool) -> pd.DataFrame:
    """Return one row for each trial.

    Returns:
        Columns number, state, value (nan without one), epochs, every searched value by its dotted path (missing if
        unused), and the trial's metadata, such as duration_s and stop_reason.
    """
    rows = []
    for trial in record.trials:
        rows.append(
            {
                "number": trial.number,
                "state": state_name(trial, is_running=is_running),
                "value": trial.value,
                "epochs": len(trial.intermediate_values),
                **values_of(trial.params, record.space),
                **{key: value for key, value in metadata_of(trial).items() if key != "epochs"},
            }
        )
    fixed = ["number", "state", "value", "epochs", *(p.path for p in record.space.parameters)]
    frame = pd.DataFrame(rows, columns=list(dict.fromkeys([*fixed, *(key for row in rows for key in row)])))
    return frame.astype({"value": "float64"})


def curves_frame(record: StudyRecord) -> pd.DataFrame:
    """Return one row for each epoch of each trial.

    Returns:
        Columns trial, epoch, val_accuracy and, for ended trials or up to the latest rung, train_loss, train_accuracy,
        val_loss, lr, train_s, val_s and n_images.
    """
    rows = []
    for trial in record.trials:
        known = {result.epoch: vars(result) for result in history_of(trial)}
        for epoch, value in sorted(trial.intermediate_values.items()):
            rows.append({"trial": trial.number, **known.get(epoch, {}), "epoch": epoch, "val_accuracy": value})
    first = ["trial", "epoch", "val_accuracy"]
    return pd.DataFrame(rows, columns=list(dict.fromkeys([*first, *(key for row in rows for key in row)])))


def decisions_frame(record: StudyRecord) -> pd.DataFrame:
    """Return one row for each decision of freeze-thaw.

    Returns:
        Columns trial, epoch (0 where it was begun), rule and, where its model decided, median, low and high of the
        predicted end, horizon, seconds and gain.
    """
    rows = []
    for trial in record.trials:
        for decision in decisions_of(trial, record.space):
            known = vars(decision)
            end = {} if decision.end is None else vars(decision.end)
            rows.append({"trial": trial.number, **{key: known[key] for key in known if key != "end"}, **end})
    return pd.DataFrame(rows, columns=["trial", "epoch", "rule", "median", "low", "high", "horizon", "seconds", "gain"])
