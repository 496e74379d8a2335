"""The data of one config, which remembers where each key and value was written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from protogw.config.faults import Fault, Place, dotted


class Mark(NamedTuple):
    """Where something is written, counted from 1."""

    file: str
    line: int
    column: int


@dataclass(slots=True)
class Document:
    """The data of one config and the places of all its keys and values."""

    data: dict[str, Any] = field(default_factory=dict)
    keys: dict[Place, Mark] = field(default_factory=dict)
    values: dict[Place, Mark] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    as_written: dict[Place, str] = field(default_factory=dict)
    """The text of scalars that came from the environment or a file, before they were replaced."""
    files: list[str] = field(default_factory=list)

    def known(self, place: Place) -> Place:
        """The deepest part of `place` that the document holds; steps that only the model has are left out."""
        at: Place = ()
        here: Any = self.data
        for step in place:
            if isinstance(step, int):
                if not isinstance(here, list) or step >= len(here):
                    continue  # one value written where a list is allowed
                here = here[step]
            elif isinstance(here, dict) and step in here:
                here = here[step]
            else:
                break
            at = (*at, step)
        return at

    def value(self, place: Place) -> object:
        here: Any = self.data
        for step in place:
            here = here[step]
        return here

    def written(self, place: Place) -> object:
        """What the user wrote there: never the text of a variable or a secret file."""
        return self.as_written.get(place, self.value(place))

    def fault(self, place: Place, message: str, *, key: bool = False) -> None:
        """Record a fault at a value, or at its key; `place` may go deeper than the document does."""
        known = self.known(place)
        marks = self.keys if key else self.values
        mark = marks.get(known) or self.keys.get(known) or self.values.get(known) or Mark(self.files[0], 0, 0)
        path = dotted((*known, *self._beyond(place)))
        self.faults.append(Fault(file=mark.file, line=mark.line, column=mark.column, path=path, message=message))

    def _beyond(self, place: Place) -> Place:
        """The steps that the document lacks, without those that only the model has."""
        known = self.known(place)
        rest = [step for step in place if not isinstance(step, int)]
        return tuple(rest[sum(not isinstance(step, int) for step in known) :])


class _Nothing:
    """Stands where a value could not be had; its fault is recorded."""


NOTHING = _Nothing()
