"""Sums of each entry over the texts that it matches, the same to the last bit in whatever order texts come."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mappool_assets.lib.errors import BadSetting

SUM_BITS = 63  # of the 64 that a sum has


class EntrySums:
    """A sum for each entry, of numbers that its texts have; added up a batch at a time, exactly.

    Each summand is rounded to a multiple of 2 to the power of ``-unit_bits``, of which there are whole numbers. Sums of
    floating-point numbers would depend on the order of the texts, which depends on the shards.

    Parameters
    ----------
    entries : int
        How many there are.
    unit_bits : int
        How fine summands are. All of them together may be 2 to the power of ``63 - unit_bits`` at most.

    Examples
    --------
    >>> sums = EntrySums(3, 20)
    >>> sums.add(np.array([0, 2]), np.array([0.5, 4.0]))
    >>> sums.add(np.array([2]), np.array([1.25]))
    >>> sums.values.tolist()
    [0.5, 0.0, 5.25]
    """

    def __init__(self, entries: int, unit_bits: int) -> None:
        self._unit_bits, self._most = unit_bits, 2.0 ** (SUM_BITS - unit_bits)
        self._units = np.zeros(entries, dtype=np.uint64)
        self._total = 0.0

    def add(self, entries: npt.NDArray[np.integer], summands: npt.NDArray[np.float64]) -> None:
        """Add a number to each of some entries, which may be there more than once.

        Parameters
        ----------
        entries : int ndarray, shape (n,)
            Their numbers.
        summands : float64 ndarray, shape (n,)
            At least 0.

        Raises
        ------
        BadSetting
            All that was added is too much, or no number.
        """
        self._total += float(summands.sum())
        if not self._total <= self._most:
            raise BadSetting(
                "The texts of the entries cannot be added up",
                where="the sums of the entries",
                rule=f"numbers of at most {self._most:.0f} together",
                got=f"{self._total:g}",
                action="Balance the pool in the first pass with a larger t: no chance may be that small.",
            )
        np.add.at(self._units, entries, np.rint(np.ldexp(summands, self._unit_bits)).astype(np.uint64))

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """The sums, shape (entries,)."""
        return np.ldexp(self._units.astype(np.float64), -self._unit_bits)
