"""The few kinds of failure: each says what went wrong, where, the rule, what was got and what to do next."""

from __future__ import annotations


class MappoolError(Exception):
    """A failure that a person can act on.

    Parameters
    ----------
    what : str
        What went wrong, in one clause.
    where : str
        File, shard, row or setting it concerns.
    rule : str
        What was expected.
    got : str
        What was found instead.
    action : str
        What to do next.
    """

    is_transient = False

    def __init__(self, what: str, *, where: str, rule: str, got: str, action: str) -> None:
        super().__init__(what, where, rule, got, action)
        self.what, self.where, self.rule, self.got, self.action = what, where, rule, got, action

    def __str__(self) -> str:
        return f"{self.what} [{self.where}]: expected {self.rule}; got {self.got}. {self.action}"

    def __reduce__(self) -> tuple:
        return _rebuild, (type(self), self.fields())

    def fields(self) -> dict[str, str]:
        """Return the five parts by name, as tables and metadata store them."""
        return {
            "what": self.what,
            "where": self.where,
            "rule": self.rule,
            "got": self.got,
            "action": self.action,
        }


class BadShard(MappoolError):
    """A shard whose files are malformed or do not belong together; it fails alone."""


class BadTrainingSet(MappoolError):
    """Labelled images from which nothing can be trained."""


class BadModel(MappoolError):
    """A classifier file or encoder that does not fit what it is used on."""


class BadSetting(MappoolError):
    """A setting outside its range or a source that cannot be understood."""


class BadFilter(BadSetting):
    """A filter on metadata that is not in the filters' language, or that names a column that is not there."""


class BadEnvironment(MappoolError):
    """Installed packages that do not work together."""


class MissingInput(MappoolError):
    """An upstream table or file that has not been made yet."""


class SourceChanged(MappoolError):
    """A remote file that is no longer the one that was listed."""


class TargetChanged(MappoolError):
    """A publish target that somebody else changed while it was published to; nothing of theirs was overwritten."""


class SourceUnavailable(MappoolError):
    """A source or a target that did not answer after all retries; trying again later may help."""

    is_transient = True


def _rebuild(kind: type[MappoolError], fields: dict[str, str]) -> MappoolError:
    """Unpickle: errors cross process borders from the workers."""
    what = fields.pop("what")
    return kind(what, **fields)
