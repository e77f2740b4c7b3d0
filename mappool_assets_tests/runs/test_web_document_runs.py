"""Crawl files as Dagster records them: the whole chain in one run, failures alone, nothing done twice."""

import contextlib
import itertools
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import dagster as dg
import pytest

from mappool_assets.defs.checks import CHECKS
from mappool_assets.demo.crawl import MadePage, write_warc, write_wat
from mappool_assets.lib.lake import Lake
from mappool_assets_tests.labelled_pictures import encoded
from mappool_assets_tests.loopback_server import running
from mappool_assets_tests.runs.conftest import QUIET, Platform, platform_in
from mappool_assets_tests.small_lake import folder_bytes
from mappool_assets_tests.small_model import dark, light, small_model

__all__ = ["small_model"]  # the fixture

A, B, C = "CC-MAIN-a", "CC-MAIN-b", "CC-MAIN-c"
CHAIN = ("documents", "file_media_urls", "media_links", "interleaved", "packed_documents", "page_images")
COLLECTIONS = ("media_urls", "page_maps")
SENTENCE = "The old map of the valley shows a road that follows the river to the sea."
FILM = '<video src="/films/harbour.mp4"></video>'
EMPTY = MadePage("https://maps.example/empty.html", b"")


def page(number: int, *media: str) -> MadePage:
    """A page with a paragraph before, between and after its media."""
    parts = [f"<p>{number}.{part} {SENTENCE} {SENTENCE}</p>{medium}" for part, medium in enumerate((*media, ""))]
    body = f"<!DOCTYPE html><html><head><title>Page {number}</title></head><body>{''.join(parts)}</body></html>"
    return MadePage(f"https://maps{number % 2}.example/{number}.html", body.encode())


class CrawlPlatform(Platform):
    """A platform on a folder of crawl files."""

    def write(self, crawl_file: str, *pages: MadePage) -> None:
        (self.folder / "crawl").mkdir(exist_ok=True)
        write_warc(self.folder / "crawl" / f"{crawl_file}.warc.gz", pages)

    def run(self, job: str, *files: str, config: dict | None = None) -> dg.ExecuteInProcessResult:
        """Run a job, over a range of crawl files as a backfill's run does; config is by asset."""
        ops = {f"web_documents__{name}": {"config": values} for name, values in (config or {}).items()}
        return self.defs.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            run_config={**QUIET, "ops": ops},
            tags=self._range(files),
            raise_on_error=False,
        )

    def make(self, name: str, *files: str) -> dg.ExecuteInProcessResult:
        """Materialise one asset, over a range of crawl files."""
        return self.defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance,
            run_config=QUIET,
            tags=self._range(files),
            raise_on_error=False,
            asset_selection=[dg.AssetKey(["web_documents", name])],
        )

    def _range(self, files: Sequence[str]) -> dict[str, str]:
        chosen = sorted(files, key=self.files.index)
        names = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
        return dict(zip(names, (chosen[0], chosen[-1]), strict=True)) if files else {}

    @property
    def files(self) -> list[str]:
        return list(self.instance.get_dynamic_partitions("crawl_file"))

    def events(self, result: dg.ExecuteInProcessResult) -> dict[tuple[str, str | None], dg.AssetMaterialization]:
        """Return what a run recorded, by asset and partition; nothing may be recorded twice."""
        records = self.instance.get_records_for_run(
            result.run_id, of_type={dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_OBSERVATION}
        ).records
        keys = [(record.asset_key.path[-1], record.partition_key) for record in records]
        assert max(Counter(keys).values(), default=0) <= 1
        return {key: record.asset_materialization for key, record in zip(keys, records, strict=True)}

    def made(self, name: str) -> set[str]:
        """Return the partitions of an asset that were ever recorded."""
        return self.instance.get_materialized_partitions(dg.AssetKey(["web_documents", name]))

    def lake_bytes(self) -> dict[str, bytes]:
        return folder_bytes(self.folder / "lake" / "web_documents")


def values_of(event: dg.AssetMaterialization) -> dict:
    return {name: value.value for name, value in event.metadata.items()}


def reused(events: dict) -> dict:
    return {key: values_of(event)["is_reused"] for key, event in events.items()}


