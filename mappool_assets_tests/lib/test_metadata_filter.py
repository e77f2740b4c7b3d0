import re
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mappool_assets.lib.errors import BadFilter
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.retrieval import filter_language, metadata_filter
from mappool_assets.lib.retrieval.filter_language import COLUMNS, MOST_CHARACTERS, MOST_DEPTH, MOST_VALUES
from mappool_assets.lib.retrieval.metadata_filter import RowFilter
from mappool_assets.lib.sql_files import run
from mappool_assets_tests.small_lake import A, write_maps

SCHEMA = pa.schema(
    [
        ("url", pa.string()),
        ("text", pa.string()),
        ("language", pa.large_string()),
        ("original_width", pa.int64()),
        ("original_height", pa.int32()),
        ("map_score", pa.float32()),
        ("clip_l14_similarity_score", pa.float64()),
    ]
)


def rows_of(**columns):
    size = max(map(len, columns.values()))
    return pa.table({f.name: columns.get(f.name, [None] * size) for f in SCHEMA}, schema=SCHEMA)


ROWS = rows_of(
    url=[
        "https://www.Example.org/a.png",
        "http://user:word@maps.example:8080/x?y=http://other.example",
        "https://[2001:db8::1]:80/a",
        "no address",
        None,
        "HTTPS://BÜCHER.example./",
    ],
    text=["A map of Zürich", "100% map_1", "Karte\nzwei Zeilen", "", None, "it's a MAP"],
    language=["en", "en", "de", None, None, "DE"],
    original_width=[1024, 1023, 4000, None, 0, 2**62],
    original_height=[768, 1023, 1, None, 0, 5],
    map_score=[0.35, 0.36, np.nan, None, -1.5, 0.5],
    clip_l14_similarity_score=[0.25, 0.3, 0.1, None, 0.0, 0.35],
)


def chosen(text, rows=ROWS):
    return np.flatnonzero(RowFilter.parse(text).mask(rows)).tolist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("width >= 1024", [0, 2, 5]),
        ("WIDTH>=1024 AND Height<100", [2, 5]),
        ("original_width = 1023 or original_height = 1", [1, 2]),
        ("width = 1024 or width = 1023 and height = 1", [0]),  # and binds more than or
        ("(width = 1024 or width = 1023) and height = 768", [0]),
        ("not width >= 1024 and height >= 0", [1, 4]),  # not binds most
        ("not (width >= 1024 and height >= 0)", [1, 4]),
        ("not not width = 1024", [0]),
        ("width in (1023, 0)", [1, 4]),
        ("width not in (1023, 0)", [0, 2, 5]),  # a missing width is neither in nor not in
        ("width != 1024", [1, 2, 4, 5]),
        ("width is null", [3]),
        ("width is not null and text is null", [4]),
        ("width = 4611686018427387904", [5]),
        ("width > -1 and width < +1", [4]),
        ("map_score > 0.35", [1, 5]),  # stored as float32 0.35 is a little less: compared as float32, it is equal
        ("map_score = 0.35", [0]),
        ("map_score <= .36e0", [0, 1, 4]),
        ("map_score in (0.35, -1.5)", [0, 4]),
        ("clip_l14_similarity_score >= 0.3", [1, 5]),
        ("map_score >= 0", [0, 1, 5]),
        ("language = 'en'", [0, 1]),
        ("language in ('de', 'en')", [0, 1, 2]),
        ("language not in ('de', 'en')", [5]),
        ("text = 'it''s a MAP'", [5]),
        ("text like '%map%'", [0, 1]),
        ("text ilike '%MAP%'", [0, 1, 5]),
        ("text not like '%map%'", [2, 3, 5]),
        ("text like '100\\% map\\__'", [1]),
        ("text like '%e_z%'", [2]),  # a line break is a character too
        ("text like '%'", [0, 1, 2, 3, 5]),
        ("text like ''", [3]),
        ("text contains 'map'", [0, 1]),
        ("text icontains 'ZÜRICH'", [0]),
        ("text contains '%'", [1]),
        ("text not contains 'a'", [3]),
        ("text contains ''", [0, 1, 2, 3, 5]),
        ("text = ''", [3]),
        ("text >= 'L'", [5]),
        ("domain = 'example.org'", [0]),
        ("domain = 'maps.example'", [1]),
        ("domain in ('[2001:db8::1]', 'bücher.example')", [2, 5]),
        ("domain = ''", [3]),
        ("domain is null", [4]),
        ("url like 'http%'", [0, 1, 2]),
        ("\t width\r\n=\n1024 ", [0]),
    ],
)
def test_what_filters_mean(text, expected):
    assert chosen(text) == expected


