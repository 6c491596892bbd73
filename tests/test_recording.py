"""A space is recorded as a table of learning curves, which is searched like any other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.engine.record import LOOKS, main, table_of, write
from benchmarks.engine.systems import SYSTEMS
from benchmarks.engine.tables import load_tables
from fmnist_tune.config import load_space
from fmnist_tune.search.simulation import Curve, Simulation
from fmnist_tune.study.sampling import values_of
from tests.studies import SPACE, open_study

ENGINE = Path(__file__).parent.parent / "benchmarks" / "engine"
RECORDED = SPACE.replace("{name: asha, reduction_factor: 2}", "{name: 'benchmarks.engine.record:EveryLook'}")


def curve(number: int, values: Mapping[str, Any]) -> Curve:
    level = 0.9 - 0.05 * abs(math.log10(values["training.optimizer.lr"]) + 2.5)
    return Curve([level - 0.2 / (epoch + 1) for epoch in range(1, 5)], 10.0, dict.fromkeys(LOOKS, level - 0.4))


def test_a_recorded_table_has_the_curves_of_its_study_and_is_searched(tmp_path: Path) -> None:
    record = open_study(tmp_path, RECORDED, search__trials=30)
    Simulation(record, curve, n_workers=2).run()
    table = write(tmp_path / "own-s.json", *table_of(record, "a test"))
    assert table.looks == LOOKS
    assert (table.epochs, table.full_training_s) == (4, 40)
    assert [(p.path, p.when) for p in table.parameters] == [(p.path, p.when) for p in record.space.parameters]
    for trial in record.trials:
        values = values_of(trial.params, record.space)
        found, expected = table.source.curve(values), curve(trial.number, values)
        assert found.accuracy == pytest.approx(expected.accuracies, abs=1e-6)
        assert found.looks == pytest.approx(dict(expected.partial))
        assert found.epoch_s == 10
    outcome = SYSTEMS["default"].search(table, time_s=200.0, n_workers=2, seed=0)
    assert outcome.n_trials > 3
    assert outcome.regret[1.0] < outcome.regret[0.1]


def test_the_tables_of_our_own_spaces_are_of_the_spaces_as_they_are() -> None:
    tables = load_tables(ENGINE / "own_tables")
    assert [table.name for table in tables] == ["own-cnn", "own-mlp"]
    for table in tables:
        space = load_space(ENGINE / "spaces" / f"{table.name.removeprefix('own-')}.yaml", {"study": "s"})
        assert [(p.path, str(p.domain)) for p in table.parameters] == [
            (p.path, str(p.domain)) for p in space.parameters
        ]
        assert table.looks == LOOKS
        assert table.median_final < table.best < 0.9


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["absent.yaml", "--output", "x"], "absent.yaml: no such file"),
        (["s.yaml", "--output", "x", "--configurations", "9"], "--configurations 9: a table needs at least 10"),
    ],
)
def test_what_cannot_be_recorded_is_refused(
    tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.yaml").write_text(SPACE)
    words = [str(tmp_path / word) if word.endswith(".yaml") else word for word in words]
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert message in capsys.readouterr().err
