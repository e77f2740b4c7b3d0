"""The words of prompts."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappool_assets.lib.errors import BadSetting
from mappool_assets.lib.places.place import ALTERNATES, NAME_KINDS, PLACE_SCHEMA, Place
from mappool_assets.lib.places.prompts import LAION_GEO_TEMPLATE, Template, names_of, word_prompts

TERMINAL = Place("k:1", "grand central terminal", admin1="midtown east", country_name="united states")


def as_table(*places):
    import pyarrow as pa

    columns = {field: [getattr(place, field) for place in places] for field in PLACE_SCHEMA.names}
    columns["alternates"] = pa.array(
        [[{"name": name, "kind": kind} for name, kind in names] for names in columns["alternates"]], ALTERNATES
    )
    return pa.table(columns, schema=PLACE_SCHEMA)


def worded(places, templates=(LAION_GEO_TEMPLATE,), kinds=("name",)):
    return word_prompts(as_table(*places), [Template.parse(text) for text in templates], kinds)


def test_the_articles_prompt():
    prompt = Template.parse(LAION_GEO_TEMPLATE).render(TERMINAL, TERMINAL.name)
    assert prompt == "grand central terminal in midtown east, united states"


@pytest.mark.parametrize(
    ("template", "known", "expected"),
    [
        ("{name} in {admin1}, {country}", "", "X"),
        ("{name} in {admin1}, {country}", "1", "X in One"),
        ("{name} in {admin1}, {country}", "c", "X in Land"),
        ("a map of {name}, {admin2}, {admin1}, {country}", "2c", "a map of X, Two, Land"),
        ("a map of {name}, {admin2}, {admin1}, {country}", "", "a map of X"),
        ("{country}: {name}", "c", "Land: X"),
        ("{country}: {name}", "", "X"),
        ("map of {name} in {country} on paper", "", "map of X on paper"),
        ("map of {name} in {country} on paper", "c", "map of X in Land on paper"),
        ("{admin1}, {country}; {name}", "c", "Land; X"),
        ("{admin1}, {country}; {name}", "1", "One, X"),
        ("{name}", "12c", "X"),
    ],
)
def test_missing_parts_take_their_words_with_them(template, known, expected):
    place = Place(
        "",
        "X",
        admin1="One" if "1" in known else None,
        admin2="Two" if "2" in known else None,
        country_name="Land" if "c" in known else None,
    )
    assert Template.parse(template).render(place, "X") == expected


PARTS = st.none() | st.sampled_from(["A b", "Ç", "a B", "Zed", "x"])


@given(PARTS, PARTS, PARTS, st.permutations(["{name}", "{admin2}", "{admin1}", "{country}"]), st.integers(1, 4))
def test_nothing_dangles(admin1, admin2, country, order, count):
    text = ", ".join(order[:count])
    if "{name}" not in text:
        return
    prompt = Template.parse(text).render(Place("", "X", (), admin1, admin2, None, country), "X")
    assert not re.search(r"^[ ,]|[ ,]$|, *,|  ", prompt)
    said = [part.casefold() for part in prompt.split(", ")]
    assert "x" in said
    assert len(set(said)) == len(said)


def test_a_part_that_repeats_the_name_is_left_out():
    singapore = Place("", "Singapore", admin1="Singapore", country_name="singapore")
    assert Template.parse(LAION_GEO_TEMPLATE).render(singapore, "Singapore") == "Singapore"
    assert Template.parse(LAION_GEO_TEMPLATE).render(singapore, "Temasek") == "Temasek in Singapore"


def test_braces_in_a_name_are_text():
    assert Template.parse(LAION_GEO_TEMPLATE).render(Place("", "{country}", country_name="US"), "{country}") == (
        "{country} in US"
    )


@pytest.mark.parametrize(
    "text",
    ["", "a map", "{admin1}", "{name} {place}", "{name} {name}", "{name} ({country})", "{name!r}", "{name:>9}", "{",
     "{name} {}", "{{name}} {name}", "{name.x}", "{name[0]}", "[{name}]"],
)  # fmt: skip
def test_a_template_that_is_none_is_refused(text):
    with pytest.raises(BadSetting, match="template cannot be used"):
        Template.parse(text)


LONDON = Place("g:1", "London", (("Londres", "alternate"), ("Londinium", "historic"), ("LONDON", "alternate"),
               ("londres", "historic")), "England", None, "GB", "United Kingdom")  # fmt: skip
ONTARIO = Place("g:2", "London", (("Londres", "alternate"),), "Ontario", None, "CA", "Canada")
BARE = Place("g:3", "london")
TWIN = Place("g:4", "London", (), "England", None, "GB", "United Kingdom")


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (("name",), ["London"]),
        (("alternate",), ["Londres"]),
        (("historic",), ["Londinium"]),
        (NAME_KINDS, ["London", "Londres", "Londinium"]),
    ],
)
def test_each_name_is_asked_for_once(kinds, expected):
    assert [name for name, _ in names_of(LONDON, kinds)] == expected


def test_prompts_are_worded_name_by_name_and_template_by_template():
    templates = ("{name}, {country}", "a map of {name}")
    found = worded([LONDON, BARE], templates, ("name", "historic"))
    assert found.prompts["prompt"].to_pylist() == [
        "London, United Kingdom",
        "a map of London",
        "Londinium, United Kingdom",
        "a map of Londinium",
        "london",
        "a map of london",
    ]
    assert found.prompts["of_name"].to_pylist() == [0, 0, 1, 1, 2, 2]
    assert found.names["place"].to_pylist() == [0, 0, 1]
    assert found.names["kind"].to_pylist() == ["name", "historic", "name"]
    assert found.counts.rows_in == 6


def test_a_prompt_that_the_place_has_already_is_dropped():
    found = worded([BARE, LONDON], ("{name}, {country}", "{name}, {admin1}", "{name}"))
    assert found.prompts["prompt"].to_pylist() == ["london", "London, United Kingdom", "London, England", "London"]
    assert (found.counts.rows_in, found.counts.dropped) == (6, {"same_prompt_of_place": 2})


def test_homonyms_are_places_with_the_name_and_same_prompts_places_with_the_words():
    places = [LONDON, ONTARIO, BARE, TWIN]
    found = worded(places, kinds=NAME_KINDS)
    prompts = found.prompts["prompt"].to_pylist()
    homonyms = found.names["homonyms"].take(found.prompts["of_name"]).to_pylist()
    same = found.prompts["same_prompt_places"].to_pylist()
    assert dict(zip(prompts, zip(homonyms, same, strict=True), strict=False)) == {
        "London in England, United Kingdom": (4, 2),
        "Londres in England, United Kingdom": (2, 1),
        "Londinium in England, United Kingdom": (1, 1),
        "London in Ontario, Canada": (4, 1),
        "Londres in Ontario, Canada": (2, 1),
        "london": (4, 1),
    }
    assert found.distinct.to_pylist() == list(dict.fromkeys(prompts))
    assert [found.distinct[position].as_py() for position in found.distinct_of] == prompts


def test_counts_are_those_of_a_slow_comparison():
    names = ["A", "a", "B", "ß", "SS"]
    places = [
        Place(str(number), name, ((other, "alternate"),), None, None, None, country)
        for number, (name, other, country) in enumerate(itertools.product(names, names, ["X", None]))
    ]
    found = worded(places, ("{name}", "{name}, {country}"), NAME_KINDS)
    owner = found.names["place"].to_pylist()
    keys = [name.casefold() for name in found.names["name"].to_pylist()]
    for key, homonyms in zip(keys, found.names["homonyms"].to_pylist(), strict=True):
        assert homonyms == len({place for place, other in zip(owner, keys, strict=True) if other == key})
    rows = [(owner[name], prompt) for name, prompt in zip(
        found.prompts["of_name"].to_pylist(), found.prompts["prompt"].to_pylist(), strict=True)]  # fmt: skip
    for (_, prompt), same in zip(rows, found.prompts["same_prompt_places"].to_pylist(), strict=True):
        assert same == len({place for place, other in rows if other == prompt})
