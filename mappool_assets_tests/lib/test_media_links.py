"""The tables media_links and interleaved: made once, of the documents that are there, whole or not at all."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mappool_assets.lib.errors import BadSetting, MissingInput, SourceChanged
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.web_documents import interleaved_pages, media_links
from mappool_assets.lib.web_documents.interleaved import interleaved_parts
from mappool_assets.lib.web_documents.interleaved_pages import interleaved_tasks, make_interleaved
from mappool_assets.lib.web_documents.media_links import LinkSettings, make_media_links, media_link_tasks
from mappool_assets.lib.web_documents.reading import document_text, read_interleaved, read_media_links
from mappool_assets.lib.web_documents.tokens import tokenizer_named
from mappool_assets.lib.web_documents.windows import MediaSample, media_windows
from mappool_assets_tests.killer import Killed, a_killer
from mappool_assets_tests.small_documents import numbered, pages, write_documents
from mappool_assets_tests.small_lake import folder_bytes

LINKS, INTERLEAVED, DOCUMENTS = (f"web_documents/{name}" for name in ("media_links", "interleaved", "documents"))
IMAGE, VIDEO = ("image", "1.png"), ("video", "2.mp4")
FEW = [
    numbered("An old map of Rome", IMAGE, "with its walls"),
    numbered("only text"),
    numbered(),
    numbered(IMAGE, VIDEO),
    numbered("東京", VIDEO, "👩\u200d👩\u200d👧 e\u0301 שלום", IMAGE, "a b c d e f", IMAGE),
]
SHORT = LinkSettings(tokens_a_side=2)

LINKS_IN_SQL = """
    SELECT document_id, sample.kind, sample.position, sample.url, sample.alt,
        text_between(document_text(items), sample.before_start, sample.before_end) AS before,
        text_between(document_text(items), sample.after_start, sample.after_end) AS after
    FROM (SELECT document_id, unnest(samples) AS sample FROM media_links) JOIN documents USING (document_id)
    ORDER BY document_id, sample.position
"""
PARTS_IN_SQL = """
    SELECT document_id, part.kind, text_between(document_text(items), part.start, part."end") AS text, part.position,
        part.url, part.alt
    FROM (
        SELECT document_id, unnest(parts) AS part, generate_subscripts(parts, 1) AS number
        FROM (SELECT document_id, if($form = 'image', image_parts, media_parts) AS parts FROM interleaved)
    )
    JOIN documents USING (document_id)
    ORDER BY document_id, number
