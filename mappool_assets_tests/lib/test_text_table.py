import pyarrow as pa

from mappool_assets.lib.text_table import as_text


def test_what_a_terminal_obeys_becomes_a_space():
    captions = ["\x1b]0;owned\x07\x1b[2J map\r\nsecond", "\x9b2J \x7f", "Ä «map»"]
    header, *lines = as_text(pa.table({"caption": captions, "maps": [2, 1, 1_000]})).splitlines()
    assert [line.split() for line in lines] == [
        ["]0;owned", "[2J", "map", "second", "2"],
        ["2J", "1"],
        ["Ä", "«map»", "1,000"],
    ]
    assert all(line.isprintable() for line in (header, *lines))
