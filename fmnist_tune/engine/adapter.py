"""The engine as a scheduler: trials frozen and thawed by what a Gaussian process expects of their curves."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from fmnist_tune.engine.candidates import epoch_after
from fmnist_tune.engine.decision import Engine, KnownSeconds
from fmnist_tune.engine.encoding import Encoding
from fmnist_tune.engine.lesson import Lesson
from fmnist_tune.engine.state import Begin, Point, Reason, SearchState, TrialState
from fmnist_tune.errors import UserError
from fmnist_tune.search.freeze_thaw import FreezeThaw
from fmnist_tune.search.scheduler import KnownTrial, LessonData, Pick, Scheduler, Situation

if TYPE_CHECKING:
    from fmnist_tune.config.space import SearchSpace


class FreezeThawScheduler(Scheduler):
    """What the engine decides.

    With each pick it notes how many evaluations there were: so the order of all evaluations is known after an
    interruption too, and the same is decided. It also notes the reason, which only people read
    (`fmnist_tune.study.decisions`).
    """

    settings: FreezeThaw
    plans_time: ClassVar[bool] = True

    def __init__(self, settings: FreezeThaw) -> None:
        super().__init__(settings)
        self._engine: Engine | None = None
        self._trials: dict[int, TrialState] = {}
        self._seen: dict[int, tuple[KnownTrial, float | None]] = {}  # from which these were made
        self._n_evaluations = 0
        self._ended: set[int] = set()
        self._answer: tuple[object, Pick | None] | None = None

    def report(self, number: int, epoch: float, accuracy: float) -> None:
        """Take in an evaluation."""
        self._n_evaluations += epoch not in self.curves.get(number, {})
        super().report(number, epoch, accuracy)

    def milestone(self, epoch: float) -> float:
        """Return where a trial pauses next."""
        return epoch_after(epoch, self.settings.partial)

    def next(self, situation: Situation) -> Pick | None:
        """Return what is expected to gain most per second; None if nothing fits into the time, or is worth it."""
        left_s = situation.left_s if math.isinf(situation.left_s) else round(situation.left_s)
        places = (tuple(situation.paused), dict(situation.running), situation.can_begin)
        key = (places, self._n_evaluations, len(situation.trials), left_s)
        if self._answer is None or self._answer[0] != key:  # it is asked twice where a trial comes to its milestone
            self._answer = key, self._decide(situation)
        return self._answer[1]

    def _decide(self, situation: Situation) -> Pick | None:
        if self._engine is None:
            self._engine = self._made(situation.space, situation.lessons)
        state = SearchState(
            trials=[self._state(number, situation) for number in situation.trials],
            decision=self._n_evaluations + len(situation.trials),
            left_s=None if math.isinf(situation.left_s) else situation.left_s,
            can_begin=situation.can_begin,
            n_workers=situation.n_workers,
        )
        found = self._engine.decide(state)
        if found is None:
            return None
        if isinstance(found, Begin):
            is_grid = situation.space.settings.search.sampler.name == "grid"  # which has its own order
            note = note_of(self._n_evaluations, None if is_grid else found.reason)
            return Pick(milestone=found.until, values={} if is_grid else found.values, note=note)
        return Pick(found.trial, milestone=found.until, note=note_of(self._n_evaluations, found.reason))

    def _made(self, space: SearchSpace, lessons: Sequence[LessonData]) -> Engine:
        return Engine(
            Encoding(space.parameters, space.tree),
            max_epochs=space.max_epochs,
            seed=space.settings.search.sampler.seed,
            partial=self.settings.partial,
            known_seconds=_known_seconds(space),
            lessons=[Lesson(**lesson) for lesson in lessons],
        )

    def _state(self, number: int, situation: Situation) -> TrialState:
        """Return a trial as the engine sees it: the same object as long as it is the same."""
        if number in self._ended:
            return self._trials[number]
        seen = situation.trials[number], situation.running.get(number)
        before = self._seen.get(number)
        if before is None or before[0] is not seen[0] or before[1] != seen[1]:
            self._seen[number] = seen
            found = as_seen(*seen)
            if found != self._trials.get(number):
                self._trials[number] = found
            if seen[0].state == "ended":
                self._ended.add(number)
                del self._seen[number]
        return self._trials[number]


def lesson_from(space: SearchSpace, trials: Iterable[KnownTrial], study: str) -> LessonData | None:
    """Return what the trials of a study teach others; None if there are too few."""
    seen = [as_seen(trial, None) for trial in trials]
    lesson = Lesson.of(study, seen, Encoding(space.parameters, space.tree), space.max_epochs)
    return None if lesson is None else lesson.to_json()


def _known_seconds(space: SearchSpace) -> KnownSeconds | None:
    """Return the expected cost of configurations; None if the task knows of none."""
    example = next(space.end_configs(), None)
    if example is None or example.relative_cost() is None:
        return None

    def cost(values: Mapping[str, Any]) -> float:
        with suppress(UserError):  # it cannot be built
            return space.config(values).relative_cost() or math.nan
        return math.nan

    return lambda rows: [cost(values) for values in rows]


def as_seen(trial: KnownTrial, milestone: float | None) -> TrialState:
    """Return a trial as the engine sees it, and its milestone if a worker trains it."""
    curve = {epoch: value for epoch, value in sorted(trial.curve.items()) if math.isfinite(value)}
    last = max(curve, default=0.0)
    return TrialState(
        number=trial.number,
        values=trial.values,
        points=tuple(_points(curve, trial.notes)),
        seconds=trial.epoch_s * last,
        until=None if milestone is None else max(last, min(milestone, trial.n_epochs)),
        epochs=trial.n_epochs or None,
        is_over=trial.state != "paused",
    )


def note_of(n_evaluations: int, reason: Reason | None) -> dict[str, Any]:
    """Return what is kept of a decision: how many evaluations there were, and its reason if there is one."""
    note: dict[str, Any] = {"evaluations": n_evaluations}
    if reason is not None:
        note["rule"] = reason.rule
        if (forecast := reason.forecast) is not None:
            note["end"] = [_short(value) for value in forecast.end]
            note |= {name: _short(getattr(forecast, name)) for name in ("horizon", "seconds", "gain")}
    return note


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def _points(curve: Mapping[float, float], notes: Mapping[float, Any]) -> Iterator[Point]:
    """Yield a curve's points with their order: after the evaluations that there were when the trial was picked."""
    n_since: Counter[float] = Counter()
    for epoch, value in curve.items():
        picked = max((at for at in notes if at < epoch), default=0.0)
        yield Point(epoch=epoch, value=value, order=_n_evaluations(notes.get(picked, 0)) + n_since[picked])
        n_since[picked] += 1


def _n_evaluations(note: Any) -> int:
    """Return the number of evaluations in a note, which formerly was that number alone."""
    n: int = note["evaluations"] if isinstance(note, Mapping) else note
    return n
