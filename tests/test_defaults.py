"""Defaults that follow from the rest of the file, the machine and the time; what was begun without them keeps its meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fmnist_tune.config import SearchSpace, load_space, read_space
from fmnist_tune.config.implied import with_values
from fmnist_tune.cpus import gpu_count
from fmnist_tune.errors import FileError, UserError
from fmnist_tune.search.cluster import WorkerPlan
from fmnist_tune.search.derived import derived_defaults, first_evaluation
from fmnist_tune.study.database import database_url, open_database
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.record import SPACE_KEY, StudyRecord
from fmnist_tune.study.trial_data import curve_of
from fmnist_tune.tasks.images import ImageConfig
from tests.conftest import TINY_SPACE, CommandLine
from tests.studies import open_study

TWO_CORES = WorkerPlan(n_workers=2, cpus=1, gpus=0)
LR = "training.optimizer.lr"
SPACE = """\
study: s
search: {trials: 40}
model: {name: cnn, blocks: 3, base_channels: 32, head: [128]}
training:
  epochs: 12
  batch_size: 64
  optimizer: {lr: {float: [1e-4, 1e-2], log: true}}
"""
PAIRS = """\
study: pairs
task: modular-addition
model: {name: embedding_mlp}
training: {optimizer: {lr: {float: [1e-4, 1e-2], log: true}}}
"""
CONSTANT = [path for path in sorted(Path("search_spaces").rglob("*.yaml")) if path.stem not in ("cnn", "mlp")]


def space_with(training: str = "", text: str = SPACE) -> SearchSpace:
    return read_space(text.replace("  epochs: 12\n", f"  epochs: 12\n{training and f'  {training}'}\n"), "s.yaml")


def averages(space: SearchSpace, **values: Any) -> bool:
    config = space.config({**({LR: 1e-3} if space.parameters else {}), **values})
    assert isinstance(config, ImageConfig)
    return config.training.average_weights


@pytest.mark.parametrize("given", ["", "average_weights: auto, "])
@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("", True),
        ("schedule: constant", True),
        ("schedule: cosine", False),
        ("schedule: one_cycle", False),
        ("schedule: step", False),
    ],
)
def test_weights_are_averaged_where_the_learning_rate_is_constant(given: str, schedule: str, expected: bool) -> None:
    assert averages(space_with("\n  ".join(filter(None, [given.rstrip(", "), schedule])))) is expected


@pytest.mark.parametrize("schedule", ["constant", "one_cycle"])
@pytest.mark.parametrize("value", [True, False])
def test_a_value_that_is_given_stays(schedule: str, value: bool) -> None:
    space = space_with(f"schedule: {schedule}\n  average_weights: {str(value).lower()}")
    assert averages(space) is value
    assert space.implied == ("search.pruner",)


def test_a_schedule_that_is_searched_decides_for_each_configuration() -> None:
    space = space_with("schedule: {choice: [constant, cosine]}")
    assert averages(space, **{"training.schedule": "constant"}) is True
    assert averages(space, **{"training.schedule": "cosine"}) is False


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("maybe", "training.average_weights: 'maybe' is neither auto, true nor false"),
        ("1", "training.average_weights: 1: should be a valid boolean"),
        ("null", "training.average_weights: None: should be a valid boolean"),
        ("{choice: [auto, sometimes]}", "'sometimes' is neither auto, true nor false"),
    ],
)
def test_a_wrong_value_is_refused(value: str, message: str) -> None:
    with pytest.raises(FileError) as error:
        space_with(f"average_weights: {value}")
    assert message in str(error.value)


def test_a_training_that_is_searched_as_a_whole_is_left_as_it_is() -> None:
    text = "study: s\nmodel: {name: mlp}\ntraining: {choice: [{epochs: 2}, {epochs: 3}]}\n"
    assert read_space(text, "s.yaml").implied == ("search.pruner",)


def test_a_recipe_without_the_value_is_trained_as_it_always_was() -> None:
    recipe = "study: r\nmodel: {name: mlp}\n"
    assert averages(read_space(recipe, "r.yaml")) is False
    assert averages(read_space(f"{recipe}training: {{average_weights: auto}}\n", "r.yaml")) is True


@pytest.mark.parametrize(("schedule", "expected"), [("constant", True), ("cosine", False)])
def test_a_trials_recipe_states_what_it_came_to(schedule: str, expected: bool) -> None:
    space = space_with("schedule: {choice: [constant, cosine]}")
    recipe = space.recipe({LR: 1e-3, "training.schedule": schedule})
    assert recipe["training"]["average_weights"] is expected
    older = read_space(space_with().to_yaml().replace("  average_weights: auto\n", ""), "study s", is_stored=True)
    assert older.recipe({LR: 1e-3})["training"]["average_weights"] is False


def test_a_trial_that_cannot_be_built_has_a_recipe_all_the_same() -> None:
    text = SPACE.replace("blocks: 3", "blocks: {int: [3, 8]}")
    assert space_with(text=text).recipe({LR: 1e-3, "model.blocks": 8})["training"]["average_weights"] == "auto"


def test_a_task_without_averages_gets_none() -> None:
    assert read_space(PAIRS, "s.yaml").implied == ("search.pruner",)


@pytest.mark.parametrize("path", CONSTANT, ids=lambda path: path.stem)
def test_the_reports_systems_and_recipes_are_trained_as_published(path: Path) -> None:
    space = load_space(path)
    for config in space.end_configs():
        if isinstance(config, ImageConfig):
            assert config.training.average_weights is False
            if config.schedule == "constant":
                assert space.tree["training"]["average_weights"] is False


def test_a_study_that_was_begun_without_averages_goes_on_without(tmp_path: Path) -> None:
    record = open_study(tmp_path, SPACE)
    assert averages(record.space) is True
    assert averages(open_study(tmp_path, SPACE).space) is True  # as it was begun
    older = record.space.to_yaml().replace("  average_weights: auto\n", "")
    record.optuna.set_user_attr(SPACE_KEY, older)  # as version 0.2.0 stored it
    assert averages(type(record).load(record.storage, record.paths).space) is False
    for given in ("", "average_weights: false"):
        again = open_study(tmp_path, space_text(given))
        assert averages(again.space) is False
        assert again.optuna.user_attrs[SPACE_KEY] == older
    with pytest.raises(UserError, match=r"training\.average_weights: absent -> True"):
        open_study(tmp_path, space_text("average_weights: true"))


def test_a_section_that_has_nothing_but_what_is_implied_may_be_missing(tmp_path: Path) -> None:
    text = "study: s\nmodel: {name: mlp, dropout: {float: [0.0, 0.5]}}\n"
    record = open_study(tmp_path, text)
    record.optuna.set_user_attr(SPACE_KEY, text)
    assert open_study(tmp_path, text).space.config({"model.dropout": 0.1}).training.average_weights is False


def space_text(training: str) -> str:
    return SPACE.replace("  epochs: 12\n", f"  epochs: 12\n  {training}\n") if training else SPACE


# An epoch of this model is expected to take 34 s on a core, and one of the perceptron 1.6 s.
@pytest.mark.parametrize(("timeout_s", "expected"), [(60, 0.05), (600, 0.1), (1800, 0.33), (3600, 1), (36_000, 1)])
def test_the_first_evaluations_leave_time_to_go_on(timeout_s: float, expected: float) -> None:
    assert first_evaluation(space_with(), TWO_CORES, timeout_s).value == expected


def test_more_workers_quicker_models_and_fewer_trials_are_first_evaluated_later() -> None:
    space = space_with()
    sixteen, gpu = WorkerPlan(16, 1, 0), WorkerPlan(1, 1, 1.0)
    quick = space_with(text=SPACE.replace("cnn, blocks: 3, base_channels: 32, head: [128]", "mlp, hidden: [128]"))
    few = read_space(SPACE.replace("trials: 40", "trials: 4"), "s.yaml")
    found = [
        first_evaluation(s, plan, 300).value
        for s, plan in ((space, TWO_CORES), (space, sixteen), (space, gpu), (quick, TWO_CORES), (few, TWO_CORES))
    ]
    assert found == [0.05, 0.33, 1, 1, 0.33]


def test_the_reason_says_what_the_first_evaluations_cost() -> None:
    default = first_evaluation(space_with(), TWO_CORES, 1800)
    assert str(default) == (
        "search.pruner.min_epochs 0.33, so that 20 first evaluations take about 6 % of 30m, at 34.3s an epoch"
    )


def test_without_a_timeout_or_a_known_epoch_it_comes_after_an_epoch() -> None:
    assert first_evaluation(space_with(), TWO_CORES, None).why == "as there is no timeout"
    pairs = first_evaluation(read_space(PAIRS, "s.yaml"), TWO_CORES, 60)
    assert (pairs.value, pairs.why) == (1, "as the seconds of an epoch are not known before it is trained")


@pytest.mark.parametrize(
    ("search", "is_derived"),
    [
        ("", True),
        ("sampler: {name: tpe}", True),
        ("pruner: {name: asha}", True),
        ("pruner: {name: freeze-thaw}", True),
        ("pruner: {min_epochs: 1}", False),
        ("pruner: {name: freeze-thaw, min_epochs: 0.33}", False),
        ("pruner: {name: none}", False),
    ],
)
def test_only_what_the_file_leaves_out_is_derived(search: str, is_derived: bool) -> None:
    space = read_space(SPACE.replace("trials: 40", ", ".join(filter(None, ["trials: 40", search]))), "s.yaml")
    paths = [default.path for default in derived_defaults(space, TWO_CORES, 60)]
    assert ("search.pruner.min_epochs" in paths) is is_derived
    given = read_space(space.to_yaml() + "resources: {cpus: 1}\n", "s.yaml")
    assert "resources.cpus" in paths
    assert "resources.cpus" not in [default.path for default in derived_defaults(given, TWO_CORES, 60)]


@pytest.mark.parametrize(
    "search", ["", ", sampler: {name: tpe}", ", pruner: {name: asha}", ", pruner: {name: freeze-thaw}"]
)
def test_a_study_keeps_the_first_evaluation_that_it_was_begun_with(tmp_path: Path, search: str) -> None:
    text = SPACE.replace("trials: 40", f"trials: 40{search}")
    space = read_space(text, "s.yaml")
    begun = space.changed(with_values(space.tree, {"search.pruner.min_epochs": 0.1}))
    record = open_study(tmp_path, begun.to_yaml())
    assert record.space.settings.search.pruner.first_milestone == 0.1
    again = open_study(tmp_path, text.replace("trials: 40", "trials: 50, timeout: 9h"))
    assert again.space.settings.search.pruner.first_milestone == 0.1
    assert again.space.settings.search.trials == 50
    pruner = space.settings.search.pruner.name
    other = text.replace(search, "") if search else text
    with pytest.raises(UserError, match=r"search\.pruner\.min_epochs: 0\.1 -> 0\.33"):
        open_study(tmp_path, other.replace("trials: 40", f"trials: 40, pruner: {{name: {pruner}, min_epochs: 0.33}}"))


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        (TWO_CORES, "which makes 2 workers, each with 1 CPU, as two trials of one thread train more than one of two"),
        (WorkerPlan(1, 1, 1.0), "which makes 1 worker with 1 CPU and 1 GPU"),
    ],
)
def test_a_trial_has_one_thread_so_that_more_trials_are_trained_at_a_time(plan: WorkerPlan, why: str) -> None:
    (default,) = (d for d in derived_defaults(space_with(), plan, 600) if d.path == "resources.cpus")
    assert (default.value, default.why) == (1, why)


def test_a_study_keeps_the_threads_that_it_was_begun_with(tmp_path: Path) -> None:
    open_study(tmp_path, f"{SPACE}resources: {{cpus: 2}}\n")
    assert open_study(tmp_path, SPACE).space.settings.resources.cpus == 2
    with pytest.raises(UserError, match=r"resources\.cpus: 2 -> 1"):
        open_study(tmp_path, f"{SPACE}resources: {{cpus: 1}}\n")


def test_check_says_what_each_default_came_to_and_why(command: CommandLine) -> None:
    (command.folder / "s.yaml").write_text(SPACE.replace("trials: 40", "trials: 40, timeout: 10h"))
    text = " ".join(command("check", "s.yaml").out.split())
    assert "training.average_weights true, as the learning rate is constant" in text
    assert "search.pruner.min_epochs 1, so that 20 first evaluations take about" in text
    assert "resources.cpus 1, which makes " in text
    defaults = {d["path"]: d for d in command("check", "s.yaml", "--json").json["defaults"]}
    assert defaults["training.average_weights"]["value"] is True
    assert defaults["training.average_weights"]["why"] == "as the learning rate is constant"
    assert defaults["search.pruner.min_epochs"]["value"] == 1
    assert defaults["search.epoch_timeout"]["why"] == ""


def test_check_shows_both_values_where_the_schedule_is_searched(command: CommandLine) -> None:
    (command.folder / "s.yaml").write_text(space_text("schedule: {choice: [constant, cosine, step]}"))
    found = [
        d for d in command("check", "s.yaml", "--json").json["defaults"] if d["path"] == "training.average_weights"
    ]
    assert [(d["value"], d["why"]) for d in found] == [
        (True, "as the learning rate is constant"),
        (False, "as the learning rate falls"),
    ]


def test_check_of_a_space_for_a_larger_machine_shows_what_the_file_has(command: CommandLine) -> None:
    (command.folder / "s.yaml").write_text(
        SPACE.replace("trials: 40", "trials: 40, timeout: 1m") + "resources: {cpus: 5000}\n"
    )
    run = command("check", "s.yaml", "--json")
    assert run.code == 0, run.err
    assert {d["path"]: d["value"] for d in run.json["defaults"]}["search.pruner.min_epochs"] == 1


def test_without_a_driver_there_is_no_gpu(tmp_path: Path) -> None:
    assert gpu_count(tmp_path / "nvidia") == 0


@pytest.mark.ray
def test_a_search_says_when_it_evaluates_first_and_keeps_to_it(joined: CommandLine) -> None:
    space = TINY_SPACE.replace("min_epochs: 1, ", "").replace("[8]", "[1024, 1024]") + "resources: {gpus: 0}\n"
    first = joined.search(space, "--timeout", "3m", "--trials", "2", "--workers", "1", "--json")
    assert first.code == 0, first.err
    assert "search.pruner.min_epochs 0.33, so that 4 first evaluations take about " in first.err
    run = joined.search(space, "--timeout", "9h", "--json")
    assert run.code == 0, run.err
    assert "min_epochs" not in run.err
    folder = joined.folder / "studies"
    record = StudyRecord.load(open_database(database_url(folder), create=False), StudyPaths(folder, "tiny"))
    assert [min(curve_of(trial)) for trial in record.trials] == [0.33] * 4
