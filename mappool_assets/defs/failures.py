"""How the library's errors appear in Dagster: as failures with their parts as metadata, retried only if that helps."""

import contextlib
from collections.abc import Iterator

import dagster as dg

from mappool_assets.lib.errors import MappoolError

RETRY_TRANSIENT = dg.RetryPolicy(max_retries=3, delay=30, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)


@contextlib.contextmanager
def as_failures() -> Iterator[None]:
    """Turn a library error into a ``Failure``; only a transient one is retried by the step's policy."""
    try:
        yield
    except MappoolError as error:
        raise dg.Failure(
            description=str(error), metadata=dict(error.fields()), allow_retries=error.is_transient
        ) from error
