"""What decides how the service runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mappool_assets.lib.encoder import ClipEncoder
from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.serve.limits import ServiceLimits
from mappool_assets.lib.web.web_fetch import FetchRules

HOST, PORT = "127.0.0.1", 1234  # the port of clip-retrieval's clip_back
MOST_PORT = 65_535


@dataclass(frozen=True)
class ServiceSettings:
    """All of it.

    Attributes
    ----------
    indexes : mapping of str to Lake
        What is served, by name; the first is searched where a request names none. All of one encoder.
    encoder : ClipEncoder
        Of texts and images that are searched with.
    host, port
        Where it listens. The default is this machine alone; port 0 takes a free one.
    cache : Path or None
        A folder of this machine for the indexes of lakes that are none.
    url_rules : FetchRules or None
        How ``image_url`` is fetched; None switches it off, which is the default: it lets anybody who may ask make
        this machine fetch.
    is_for_any_origin : bool
        Whether pages of other sites may ask (CORS ``*``), as clip-retrieval's page does where it is served elsewhere.
    logs_queries : bool
        Whether the log holds what was searched for; people's searches are theirs.
    loads_at_start : bool
        Whether the encoder's weights are loaded in the background at once, or at the first query that needs them.
    safety_head, violence_prompts, aesthetic_directions : Path or None
        As :meth:`mappool_assets.lib.serve.heads.Heads.read` takes them.
    """

    indexes: Mapping[str, Lake]
    encoder: ClipEncoder
    host: str = HOST
    port: int = PORT
    limits: ServiceLimits = field(default_factory=ServiceLimits)
    cache: Path | None = None
    url_rules: FetchRules | None = None
    is_for_any_origin: bool = False
    logs_queries: bool = False
    loads_at_start: bool = True
    safety_head: Path | None = None
    violence_prompts: Path | None = None
    aesthetic_directions: Path | None = None

    def __post_init__(self) -> None:
        if not self.indexes or not all(self.indexes):
            raise BadSetting(
                "There is nothing to serve",
                where="indexes",
                rule="a name and a lake, at least",
                got=repr(list(self.indexes)),
                action="Name an index: --index NAME=LAKE.",
            )
        if not 0 <= self.port <= MOST_PORT:
            raise BadSetting(
                "The service cannot listen there",
                where="port",
                rule=f"0 to {MOST_PORT}",
                got=str(self.port),
                action="Choose another port.",
            )
