"""Columns: frozen dataclasses of numpy arrays of one length, checked at birth, sliced by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edge.compat import Self

Rows = NDArray[np.bool_] | NDArray[np.integer[Any]] | slice


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Base of a table whose fields are columns.

    A subclass names each of its fields in ``layout`` with dtype and shape of one row, in the
    order of the fields. Arrays become read-only; a wrong dtype, shape or length raises
    ``TypeError`` or ``ValueError``.
    """

    layout: ClassVar[dict[str, tuple[type[np.generic], tuple[int, ...]]]] = {}

    def __post_init__(self) -> None:
        length = -1
        for name, (dtype, row) in self.layout.items():
            column = getattr(self, name)
            if column.dtype != dtype:
                raise TypeError(
                    f"{name} must be {np.dtype(dtype)}, got {column.dtype}: convert with astype"
                )
            if column.shape[1:] != row or not column.ndim:
                shape = ", ".join(["N", *map(str, row)]) + ("" if row else ",")
                raise ValueError(f"{name} must have shape ({shape}), got {column.shape}")
            if len(column) != length and length >= 0:
                lengths = {name: len(getattr(self, name)) for name in self.layout}
                raise ValueError(f"columns must be equally long, got {lengths}")
            length = len(column)
            column.flags.writeable = False

    @classmethod
    def empty(cls) -> Self:
        """No rows."""
        return cls(*(np.zeros((0, *row), dtype) for dtype, row in cls.layout.values()))

    def __len__(self) -> int:
        """The number of rows."""
        return len(getattr(self, next(iter(self.layout))))

    def __getitem__(self, rows: Rows) -> Self:
        """Rows by mask, indices or slice."""
        return type(self)(*[getattr(self, name)[rows] for name in self.layout])
