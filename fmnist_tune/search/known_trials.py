"""A study's trials as its scheduler sees them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress

from fmnist_tune.errors import UserError
from fmnist_tune.search.deadline import Deadline, measured_epoch_s
from fmnist_tune.search.scheduler import KnownTrial, State
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.sampling import values_of
from fmnist_tune.study.trial_data import curve_of
from fmnist_tune.study.trial_writer import notes_of


class KnownTrials(Mapping[int, KnownTrial]):
    """A study's trials as a scheduler sees them, each made on access if it has changed since the last one."""

    def __init__(
        self, record: StudyRecord, deadline: Deadline, versions: Counter[int], places: Mapping[State, set[int]]
    ) -> None:
        """Show the trials of a study.

        Args:
            record: the study.
            deadline: which expects the seconds of epochs.
            versions: of each trial, by number: grows whenever the trial is written.
            places: the trials that run, and those that wait at their milestones.
        """
        self._record = record
        self._deadline = deadline
        self._versions = versions
        self._places = places
        self._made: dict[int, tuple[int, KnownTrial]] = {}  # with the trials' versions

    def __len__(self) -> int:
        return len(self._record.trials)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))

    def __getitem__(self, number: int) -> KnownTrial:
        version, state = self._versions[number], self._state(number)
        made = self._made.get(number)
        if made is not None and made[0] == version and made[1].state == state:
            return made[1]
        trial, n_epochs = self._record.trials[number], 0
        with suppress(UserError):  # it has failed because it cannot be built
            n_epochs = self._deadline.n_epochs(number)
        measured = measured_epoch_s(trial)  # the study's, so that it is the same after an interruption
        known = KnownTrial(
            number=number,
            state=state,
            values=values_of(trial.params, self._record.space),
            curve=curve_of(trial),
            n_epochs=n_epochs,
            epoch_s=self._deadline.epoch_s(number) if measured is None else measured[1],
            notes=notes_of(trial),
        )
        if measured is not None:  # before, its seconds are those of other trials
            self._made[number] = version, known
        return known

    def _state(self, number: int) -> State:
        for state, numbers in self._places.items():
            if number in numbers:
                return state
        return "ended" if self._record.trials[number].state.is_finished() else "interrupted"