"""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def link(lake, files=("f",), settings=SHORT, workers=1, force=False):
    return list(make_media_links(media_link_tasks(lake, files, settings), workers, force))


def interleave(lake, files=("f",), workers=1, force=False):
    return list(make_interleaved(interleaved_tasks(lake, files), workers, force))


def make_both(lake, **how):
    for outcome in [*link(lake, **how), *interleave(lake)]:
        assert outcome.error is None


def rows_one_by_one(documents, tokenizer, tokens):
    """The rows of both tables, a document at a time."""
    links, pages = [], []
    for number, items in enumerate(documents):
        samples = media_windows(items, tokenizer_named(tokenizer), tokens)
        if not samples:
            continue
        page = {
            "document_id": f"f:{number}",
            "url": f"https://pages.example/{number}",
            "language": "en" if number % 3 else None,
        }
        links.append({**page, "samples": [sample._asdict() for sample in samples]})
        forms = {"image_parts": [s for s in samples if s.kind == "image"], "media_parts": samples}
        pages.append(
            page
            | {
                name: [part._asdict() for part in interleaved_parts(of_form, document_text(items))]
                for name, of_form in forms.items()
            }
        )
    return links, pages


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.lists(pages, max_size=6), st.integers(1, 9), st.sampled_from(["words", "clip"]), st.integers(1, 4))
def test_tables_hold_what_each_document_gives(tmp_path, documents, tokens, tokenizer, rows_a_group):
    shutil.rmtree(tmp_path / "lake", ignore_errors=True)
    lake = Lake(str(tmp_path / "lake"))
    write_documents(lake, "f", documents, rows_a_group=rows_a_group)
    make_both(lake, settings=LinkSettings(tokenizer, tokens))
    links, pages = rows_one_by_one(documents, tokenizer, tokens)
    assert lake.read_table(LINKS, "f").to_pylist() == links
    assert lake.read_table(INTERLEAVED, "f").to_pylist() == pages


def test_reports_say_where_documents_and_media_went(lake):
    write_documents(lake, "f", FEW)
    [links] = link(lake)
    found = lake.read_table(LINKS, "f").to_pylist()
    tokens = sum(
        len(tokenizer_named("words").spans(text))
        for page in read_media_links(lake, "f")
        for sample in page.samples
        for text in (sample.before, sample.after)
    )
    report = links.result
    assert (report.shard, report.rows_in, report.rows_kept, report.rows_dropped) == ("f", 5, 3, {"no_media": 2})
    assert report.media == {"image": 4, "video": 2}
    assert report.window_tokens == tokens == 14
    assert report.mean_window_tokens == tokens / 12
    assert len(found) == 3
    [pages] = interleave(lake)
    report = pages.result
    assert (report.shard, report.rows_in, report.rows_kept, report.rows_dropped) == ("f", 5, 3, {"no_media": 2})
    assert report.parts == {"image": {"image": 4, "text": 5}, "media": {"image": 4, "text": 6, "video": 2}}
    for table in (LINKS, INTERLEAVED):
        made = lake.provenance(table, "f")
        assert made.rows_in == made.rows_kept + sum(made.rows_dropped.values())
        assert made.origin == {"source": "made up"}


def test_schemas_are_as_agreed(lake):
    write_documents(lake, "f", FEW)
    make_both(lake)
    for table, schema in ((LINKS, media_links.SCHEMA), (INTERLEAVED, interleaved_pages.SCHEMA)):
        with lake.open_table(table, "f") as file:
            assert file.schema_arrow.equals(schema)
    assert str(media_links.SCHEMA.field("samples").type) == (
        "list<item: struct<kind: string, position: int32, url: string, alt: string, "
        "before_start: int32, before_end: int32, after_start: int32, after_end: int32>>"
    )


def test_documents_without_any_media_or_none_at_all(lake):
    write_documents(lake, "f", [numbered("a"), numbered()])
    write_documents(lake, "empty", [])
    for outcome in link(lake, ["f", "empty"]) + interleave(lake, ["f", "empty"]):
        assert outcome.result.rows_kept == 0
        assert sum(outcome.result.rows_dropped.values()) == outcome.result.rows_in
    assert list(read_media_links(lake, "f")) == list(read_interleaved(lake, "empty")) == []
    assert link(lake)[0].result.mean_window_tokens == 0


def test_what_is_done_is_left_alone_until_an_input_changes(lake):
    write_documents(lake, "f", FEW)
    make_both(lake)
    before = folder_bytes(Path(lake.root))
    for first, again in ((link(lake)[0], link(lake)[0]), (interleave(lake)[0], interleave(lake)[0])):
        assert first.result == again.result
        assert again.result.is_reused
    assert not link(lake, force=True)[0].result.is_reused
    assert not interleave(lake, force=True)[0].result.is_reused
    assert folder_bytes(Path(lake.root)) == before
    assert not link(lake, settings=LinkSettings(tokens_a_side=3))[0].result.is_reused
    assert not interleave(lake)[0].result.is_reused
    assert interleave(lake)[0].result.is_reused
    assert folder_bytes(Path(lake.root)) != before
    write_documents(lake, "f", FEW[:2])
    make_both(lake, settings=LinkSettings(tokens_a_side=3))
    assert len(list(read_media_links(lake, "f"))) == 1


def test_the_same_documents_give_the_same_bytes_by_any_number_of_workers(tmp_path):
    written = []
    for workers in (1, 2):
        lake = Lake(str(tmp_path / str(workers)))
        for file in ("f", "g"):
            write_documents(lake, file, FEW * 300, rows_a_group=77)
        assert [outcome.error for outcome in link(lake, ["f", "g"], workers=workers)] == [None, None]
        assert [outcome.error for outcome in interleave(lake, ["f", "g"], workers=workers)] == [None, None]
        written.append(folder_bytes(Path(lake.root)))
    assert len(written[0]) == 6
    assert written[0] == written[1]


def test_a_file_without_documents_fails_alone(lake):
    write_documents(lake, "f", FEW)
    outcomes = {outcome.task.key: outcome for outcome in link(lake, ["f", "gone"], workers=2)}
    assert outcomes["f"].error is None
    assert isinstance(outcomes["gone"].error, MissingInput)
    assert lake.partitions(media_links.FAILURES_TABLE) == ["gone"]
    outcomes = {outcome.task.key: outcome for outcome in interleave(lake, ["f", "gone"], workers=2)}
    assert outcomes["f"].error is None
    assert isinstance(outcomes["gone"].error, MissingInput)
    assert lake.partitions(interleaved_pages.FAILURES_TABLE) == ["gone"]
    write_documents(lake, "gone", FEW)
    assert link(lake, ["gone"])[0].error is interleave(lake, ["gone"])[0].error is None
    assert lake.partitions(media_links.FAILURES_TABLE) == lake.partitions(interleaved_pages.FAILURES_TABLE) == []


def test_documents_made_anew_meanwhile_are_refused(lake):
    write_documents(lake, "f", FEW)
    tasks = media_link_tasks(lake, ["f"], SHORT)
    write_documents(lake, "f", FEW[:2])
    [outcome] = make_media_links(tasks, 1)
    assert isinstance(outcome.error, SourceChanged)
    assert lake.partitions(LINKS) == []


def test_links_made_anew_meanwhile_are_refused(lake):
    write_documents(lake, "f", FEW)
    link(lake)
    tasks = interleaved_tasks(lake, ["f"])
    link(lake, settings=LinkSettings(tokens_a_side=5))
    [outcome] = make_interleaved(tasks, 1)
    assert isinstance(outcome.error, SourceChanged)
    assert lake.partitions(INTERLEAVED) == []


def test_links_of_older_documents_are_never_mixed_with_newer_ones(lake):
    write_documents(lake, "f", FEW)
    make_both(lake)
    write_documents(lake, "f", FEW[::-1])
    [outcome] = interleave(lake)
    assert isinstance(outcome.error, MissingInput)
    assert "media_links" in outcome.error.action
    for read in (read_media_links, read_interleaved):
        with pytest.raises(MissingInput, match="other documents"):
            list(read(lake, "f"))
    link(lake)
    with pytest.raises(MissingInput, match="other documents"):
        list(read_interleaved(lake, "f"))
    make_both(lake)
    assert [page.document_id for page in read_interleaved(lake, "f")] == ["f:0", "f:1", "f:4"]


def test_rows_that_are_of_no_document_are_refused(lake):
    write_documents(lake, "f", FEW)
    link(lake)
    made, rows = lake.provenance(LINKS, "f"), lake.read_table(LINKS, "f")
    odd = rows.set_column(0, "document_id", pa.array(["f:0", "f:4", "f:3"]))
    lake.write_table(LINKS, odd, made, "f")
    assert isinstance(interleave(lake)[0].error, SourceChanged)
    with pytest.raises(SourceChanged, match="f:3"):
        list(read_media_links(lake, "f"))


def test_settings_out_of_range_are_refused():
    with pytest.raises(BadSetting, match="1 token or more"):
        LinkSettings(tokens_a_side=0)
    with pytest.raises(BadSetting, match="words or clip"):
        LinkSettings("gpt")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12)
@given(st.lists(pages, max_size=5), st.integers(1, 9))
def test_readers_fill_in_the_texts_and_sql_the_same(tmp_path, documents, tokens):
    shutil.rmtree(tmp_path / "lake", ignore_errors=True)
    lake = Lake(str(tmp_path / "lake"))
    write_documents(lake, "f", documents)
    make_both(lake, settings=LinkSettings(tokens_a_side=tokens))
    read = [(page.document_id, *sample) for page in read_media_links(lake, "f") for sample in page.samples]
    wanted = []
    for number, items in enumerate(documents):
        text = document_text(items)
        for sample in media_windows(items, tokenizer_named("words"), tokens):
            before = text[sample.before_start : sample.before_end]
            wanted.append((f"f:{number}", *sample[:4], before, text[sample.after_start : sample.after_end]))
    assert read == wanted

    assert sql(lake, LINKS_IN_SQL) == wanted
    for form in ("image", "media"):
        pages = read_interleaved(lake, "f", form)
        parts = [(page.document_id, *part) for page in pages for part in page.parts]
        assert sql(lake, PARTS_IN_SQL, {"form": form}) == parts


def sql(lake, statement, parameters=None):
    return [tuple(row.values()) for row in lake.query(statement, parameters).to_pylist()]


def test_reading_some_kinds_leaves_other_pages_out(lake):
    write_documents(lake, "f", FEW)
    make_both(lake)
    videos = [(page.document_id, [s.kind for s in page.samples]) for page in read_media_links(lake, "f", {"video"})]
    assert videos == [("f:3", ["video"]), ("f:4", ["video"])]
    assert list(read_media_links(lake, "f", ["audio"])) == []
    [_, _, page] = read_interleaved(lake, "f")
    assert [part.text or part.kind for part in page.parts] == ["e\u0301 שלום", "image", "a b", "e f", "image"]
    assert {page.document_id for page in read_interleaved(lake, "f", "media")} == {"f:0", "f:3", "f:4"}


def test_reading_many_batches_finds_each_text(lake):
    documents = [numbered(f"text {n}", IMAGE) if n % 7 in (0, 1) else numbered(f"text {n}") for n in range(500)]
    documents += [numbered(f"text {n}", IMAGE) for n in range(500, 600)]
    write_documents(lake, "f", documents, rows_a_group=77)
    make_both(lake)
    read = {page.document_id: page.samples[0].before for page in read_media_links(lake, "f")}
    assert read == {f"f:{n}": f"text {n}" for n in range(600) if n % 7 in (0, 1) or n >= 500}


def test_killed_at_any_step_then_run_again(lake, tmp_path):
    write_documents(lake, "f", FEW)
    undisturbed = Lake(str(tmp_path / "undisturbed"))
    shutil.copytree(lake.root, undisturbed.root)
    make_both(undisturbed)
    wanted, step, was_killed = folder_bytes(Path(undisturbed.root)), 0, True
    with a_killer() as killer:
        while was_killed:
            step += 1
            disturbed = Lake(str(tmp_path / f"disturbed-{step}"))
            shutil.copytree(lake.root, disturbed.root)
            killer.folders, killer.left = (disturbed.root,), step
            try:
                make_both(disturbed)
                was_killed = False
            except Killed:
                assert folder_bytes(Path(disturbed.root)).items() <= wanted.items(), "whole or not at all"
                make_both(disturbed)
            assert folder_bytes(Path(disturbed.root)) == wanted, f"killed at step {step}"
    assert step > 3


MEMORY = """
import re, sys
from pathlib import Path
from mappool_assets.lib.lake import Lake
from mappool_assets.lib.web_documents.interleaved_pages import interleave, interleaved_tasks
from mappool_assets.lib.web_documents.media_links import LinkSettings, link_media, media_link_tasks
lake = Lake(sys.argv[1])
link_media(media_link_tasks(lake, [sys.argv[2]], LinkSettings())[0])
interleave(interleaved_tasks(lake, [sys.argv[2]])[0])
# Not ru_maxrss: exec passes on the figure of the process that forked.
print(int(re.findall(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[0]) // 1024)
"""


def test_memory_does_not_grow_with_the_file(lake):
    page = numbered("some words of a long page " * 2_000, IMAGE, "and others " * 100)
    used = {}
    for name, number in (("small", 300), ("large", 1_800)):  # 16 and 97 MB of text
        write_documents(lake, name, [page] * number, rows_a_group=100)
        run = subprocess.run(
            [sys.executable, "-c", MEMORY, lake.root, name], capture_output=True, text=True, check=True
        )
        used[name] = int(run.stdout)
    assert used["large"] < used["small"] + 40


def test_a_sample_has_the_tables_columns():
    assert tuple(field.name for field in media_links.SAMPLE) == MediaSample._fields
