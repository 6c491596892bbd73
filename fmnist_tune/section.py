"""What the sections of a search space are made of: their base class, and the types that several files need."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Width = Annotated[int, Field(ge=1, le=65536)]
Probability = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """A mapping of the file: unknown keys are errors, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
