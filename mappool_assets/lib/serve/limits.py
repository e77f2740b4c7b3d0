"""What a request may ask for, and how many may ask at once."""

from __future__ import annotations

from dataclasses import dataclass

from mappool_assets.lib.errors import BadSetting


@dataclass(frozen=True)
class ServiceLimits:
    """Bounds of the service; what is beyond one is refused, by name.

    Attributes
    ----------
    body_bytes : int
        Of a request. Default 10 MB: an image of 7 MB in base64.
    text_characters : int
        Of a text, or of all texts together. Default 2,000; CLIP reads the first 77 tokens.
    image_pixels : int
        Of an image to search with. Default 25 million: 100 MB while it is decoded, and one is decoded at a time.
    results : int
        Most ids that are searched for, returned, or looked up in one request. Default 10,000, as far as the index's
        recall is calibrated.
    seconds : float
        Of one request, waiting included.
    requests : int
        Requests being read, waiting or worked on; one more is told to come back. Bounds memory together with
        ``body_bytes``. Default 64: sixteen clients with room.
    unsent_bytes : int
        Of answers that their clients have not read yet; further requests are told to come back. Default 200 million:
        some forty answers of 10,000 results.
    search_threads : int
        Searches at once; 0 means one a core.
    """

    body_bytes: int = 10_000_000
    text_characters: int = 2_000
    image_pixels: int = 25_000_000
    results: int = 10_000
    seconds: float = 30.0
    requests: int = 64
    unsent_bytes: int = 200_000_000
    search_threads: int = 0

    def __post_init__(self) -> None:
        least_threads = 0
        for name, least in (
            ("body_bytes", 1),
            ("text_characters", 1),
            ("image_pixels", 1),
            ("results", 1),
            ("requests", 1),
            ("unsent_bytes", 1),
            ("search_threads", least_threads),
        ):
            self._check(name, getattr(self, name) >= least, f"{least} or more")
        self._check("seconds", self.seconds > 0, "more than 0")

    def _check(self, name: str, is_sound: bool, rule: str) -> None:
        if not is_sound:
            raise BadSetting(
                "A limit of the service cannot be used",
                where=name,
                rule=rule,
                got=str(getattr(self, name)),
                action="Correct the limit.",
            )
