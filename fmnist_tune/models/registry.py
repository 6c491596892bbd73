"""Sections of a file whose `name` says of which class they are: models, data sets."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from pydantic_core import PydanticCustomError

from fmnist_tune.plugins import PluginError, Registry, told
from fmnist_tune.section import Section

UNUSABLE, UNKNOWN_NAME = "unusable_name", "unknown_name"  # pydantic's kinds of errors about a section's name

S = TypeVar("S", bound=Section)


@dataclass(frozen=True)
class SectionRegistry(Registry[S]):
    """The classes that a section of a task may be of.

    Attributes:
        noun: what they are called in messages.
        default: the name of a section that has none; None where each needs one.
    """

    noun: str = "model"
    default: str | None = None

    def read(self, value: object) -> object:
        """Return the section that a mapping names; what is no mapping as it is.

        Raises:
            PydanticCustomError, pydantic.ValidationError: there is no such class, or it cannot have such keys.
        """
        if not isinstance(value, dict):
            return value
        try:
            found = self.find(value.get("name", self.default))
            if found is None:
                raise PydanticCustomError(UNKNOWN_NAME, "unknown")
            with blamed_on(found):
                return found.model_validate(value)
        except PluginError as error:
            raise PydanticCustomError(UNUSABLE, "{reason}", {"reason": str(error)}) from None


@contextlib.contextmanager
def blamed_on(found: type) -> Iterator[None]:
    """Turn what a class's own code raises, other than a ValueError, into a PluginError that names it."""
    try:
        yield
    except (ValueError, PydanticCustomError):
        raise
    except Exception as error:
        raise PluginError(f"{found.__module__}:{found.__qualname__} raised {told(error)}") from None