def failures(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """Return the steps that failed, with what they say."""
    return {
        event.step_key: event.event_specific_data.user_failure_data.description
        for event in result.get_step_failure_events()
    }


def passed(result: dg.ExecuteInProcessResult) -> set[tuple[str, str]]:
    """Return the checks of a run, all of which have to have passed, each evaluated once."""
    checks = [(check.asset_key.path[-1], check.check_name) for check in result.get_asset_check_evaluations()]
    assert all(check.passed for check in result.get_asset_check_evaluations())
    assert len(set(checks)) == len(checks)
    return set(checks)


@contextlib.contextmanager
def platform_on(folder, model, **settings):
    """Yield a platform that knows the model, and a server for its images."""
    shutil.copytree(model.lake.root, folder / "lake")
    with running() as server, dg.DagsterInstance.ephemeral() as instance:
        platform = crawl_platform(folder, instance, model, **settings)
        yield platform, server


def crawl_platform(folder, instance, model, **settings) -> CrawlPlatform:
    chosen = {
        "MAPPOOL_CRAWL": str(folder / "crawl"),
        "MAPPOOL_ALLOW_PRIVATE_ADDRESSES": "1",
        "MAPPOOL_SCRATCH": str(folder / "scratch"),
        "MAPPOOL_ENCODER_MODEL": model.encoder.model,
        **settings,
    }
    return CrawlPlatform(**vars(platform_in(folder, instance, **chosen)))


@pytest.fixture
def platform(tmp_path, small_model):
    """Without images: pages of these tests show films, which nobody fetches."""
    with platform_on(tmp_path, small_model) as (platform, _):
        yield platform


# -- all of it, with images -----------------------------------------------------------------------------------------


@dataclass
class Story:
    """Runs one after the other, and how things stood after each."""

    platform: CrawlPlatform
    results: dict[str, dg.ExecuteInProcessResult] = field(default_factory=dict)
    out_of_date: dict[str, dict] = field(default_factory=dict)
    lake_bytes: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def run(self, name: str, job: str, *files: str) -> None:
        self.results[name] = self.platform.run(job, *files)
        self.out_of_date[name] = self.platform.out_of_date()
        self.lake_bytes[name] = self.platform.lake_bytes()

    def events(self, name: str) -> dict[tuple[str, str | None], dg.AssetMaterialization]:
        return self.platform.events(self.results[name])


@pytest.fixture(scope="module")
def story(tmp_path_factory, small_model):
    """Everything, twice; not to be changed."""
    folder = tmp_path_factory.mktemp("story")
    with platform_on(folder, small_model) as (platform, server):
        images = [
            f'<img src="{server.serve(f"/{n}.png", encoded((dark if n % 2 else light)(n)))}" alt="Picture {n}">'
            for n in range(5)
        ]
        platform.write(A, page(0, images[0], images[1]), EMPTY, page(1, images[2], FILM), page(2))
        platform.write(B, page(3, images[3], images[0]), page(4, images[4]))
        story = Story(platform)
        story.run("crawl", "crawl")
        story.run("first", "pages", A, B)
        story.run("second", "pages", A, B)
        story.run("collected", "page_collections")
        story.run("collected again", "page_collections")
        yield story


def test_each_file_of_the_crawl_becomes_a_partition(story):
    ((name, _), event), = story.events("crawl").items()  # fmt: skip
    metadata = values_of(event)
    assert name == "crawl_files"
    assert (metadata["dagster/row_count"], metadata["files_drawn"], metadata["new_files"]) == (2, 2, 2)
    assert metadata["source"] == event.tags["dagster/data_version"] == str(story.platform.folder / "crawl")
    assert story.platform.files == [A, B]
    assert passed(story.results["crawl"]) == {("crawl_files", "rows_accounted")}


@pytest.mark.parametrize("run", ["first", "second"])
def test_one_run_makes_the_whole_chain(story, run):
    result = story.results[run]
    assert result.success, failures(result)
    done = {event.step_key for event in result.all_events if event.is_step_success}
    assert done == {f"web_documents__{name}" for name in CHAIN}
    assert passed(result) == {(name, check) for name in CHAIN for check in CHECKS[name]}


@pytest.mark.parametrize("run", ["first", "second"])
def test_each_partition_has_one_event_a_run_with_its_own_counts_and_version(story, run):
    events, lake = story.events(run), story.platform.lake
    assert set(events) == set(itertools.product(CHAIN, (A, B)))
    for (name, file), event in events.items():
        metadata, recorded = values_of(event), lake.provenance(f"web_documents/{name}", file)
        assert metadata["rows_in"] == recorded.rows_in
        assert metadata["rows_kept"] == recorded.rows_kept
        dropped = {key.removeprefix("dropped_"): rows for key, rows in metadata.items() if key.startswith("dropped_")}
        assert dropped == recorded.rows_dropped
        assert metadata["bytes"] == lake.size_bytes(Lake.table_path(f"web_documents/{name}", file))
        assert metadata["dagster/uri"].endswith(f"/web_documents/{name}/{file}.parquet")
        assert event.tags["dagster/data_version"] == recorded.fingerprint
    assert {key: values_of(event)["rows_in"] for key, event in events.items()} == {
        ("documents", A): 4,
        ("documents", B): 2,
        ("file_media_urls", A): 4,
        ("file_media_urls", B): 3,
        ("media_links", A): 3,
        ("media_links", B): 2,
        ("interleaved", A): 3,
        ("interleaved", B): 2,
        ("packed_documents", A): 2,
        ("packed_documents", B): 2,
        ("page_images", A): 3,
        ("page_images", B): 3,
    }


def test_what_is_told_of_a_partition_is_what_is_in_it(story):
    events = {key: values_of(event) for key, event in story.events("first").items()}
    assert "| image | 3 |" in events["documents", A]["items"]
    assert "| en | 3 |" in events["documents", A]["languages"]
    assert [record.data["title"] for record in events["documents", A]["sample"].records] == [
        "Page 0",
        "Page 1",
        "Page 2",
    ]
    assert (events["documents", A]["dropped_no_text"], events["media_links", A]["dropped_no_media"]) == (1, 1)
    assert "| image | 3 |\n| video | 1 |" in events["media_links", A]["media"]
    assert "| image | 3 |" in events["interleaved", A]["image_parts"]
    assert "| video | 1 |" in events["interleaved", A]["media_parts"]
    assert "| ok | 3 |" in events["packed_documents", A]["images"]
    assert events["packed_documents", A]["images_to_try_again"] == 0
    assert (events["file_media_urls", A]["pages"], events["file_media_urls", A]["made_of"]) == (3, "documents")
    assert [events["page_images", file]["maps"] for file in (A, B)] == [2, 2]
    assert events["packed_documents", A]["sample"].startswith("![sample images](data:image/png;base64,")
    assert events["page_images", A]["most_like_maps"].startswith("![most like maps](data:image/png;base64,")


@pytest.mark.parametrize("run", ["crawl", "first", "second", "collected", "collected again"])
def test_nothing_is_out_of_date(story, run):
    assert story.out_of_date[run] == {}


def test_a_second_run_reuses_everything_and_says_so(story):
    first, second = story.events("first"), story.events("second")
    assert set(reused(first).values()) == {False}
    assert set(reused(second).values()) == {True}
    assert story.lake_bytes["second"] == story.lake_bytes["first"]
    for key, event in second.items():
        metadata, before = values_of(event), values_of(first[key])
        assert event.tags["dagster/data_version"] == first[key].tags["dagster/data_version"]
        measured = {name for name in before if name == "seconds" or name.endswith("_per_second")}
        assert "seconds" in measured
        assert {name: metadata[name] for name in measured} == {name: before[name] for name in measured}
        assert not {"sample", "most_like_maps"} & set(metadata), "the event log keeps each of them"
    records = story.platform.instance.all_logs(story.results["second"].run_id)
    said = Counter(record.step_key for record in records if record.user_message.endswith("(unchanged, skipped)"))
    assert said == {f"web_documents__{name}": 2 for name in CHAIN}


def test_media_urls_and_maps_are_collected_over_all_files(story):
    assert story.results["collected"].success, failures(story.results["collected"])
    assert passed(story.results["collected"]) == {(name, check) for name in COLLECTIONS for check in CHECKS[name]}
    events = {key: values_of(event) for key, event in story.events("collected").items()}
    assert set(events) == {(name, None) for name in COLLECTIONS}
    urls, maps = events["media_urls", None], events["page_maps", None]
    # Five images, one of them on pages of two domains, and a film.
    assert (urls["rows_in"], urls["rows_kept"], urls["dropped_same_url"]) == (7, 6, 1)
    assert (urls["dagster/row_count"], "| image | 5 |" in urls["urls"], "| image | 6 |" in urls["seen"]) == (
        6,
        True,
        True,
    )
    lake = story.platform.lake
    shown = lake.read_table("web_documents/page_maps").to_pylist()
    assert sorted(row["text"] for row in shown) == ["Picture 0", "Picture 0", "Picture 2", "Picture 4"]
    assert (maps["rows_in"], maps["dagster/row_count"]) == (4, 4)
    assert maps["rows_kept"] == sum(row["dropped"] is None for row in shown)


def test_collections_that_are_unchanged_keep_their_versions(story):
    first, second = story.events("collected"), story.events("collected again")
    assert {key: event.tags["dagster/data_version"] for key, event in first.items()} == {
        key: event.tags["dagster/data_version"] for key, event in second.items()
    }
    assert story.lake_bytes["collected again"] == story.lake_bytes["collected"]


# -- what goes wrong, what comes later ------------------------------------------------------------------------------


def test_a_damaged_file_fails_alone_and_a_later_run_does_only_it(platform):
    for number, file in enumerate((A, B, C)):
        platform.write(file, page(number, FILM))
    good = (platform.folder / "crawl" / f"{B}.warc.gz").read_bytes()
    (platform.folder / "crawl" / f"{B}.warc.gz").write_bytes(b"This is no crawl file. " * 100)
    assert platform.run("crawl").success
    result = platform.run("pages", A, B, C)
    assert not result.success
    (said,) = failures(result).values()
    assert said.startswith(f"1 of 3 partitions failed, the others are done: {B}: The crawl file holds no record")
    assert set(platform.events(result)) == {("documents", A), ("documents", C)}
    assert passed(result) == {("documents", check) for check in CHECKS["documents"]}, "of those that are done"
    (row,) = platform.lake.read_table("web_documents/document_failures", B).to_pylist()
    assert (row["shard"], row["error"]) == (B, "BadShard")
    assert platform.out_of_date() == {}

    (platform.folder / "crawl" / f"{B}.warc.gz").write_bytes(good)
    result = platform.run("pages", A, B, C)
    assert result.success, failures(result)
    events = platform.events(result)
    assert set(events) == set(itertools.product(CHAIN, (A, B, C)))
    assert {file: is_reused for (name, file), is_reused in reused(events).items() if name == "documents"} == {
        A: True,
        B: False,
        C: True,
    }
    assert platform.lake.partitions("web_documents/document_failures") == []
    assert platform.out_of_date() == {}


def test_a_new_file_is_a_new_partition_and_only_it_is_made(platform):
    platform.write(B, page(0, FILM), page(2))
    assert platform.run("crawl").success
    assert platform.run("pages", B).success
    assert platform.run("page_collections").success
    before = platform.lake_bytes()

    platform.write(A, page(1, FILM))
    (event,) = platform.events(platform.run("crawl")).values()
    assert (values_of(event)["new_files"], platform.files) == (1, [B, A])
    assert platform.out_of_date() == {}, "one more file makes nothing stale that was made of the others"
    missing = [file for file in platform.files if file not in platform.made("documents")]
    result = platform.run("pages", *missing)
    assert result.success
    assert set(platform.events(result)) == set(itertools.product(CHAIN, [A]))
    after = platform.lake_bytes()
    assert {path: after[path] for path in before if B in path} == {path: before[path] for path in before if B in path}

    assert set(platform.out_of_date()) == {(name, None) for name in COLLECTIONS}, "they are of all files"
    assert platform.run("page_collections").success
    assert platform.out_of_date() == {}
    assert platform.lake.query("SELECT count(*) AS n FROM media_urls").to_pylist() == [{"n": 2}]


def test_a_file_that_is_listed_no_more_stays(platform):
    for file in (A, B):
        platform.write(file, page(0, FILM))
    assert platform.run("crawl").success
    assert platform.make("documents", A).success
    (platform.folder / "crawl" / f"{A}.warc.gz").unlink()
    (event,) = platform.events(platform.run("crawl")).values()
    assert (values_of(event)["files_drawn"], values_of(event)["new_files"]) == (1, 0)
    assert platform.files == [A, B]
    listed = platform.lake.query("SELECT crawl_file, is_listed FROM crawl_files ORDER BY ALL").to_pylist()
    assert listed == [{"crawl_file": A, "is_listed": False}, {"crawl_file": B, "is_listed": True}]
    assert platform.out_of_date() == {}


def test_documents_are_made_again_by_force_and_are_the_same(platform):
    platform.write(A, page(0, FILM), EMPTY)
    assert platform.run("crawl").success
    assert platform.run("pages", A).success
    before = platform.lake_bytes()
    result = platform.run("pages", A, config={"documents": {"force": True}, "page_images": {"force": True}})
    assert result.success, failures(result)
    again = {name for (name, _), is_reused in reused(platform.events(result)).items() if not is_reused}
    assert again == {"documents", "page_images"}
    assert platform.lake_bytes() == before
    assert platform.out_of_date() == {}


def test_what_was_given_up_is_asked_for_again_by_force(tmp_path, small_model):
    with platform_on(tmp_path, small_model) as (platform, server):
        platform.write(A, page(0, f'<img src="{server.url}/0.png" alt="A map">'))
        assert platform.run("crawl").success
        assert platform.run("pages", A).success
        server.serve("/0.png", encoded(light(0)))
        for config, is_reused, kept in (({}, True, 0), ({"packed_documents": {"force": True}}, False, 1)):
            result = platform.run("pages", A, config=config)
            assert result.success, failures(result)
            events = platform.events(result)
            assert reused(events)["packed_documents", A] is is_reused
            assert reused(events)["page_images", A] is is_reused
            assert values_of(events["packed_documents", A])["rows_kept"] == kept
            assert values_of(events["page_images", A])["rows_kept"] == kept
        assert platform.out_of_date() == {}


def test_a_partition_that_no_listing_has_fails_alone(platform):
    platform.write(A, page(0, FILM))
    assert platform.run("crawl").success
    platform.instance.add_dynamic_partitions("crawl_file", [B])
    result = platform.make("documents", A, B)
    assert "No listing of a crawl has this file" in failures(result)["web_documents__documents"]
    assert platform.made("documents") == {A}


def test_before_a_crawl_is_listed_it_says_what_to_do(platform):
    platform.instance.add_dynamic_partitions("crawl_file", [A])
    (said,) = failures(platform.run("pages", A)).values()
    assert "Materialise the asset web_documents/crawl_files first" in said


# -- WAT files ------------------------------------------------------------------------------------------------------


def test_of_wat_files_there_are_media_urls_and_documents_say_what_to_do(tmp_path, small_model):
    pages = {A: [page(0, FILM), page(1)], B: [page(2, FILM)]}
    with platform_on(tmp_path, small_model, MAPPOOL_CRAWL_KIND="wat") as (platform, _):
        (tmp_path / "crawl").mkdir()
        for file in (A, B):
            write_wat(tmp_path / "crawl" / f"{file}.warc.wat.gz", pages[file])
        assert platform.run("crawl").success
        result = platform.make("file_media_urls", A, B)
        assert result.success, failures(result)
        events = {file: values_of(event) for (_, file), event in platform.events(result).items()}
        assert [(events[file]["pages"], events[file]["made_of"]) for file in (A, B)] == [
            (2, "the WAT file"),
            (1, "the WAT file"),
        ]
        assert platform.make("media_urls").success
        shown = platform.lake.query("SELECT kind, url, seen, domains FROM media_urls").to_pylist()
        assert shown == [{"kind": "video", "url": "https://maps0.example/films/harbour.mp4", "seen": 2, "domains": 1}]
        assert platform.out_of_date() == {}, "documents, which are not made of WAT files, are not waited for"

        (said,) = failures(platform.run("pages", A, B)).values()
        assert said.startswith("2 of 2 partitions failed")
        assert "List WARC files; of WAT files file_media_urls is made" in said
        assert platform.made("documents") == set()

        # The same files as WARC: what was made of the WAT is out of date, once the documents are there.
        for file in (A, B):
            platform.write(file, *pages[file])
        warc = crawl_platform(tmp_path, platform.instance, small_model)
        assert warc.run("crawl").success
        assert warc.make("documents", A, B).success
        assert set(warc.out_of_date()) == {("file_media_urls", A), ("file_media_urls", B)}
        result = warc.make("file_media_urls", A, B)
        assert {values_of(event)["made_of"] for event in warc.events(result).values()} == {"documents"}
        assert set(warc.out_of_date()) == {("media_urls", None)}
        assert warc.make("media_urls").success
        assert warc.out_of_date() == {}