@pytest.mark.parametrize(
    ("text", "where", "rule", "got"),
    [
        ("", 1, "(a column)", "its end"),
        ("   ", 4, "(a column)", "its end"),
        ("width", 6, ">=", "its end"),
        ("width >=", 9, "(a number)", "its end"),
        ("width >= 1024 and", 18, "not", "its end"),
        ("width > 10 height", 12, "and", "'height'"),
        ("(width > 1", 11, ")", "its end"),
        ("width > 1)", 10, "end", "')'"),
        ("width in ()", 11, "(a number)", "')'"),
        ("width in (1,)", 13, "(a number)", "')'"),
        ("width == 1", 8, "(a number)", "'= 1'"),
        ("width between 1 and 2", 7, "in", "'between 1 and 2'"),
        ("text = 'abc", 8, "single quotes", '"\'abc"'),
        ('text = "abc"', 8, "single quotes", "'\"abc\"'"),
        ("text = text", 8, "single quotes", "'text'"),
        ("1 = 1", 1, "(a column)", "'1 = 1'"),
        ("width = '1'", 9, "a whole number for width", "\"'1'\""),
        ("text > 1", 8, "a text for text", "'1'"),
        ("text in ('a', 2)", 15, "a text for text", "'2'"),
        ("width like '1%'", 12, "a whole number for width", "\"'1%'\""),
        ("width = 1.0", 9, "a whole number for width", "'1.0'"),
        ("width = 1e3", 9, "a whole number for width", "'1e3'"),
        ("width = 9223372036854775808", 9, "64 bits", "'9223372036854775808'"),
        ("map_score > 'x'", 13, "a number for map_score", "\"'x'\""),
        ("map_score > 1e999", 13, "a number for map_score", "'1e999'"),
        ("map_score > nan", 13, "(a number)", "'nan'"),
        ("width = ١", 9, "(a number)", "'١'"),
        ("uid = 'a'", 1, "width", "'uid'"),
        ("l14_img is null", 1, "width", "'l14_img'"),
        ("wıdth = 1", 2, ">=", "'ıdth = 1'"),
        ("text like 'a\\b'", 11, "before %, _", "\"'a\\\\b'\""),
        ("text like '50\\'", 11, "before %, _", "\"'50\\\\'\""),
        ("text = 'a\0'", 10, "Unicode", "U+0000"),
        ("text = '\ud800'", 9, "Unicode", "U+D800"),
        ("wid" * 5000, 1, "2,000 characters", "15,000"),
    ],
)
def test_an_error_says_where_what_could_stand_there_and_what_does(text, where, rule, got):
    with pytest.raises(BadFilter) as error:
        RowFilter.parse(text)
    assert error.value.where == f"filter, character {where}"
    assert rule in error.value.rule
    assert got in error.value.got


@pytest.mark.parametrize(
    "text",
    [
        "width = 1; DROP TABLE shard_maps",
        "width = 1 -- and height = 2",
        "width = 1 /* */",
        "width = 1 UNION SELECT * FROM shard_maps",
        "text = '' OR ''=''",
        "width = 1 or 1 = 1",
        "width = (SELECT 1)",
        "read_text('/etc/passwd') = 'a'",
        "lower(text) = 'a'",
        "text = $1",
        "text = 'a' || 'b'",
        "width = 1::int",
        "width + 1 > 2",
        "shard_maps.width = 1",
        '"width" = 1',
        "[width] = 1",
        "`width` = 1",
        "width = 0x10",
        "width = 1 = 1",
        "exists (width = 1)",
        "text regexp '(a+)+$'",
        "text = E'\\x41'",
        "__class__ = 'a'",
        "not",
        "width = null",
        "true",
    ],
)
def test_sql_beyond_the_language_is_refused(text):
    with pytest.raises(BadFilter):
        RowFilter.parse(text)


def test_quotes_and_sql_within_a_text_are_only_text():
    hostile = "'); DROP TABLE shard_maps; --"
    rows = rows_of(text=[hostile, "'", "a"])
    assert chosen("text = '''); DROP TABLE shard_maps; --'", rows) == [0]
    assert chosen("text in ('''', 'b')", rows) == [1]
    assert chosen("text contains '; DROP'", rows) == [0]


def test_nothing_of_a_pattern_but_percent_and_underscore_means_anything():
    rows = rows_of(text=["a.c", "abc", "[a-z]+", "(", "a*", "\\", "^a$"])
    for text, expected in {
        "a.c": [0],
        "a_c": [0, 1],
        "[a-z]+": [2],
        "(": [3],
        "a*": [4],
        "\\\\": [5],
        "^a$": [6],
    }.items():
        assert chosen(f"text like '{text}'", rows) == expected
        assert chosen(f"text ilike '{text.upper()}'", rows) == expected


