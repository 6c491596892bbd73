"""Freeze-thaw, as a file names it; what decides is in `fmnist_tune.engine`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from fmnist_tune.search.scheduler import WHOLE_FROM, SchedulerSection

if TYPE_CHECKING:
    from fmnist_tune.engine.adapter import FreezeThawScheduler

PARTIAL_GROWTH = 3


class FreezeThaw(SchedulerSection):
    """Freeze-thaw: a Gaussian process of the learning curves chooses which trial goes on, and each new one's values.

    Attributes:
        min_epochs: the first evaluation; a value below 1 is a share of the first epoch.
    """

    name: Literal["freeze-thaw"] = "freeze-thaw"
    chooses_values: ClassVar[bool] = True
    learns: ClassVar[bool] = True
    min_epochs: Annotated[float, Field(ge=0.01, le=1)] = 1

    def build(self) -> FreezeThawScheduler:
        """Build the scheduler."""
        from fmnist_tune.engine.adapter import FreezeThawScheduler  # takes half a second

        return FreezeThawScheduler(self)

    @property
    def partial(self) -> tuple[float, ...]:
        """Shares of the first epoch after which a trial may pause."""
        shares = (round(self.min_epochs * PARTIAL_GROWTH**k, 6) for k in range(9))
        return tuple(share for share in shares if share < WHOLE_FROM)
