"""Kills the code under test at any of its steps in the file system."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from mappool_assets.lib.lake import Lake

STEPS = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "open", "shutil.rmtree")


class Killed(BaseException):
    """Stands for a signal."""


class Killer:
    """Stops the process's code at the n-th step in some folders, as Python's audit events report them.

    A step makes, opens for writing, renames or removes something.
    """

    def __init__(self) -> None:
        self.folders, self.left = ("",), 0
        self.kill = self._raise
        sys.addaudithook(self._hear)

    @staticmethod
    def _raise() -> None:
        raise Killed

    def _hear(self, event: str, arguments: tuple) -> None:
        if not self.left or event not in STEPS or not str(arguments[0]).startswith(self.folders):
            return
        if event != "open" or arguments[2] & os.O_WRONLY or arguments[2] & os.O_RDWR:
            self.step()

    def step(self) -> None:
        if self.left:
            self.left -= 1
            if self.left == 0:
                self.kill()


KILLER: list[Killer] = []  # an audit hook cannot be taken off: one for all tests, idle unless armed


@contextlib.contextmanager
def a_killer() -> Iterator[Killer]:
    """Yield the killer, to be armed by setting ``folders`` and ``left``."""
    if not KILLER:
        KILLER.append(Killer())
    yield KILLER[0]
    KILLER[0].left = 0


@dataclass(frozen=True)
class KillingLake(Lake):
    """A lake whose removals are steps too: Arrow does them, of which Python hears nothing."""

    def delete(self, path: str) -> None:
        if self.url(path).startswith(KILLER[0].folders):
            KILLER[0].step()
        super().delete(path)