def test_patterns_take_time_linear_in_the_text():
    rows = rows_of(text=["a" * 200_000])
    began = time.process_time()
    assert chosen(f"text like '{'%a' * 900}b'", rows) == []
    assert time.process_time() - began < 5


# -- limits --------------------------------------------------------------------------------------------------------


def test_limits_are_inclusive():
    assert chosen(f"width in ({', '.join(['1024'] * MOST_VALUES)})") == [0]
    with pytest.raises(BadFilter, match=f"at most {MOST_VALUES} values; got {MOST_VALUES + 1}"):
        RowFilter.parse(f"width in ({','.join(['1'] * (MOST_VALUES + 1))})")
    assert chosen("width = 1024".ljust(MOST_CHARACTERS)) == [0]
    with pytest.raises(BadFilter, match="characters; got 2,001"):
        RowFilter.parse("width = 1024".ljust(MOST_CHARACTERS + 1))
    assert chosen("not " * MOST_DEPTH + "width = 1024") == [0]
    with pytest.raises(BadFilter, match=f"at most {MOST_DEPTH} levels"):
        RowFilter.parse("not " * (MOST_DEPTH + 1) + "width = 1024")


def test_parentheses_and_long_lists_of_conditions_are_not_deep():
    assert chosen("(" * 900 + "width = 1024" + ")" * 900) == [0]
    assert chosen(" or ".join(["width = 1024"] * 120)) == [0]
    with pytest.raises(BadFilter, match="levels"):
        RowFilter.parse("(width=1 and (width=1 or " * 40 + "width=1" + "))" * 40)
    with pytest.raises(BadFilter):
        RowFilter.parse("(" * 2000)


# -- columns -------------------------------------------------------------------------------------------------------


def test_a_column_that_the_rows_lack_or_hold_otherwise_is_refused_even_where_there_are_no_rows():
    for rows in (ROWS.drop_columns(["language"]), ROWS.schema.remove(2).empty_table()):
        with pytest.raises(BadFilter, match=r"column language.*no such column"):
            chosen("width > 1 or language = 'de'", rows)
    with pytest.raises(BadFilter, match=r"column url.*no such column"):
        chosen("domain = 'a'", ROWS.drop_columns(["url"]))
    with pytest.raises(BadFilter, match=r"holds a whole number; got string"):
        chosen("width > 1", pa.table({"original_width": ["1"]}))
    with pytest.raises(BadFilter, match=r"holds a text; got int64"):
        chosen("text = 'a'", pa.table({"text": [1]}))


def test_only_the_columns_that_are_named_are_needed():
    parsed = RowFilter.parse("domain = 'a.example' and width > 3 or not (height = 1)")
    assert parsed.columns == ["original_height", "original_width", "url"]
    assert set(COLUMNS) == {*SCHEMA.names, "domain"}


def test_a_file_is_read_in_batches_to_one_mask(tmp_path, monkeypatch):
    random = np.random.default_rng(1)
    widths = random.integers(0, 3000, 5000)
    table = pa.table({"original_width": widths, "text": ["x"] * 5000})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=700)
    monkeypatch.setattr(metadata_filter, "ROWS_AT_A_TIME", 333)
    with pq.ParquetFile(tmp_path / "a.parquet") as file:
        np.testing.assert_array_equal(RowFilter.parse("width >= 1024").mask_of_file(file), widths >= 1024)
    pq.write_table(table.slice(0, 0), tmp_path / "none.parquet")
    with pq.ParquetFile(tmp_path / "none.parquet") as file:
        assert RowFilter.parse("width >= 1024").mask_of_file(file).tolist() == []
        with pytest.raises(BadFilter, match="no such column"):
            RowFilter.parse("height >= 1024").mask_of_file(file)


def test_a_domain_is_that_of_the_report(tmp_path):
    urls = [url for url in ROWS["url"].to_pylist() if url]
    urls += ["http://a.b:1/", "ftp://WWW.www.x.y?q", "//a.b/c", "http:///x", "http://a\\b@c/", "http://a@b@c.d/"]
    lake = Lake(str(tmp_path))
    maps = write_maps(lake, A, len(urls), columns={"url": urls})
    reported = {row["domain"]: row["maps"] for row in run(lake, "reports/domains").to_pylist()}
    for domain, count in reported.items():
        assert RowFilter.parse(f"domain = '{domain}'").mask(maps).sum() == count
    assert sum(reported.values()) == len(urls)


# -- against a slow evaluation, on generated filters -----------------------------------------------------------------

