"""Sources of the metadata list as people name them."""

import pytest

from mappool_assets.lib.curation.entry_settings import EntrySettings
from mappool_assets.lib.curation.named_sources import SEVERAL, SINGLE, SWITCHES, source_fields
from mappool_assets.lib.errors import BadSetting


def test_every_source_has_its_field(tmp_path):
    named = [*SWITCHES, *(f"{kind}:s3://bucket/{kind}" for kind in (*SINGLE, *SEVERAL)), "places:geonames:all.txt"]
    settings = EntrySettings(scratch=tmp_path, **source_fields(named))
    assert (settings.has_numbers, settings.has_cartography) == (True, True)
    assert (settings.given, settings.wordnet) == ("s3://bucket/given", "s3://bucket/wordnet")
    assert (settings.corpora, settings.page_views) == (("s3://bucket/corpus",), ("s3://bucket/page_views",))
    assert settings.places == ("s3://bucket/places", "geonames:all.txt")


@pytest.mark.parametrize(
    "named",
    [["letters"], ["numbers:99"], ["numbers:"], ["wordnet"], ["wordnet:"], ["corpus"], ["given:a", "given:b"], [":a"]],
)
def test_what_is_no_source_is_refused(named):
    with pytest.raises(BadSetting, match="A source of the metadata list cannot be used"):
        source_fields(named)
