"""A task whose trainings were recorded, and a search of it by the real driver on a simulated clock."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict

from benchmarks.engine.outcome import SHARES, Outcome, Seen, noise_of
from benchmarks.engine.tables import Table, load_table
from fmnist_tune.config import SearchSpace, read_space
from fmnist_tune.config.domain import ChoiceDomain, IntDomain
from fmnist_tune.config.implied import with_values
from fmnist_tune.config.parameters import Parameter
from fmnist_tune.config.yaml_text import dump_yaml
from fmnist_tune.errors import UserError
from fmnist_tune.search.cluster import WorkerPlan
from fmnist_tune.search.derived import derived_defaults
from fmnist_tune.search.lessons import lesson_of
from fmnist_tune.search.messages import Assignment, TrialReport
from fmnist_tune.search.scheduler import LessonData
from fmnist_tune.search.simulation import Curve, Simulation
from fmnist_tune.section import Section
from fmnist_tune.study.database import database_url, open_database
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.lessons import keep_lesson
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.tasks import Model, SectionRegistry, Task, TaskConfig, TaskTraining
from fmnist_tune.tasks.run import Run

MAX_TRIALS = 100_000  # so many that the time ends a search


class Configuration(Model):
    """A table's parameters, whatever they are called."""

    model_config = ConfigDict(extra="allow")

    name: Literal["recorded"]


class TableFile(Section):
    """Which table.

    Attributes:
        table: its JSON file.
    """

    table: str


class RecordedConfig(TaskConfig):
    """A configuration of a table."""

    models: ClassVar[SectionRegistry[Any]] = SectionRegistry(base=Configuration, built_in={"recorded": Configuration})

    training: TaskTraining = TaskTraining()
    data: TableFile

    def relative_cost(self) -> float:
        """Return what is known of an epoch's seconds before any training."""
        table = _table(self.data.table)
        assert self.model.model_extra is not None
        extra = self.model.model_extra
        values = {p.path: extra[_key(p)] for p in table.parameters if _key(p) in extra}
        return float(table.source.known_seconds([values])[0])

    def epoch_s(self) -> float | None:
        """Return the median seconds of an epoch, if evaluations within the first one were recorded."""
        table = _table(self.data.table)
        return table.full_training_s / table.epochs if table.looks else None


class RecordedTask(Task):
    """Searched in simulations alone: there is nothing to train."""

    config: ClassVar[type[TaskConfig]] = RecordedConfig

    def new_run(self, config: Any, data: Any, *, seed: int, device: str, n_epochs: int) -> Run:
        raise UserError("a recorded task cannot be trained")


@cache
def _table(path: str) -> Table:
    return load_table(Path(path))


def _key(parameter: Parameter) -> str:
    return parameter.path.replace(".", "_")


def _node(parameter: Parameter) -> dict[str, Any]:
    domain = parameter.domain
    node: dict[str, Any]
    if isinstance(domain, ChoiceDomain):
        node = {"choice": list(domain.values)}
    else:
        node = {"int" if isinstance(domain, IntDomain) else "float": [domain.low, domain.high]}
        node |= {"log": True} if domain.log else {}
    when = {f"model.{other.replace('.', '_')}": list(wanted) for other, wanted in parameter.when.items()}
    return {**node, "when": when} if when else node


def _yaml(table: Table, search: Mapping[str, Any]) -> str:
    """Return a table as a search space."""
    return dump_yaml({
        "study": "s",
        "task": f"{RecordedTask.__module__}:{RecordedTask.__name__}",
        "search": {"trials": MAX_TRIALS, **search},
        "model": {"name": "recorded", **{_key(parameter): _node(parameter) for parameter in table.parameters}},
        "training": {"epochs": table.epochs},
        "data": {"table": str(table.file)},
    })  # fmt: skip


class _Observed(Simulation):
    """A simulation that notes what has been seen, and how long its driver takes.

    Attributes:
        seen: the best so far.
        decide_s: seconds of the driver.
        n_decisions: times that it was asked what comes next.
    """

    def __init__(self, *args: Any, seen: Seen, **kwargs: Any) -> None:
        self.seen = seen
        self.decide_s, self.n_decisions = 0.0, 0
        super().__init__(*args, **kwargs)

    def give(self) -> Assignment | None:
        start = time.perf_counter()
        assignment = super().give()
        self.decide_s, self.n_decisions = self.decide_s + time.perf_counter() - start, self.n_decisions + 1
        return assignment

    def take(self, report: TrialReport) -> bool:
        for evaluation in report.evaluations:
            self.seen.add(self.clock(), report.number, evaluation.epoch, evaluation.val_accuracy)
        start = time.perf_counter()
        goes_on = super().take(report)
        self.decide_s, self.n_decisions = self.decide_s + time.perf_counter() - start, self.n_decisions + 1
        return goes_on


def search_by_driver(
    table: Table,
    section: Mapping[str, Any],
    *,
    time_s: float,
    n_workers: int,
    seed: int,
    lessons: Sequence[LessonData] = (),
    initial: Sequence[Mapping[str, Any]] = (),
) -> tuple[Outcome, LessonData | None]:
    """Search a table with the real driver, its scheduler and a real study.

    Args:
        table: to search.
        section: of the file, without the number of trials.
        time_s: simulated seconds.
        n_workers: trials at a time.
        seed: of the study and of the noise.
        lessons: of earlier studies.
        initial: configurations to try first.

    Returns:
        What it came to, and what it teaches.
    """
    seen = Seen(table, time_s)
    names = {f"model.{_key(parameter)}": parameter.path for parameter in table.parameters}
    points = [{name: values[path] for name, path in names.items() if path in values} for values in initial]

    def curve(number: int, values: Mapping[str, Any]) -> Curve:
        recorded = table.source.curve({names[path]: value for path, value in values.items()})
        seen.curves[number] = recorded
        noise = noise_of(table, seed, number)
        shares = SHARES if recorded.looks else ()
        partial = {share: recorded.at(share) + noise[table.epochs + i] for i, share in enumerate(shares)}
        return Curve((recorded.accuracy + noise[: table.epochs]).tolist(), recorded.epoch_s, partial)

    sampler = {"seed": seed, **section.get("sampler", {})}
    text = _yaml(table, {**section, "sampler": sampler, "initial": points})
    with tempfile.TemporaryDirectory(dir=_memory()) as name:
        storage = open_database(database_url(Path(name)), create=True)
        space = _begun(read_space(text, f"{table.name}.yaml"), n_workers, time_s)
        record = StudyRecord.open(storage, space, StudyPaths(Path(name), "s"))
        for lesson in lessons:
            keep_lesson(record, lesson)
        simulation = _Observed(record, curve, n_workers=n_workers, timeout_s=time_s, seen=seen)
        simulation.run()
        outcome = seen.outcome(len(record.trials), simulation.decide_s / max(simulation.n_decisions, 1))
        taught = lesson_of(record)
        storage.engine.dispose()
    return outcome, taught


def _begun(space: SearchSpace, n_workers: int, time_s: float) -> SearchSpace:
    """Return a space as a new study is begun with it."""
    plan = WorkerPlan(n_workers, 1, 0)
    derived = {default.path: default.value for default in derived_defaults(space, plan, time_s)}
    return space.changed(with_values(space.tree, derived))


def _memory() -> str | None:
    """Return a folder in memory for databases, where there is one: a simulated clock waits for no disk."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