TEXTS = st.text(st.sampled_from("aAäÄ%_\\'\n.*(ßſK"), max_size=5)
NUMBERS = st.integers(-3, 3)
SPACES = st.sampled_from([" ", "\n", "  "])


def like_expression(pattern):
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    wild = {"%": ".*", "_": "."}
    return "".join(wild.get(part) or re.escape(part[-1]) for part in parts)


def compared(operator, left, right):
    return {
        "=": left == right,
        "!=": left != right,
        "<": left < right,
        "<=": left <= right,
        ">": left > right,
        ">=": left >= right,
    }[operator]


def unless_null(value, decide):
    return None if value is None else decide(value)


@st.composite
def predicates(draw):
    """A condition's text, and a function from a row to true, false or None."""
    name, values = draw(
        st.sampled_from([("text", TEXTS), ("language", TEXTS), ("width", NUMBERS), ("map_score", NUMBERS)])
    )
    column = "original_width" if name == "width" else name

    def literal(value):
        return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)

    is_text = values is TEXTS
    kind = draw(st.sampled_from(["compare", "in", "null", *(["like", "contains"] if is_text else [])]))
    negation = draw(st.sampled_from(["", "not "])) if kind != "compare" else ""
    value = draw(values)
    if kind == "compare":
        operator = draw(st.sampled_from(["=", "!=", "<", "<=", ">", ">="]))
        return f"{name} {operator} {literal(value)}", lambda row: unless_null(
            row[column], lambda found: compared(operator, found, value)
        )
    if kind == "null":
        return f"{name} is {negation}null", lambda row: (row[column] is None) != bool(negation)
    if kind == "in":
        several = draw(st.lists(values, min_size=1, max_size=3))
        listed = ", ".join(map(literal, several))
        return f"{name} {negation}in ({listed})", lambda row: unless_null(
            row[column], lambda found: (found in several) != bool(negation)
        )
    if kind == "contains":
        return f"{name} {negation}contains {literal(value)}", lambda row: unless_null(
            row[column], lambda found: (value in found) != bool(negation)
        )
    pattern = "".join(re.findall(r"\\[%_\\]|[^\\]", value, re.DOTALL))
    expression = re.compile(like_expression(pattern), re.DOTALL)
    return f"{name} {negation}LIKE {literal(pattern)}", lambda row: unless_null(
        row[column], lambda found: bool(expression.fullmatch(found)) != bool(negation)
    )


def negated(condition):
    text, decide = condition
    return f"not ({text})", lambda row: None if decide(row) is None else not decide(row)


def joined(word, conditions):
    def decide(row):
        found = [decide_one(row) for _, decide_one in conditions]
        decisive = word == "or"
        if decisive in found:
            return decisive
        return None if None in found else not decisive

    return f" {word} ".join(f"({text})" for text, _ in conditions), decide


CONDITIONS = st.recursive(
    predicates(),
    lambda inner: st.one_of(
        inner.map(negated),
        st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3)).map(lambda p: joined(*p)),
    ),
    max_leaves=6,
)
SOME_ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.none() | TEXTS,
            "language": st.none() | TEXTS,
            "original_width": st.none() | NUMBERS,
            "map_score": st.none() | NUMBERS,
        }
    ),
    min_size=1,
    max_size=6,
)


@given(condition=CONDITIONS, rows=SOME_ROWS)
def test_generated_filters_choose_what_a_slow_evaluation_does_and_are_their_own_fixed_form(condition, rows):
    text, decide = condition
    table = pa.Table.from_pylist([{**dict.fromkeys(SCHEMA.names), **row} for row in rows], SCHEMA)
    parsed = RowFilter.parse(text)
    assert parsed.mask(table).tolist() == [decide(row) is True for row in rows]
    assert RowFilter.parse(str(parsed)) == parsed
    assert str(RowFilter.parse(str(parsed))) == str(parsed)


WORDS_OF_FILTERS = r"""
width text uid = < != ( ) , and or not in is null like contains 'a' '' ' 1 1.5 e9 . - -- ; % \ /* " é select
"""
WORDS = st.sampled_from([*WORDS_OF_FILTERS.split(), "\0", "\ud800", "\u00a0"])


@given(st.lists(WORDS, max_size=30).map(" ".join) | st.lists(WORDS, max_size=30).map("".join) | st.text(max_size=50))
@example("width = 1e")
@example("text='\\'")
def test_any_text_is_a_filter_or_a_bad_filter(text):
    try:
        RowFilter.parse(text).mask(ROWS)
    except BadFilter as error:
        got = error.got
    else:
        got = ""
    assert len(got) <= 10 * filter_language._GOT_CHARACTERS + 3  # a character's escape has ten at most
    assert got.isprintable()
