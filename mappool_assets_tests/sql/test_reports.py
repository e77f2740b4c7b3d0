from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mappool_assets.lib import sql_files
from mappool_assets.lib.lake import Lake, Provenance
from mappool_assets.lib.shard_filter import HISTOGRAM_EDGES
from mappool_assets_tests.small_images import PNG_SIZE, flat_png, write_images, write_unique_images
from mappool_assets_tests.small_lake import (
    SOURCE,
    THRESHOLD,
    shard_key,
    write_failure,
    write_maps,
    write_pool,
    write_training_set,
)

A, B, C, D = (shard_key(first) for first in "abcd")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def report(lake: Lake, name: str) -> list[dict]:
    return sql_files.run(lake, f"reports/{name}").to_pylist()


def test_the_funnel_adds_up_all_partitions(lake: Lake) -> None:
    write_maps(lake, A, rows=3)
    write_maps(lake, B, rows=7)
    write_training_set(lake, [("s1", "p1", "training")])
    assert report(lake, "funnel") == [
        {
            "table": "mappool/shard_maps",
            "partitions": 2,
            "rows_in": 20,
            "rows_kept": 10,
            "rows_dropped": 10,
            "dropped_by_reason": "not_a_map 8, null_url 2",
        },
        {
            "table": "mappool/training_set",
            "partitions": 1,
            "rows_in": 1,
            "rows_kept": 1,
            "rows_dropped": 0,
            "dropped_by_reason": "",
        },
    ]


def test_lineage_tells_what_made_each_partition(lake: Lake) -> None:
    write_maps(lake, A)
    write_maps(lake, B, threshold=0.5)
    rows = report(lake, "lineage")
    assert [(row["table"], row["partition"]) for row in rows] == [("mappool/shard_maps", A), ("mappool/shard_maps", B)]
    for row in rows:
        made = lake.provenance(row["table"], row["partition"])
        assert made is not None
        assert row["fingerprint"] == made.fingerprint
        assert json.loads(row["inputs"]) == made.inputs
        assert json.loads(row["rows_dropped"]) == made.rows_dropped
        assert (row["rows_in"], row["rows_kept"]) == (made.rows_in, made.rows_kept)


def test_the_backlog_says_why_and_keeps_addresses_out_of_what_is_published(lake: Lake) -> None:
    write_pool(lake, {A: "", B: "", C: "", D: ""}, unlisted=[C])
    write_maps(lake, D)
    write_failure(lake, B)
    rows = {row["shard"]: row for row in report(lake, "backlog")}
    assert {shard: row["reason"] for shard, row in rows.items()} == {
        A: "not scored yet",
        B: "BadShard: A member is missing",
        C: "no longer listed at the source",
    }
    assert (rows[B]["where"], rows[B]["action"]) == (f"/home/me/{B}.npz", "Fetch it again.")


def test_the_backlog_before_any_shard_is_scored_is_the_whole_pool(lake: Lake) -> None:
    write_pool(lake, {A: "part_1", B: "part_2"})
    assert [row["shard"] for row in report(lake, "backlog")] == [A, B]


def test_the_corpus_takes_the_sources_part_or_the_keys_first_character(lake: Lake) -> None:
    write_pool(lake, {A: "", B: "", C: "part_17"})
    write_maps(lake, A)
    write_maps(lake, C, rows=0)
    write_maps(lake, D)  # scored once, of another pool
    rows = report(lake, "corpus")
    assert [(row["shard"], row["part"], row["rows_kept"]) for row in rows] == [(C, "part_17", 0), (A, "part_a", 3)]
    assert {(row["source"], row["revision"], row["classifier_id"], row["threshold"]) for row in rows} == {
        (SOURCE, "0123abcd", "svm-1", THRESHOLD)
    }


def test_maps_of_files_that_changed_since_are_not_of_the_listed_revision(lake: Lake) -> None:
    write_pool(lake, {A: ""})
    maps = write_maps(lake, A)
    made = lake.provenance("mappool/shard_maps", A)
    assert made is not None
    changed = Provenance({**made.inputs, "npz_version": "0"}, made.rows_in, made.rows_kept, made.rows_dropped)
    lake.write_table("mappool/shard_maps", maps, changed, A)
    assert report(lake, "corpus")[0]["revision"] is None


# -- the pool report's statements ----------------------------------------------------------------------------------


def test_yields_of_all_scored_shards_with_their_parts(lake: Lake) -> None:
    write_pool(lake, {A: "", B: "part_17"}, unlisted=[B])
    for key, rows in ((A, 3), (B, 7), (D, 0)):  # D was scored of a pool that is listed no more
        write_maps(lake, key, rows=rows)
    rows = report(lake, "yield_by_shard")
    assert [(row["shard"], row["part"], row["rows_in"], row["rows_kept"]) for row in rows] == [
        (B, "part_17", 12, 7),
        (A, "part_a", 8, 3),
        (D, "part_d", 5, 0),
    ]
    assert [row["yield_share"] for row in rows] == [7 / 12, 3 / 8, 0]
    assert {(row["classifier_id"], row["threshold"]) for row in rows} == {("svm-1", THRESHOLD)}
    assert dict(rows[0]["rows_dropped"]) == {"not_a_map": 4, "null_url": 1}


def test_the_score_histogram_adds_up_all_shards_over_the_filters_edges(lake: Lake) -> None:
    counts = np.random.default_rng(1).integers(0, 1000, (2, len(HISTOGRAM_EDGES) - 1))
    for key, of_shard in zip((A, B), counts, strict=True):
        maps, made = write_maps(lake, key), lake.provenance("mappool/shard_maps", key)
        assert made is not None
        measured = Provenance(made.inputs, 8, 3, made.rows_dropped, {"score_counts": of_shard.tolist(), "screen": None})
        lake.write_table("mappool/shard_maps", maps, measured, key)
    rows = report(lake, "score_histogram")
    assert [row["row_count"] for row in rows] == counts.sum(axis=0).tolist()
    np.testing.assert_allclose([row["score_from"] for row in rows], HISTOGRAM_EDGES[:-1], atol=1e-12)
    np.testing.assert_allclose([row["score_to"] for row in rows], HISTOGRAM_EDGES[1:], atol=1e-12)


def test_map_scores_are_rounded_down_to_hundredths(lake: Lake) -> None:
    scores = np.array([-0.001, 0.0, 0.0099, 0.01, 0.999, 2.5], np.float32)
    write_maps(lake, A, rows=6, columns={"map_score": scores})
    write_maps(lake, B, rows=1, columns={"map_score": np.float32([0.011])})
    steps = Counter(math.floor(100 * float(score)) / 100 for score in (*scores, np.float32(0.011)))
    assert [(row["score_from"], row["maps"]) for row in report(lake, "map_scores")] == sorted(steps.items())


def test_samples_are_the_first_by_uid_over_all_shards(lake: Lake) -> None:
    uids = {A: ["e1", "a1", "c1"], B: ["b2", "f2", "d2"]}
    for key, of_shard in uids.items():
        write_maps(lake, key, columns={"uid": of_shard, "text": [f"caption {uid}" for uid in of_shard]})
    write_images(lake, A, ["ok", "http_404", "ok"])
    write_images(lake, B)
    captions = sql_files.run(lake, "reports/caption_sample", captions=4).to_pylist()
    assert [(row["uid"], row["text"]) for row in captions] == [
        (uid, f"caption {uid}") for uid in ("a1", "b2", "c1", "d2")
    ]
    images = sql_files.run(lake, "reports/image_sample", images=4).to_pylist()
    assert [(row["shard"], row["uid"]) for row in images] == [(B, "b2"), (A, "c1"), (B, "d2"), (A, "e1")]
    assert images[1]["text"] == "caption c1"
    assert len(report(lake, "caption_sample")) == 6
    assert len(report(lake, "image_sample")) == 5


def test_words_are_counted_once_a_caption(lake: Lake) -> None:
    texts = ["Map of ZÜRICH, map, MAP!", "2nd map of B52 and IMG001; a हिन्दी word", "地図 x 1:25 000 " + "w" * 41, ""]
    write_maps(lake, A, rows=4, columns={"text": texts})
    assert [(row["word"], row["captions"]) for row in report(lake, "caption_words")] == [
        ("map", 2),
        ("of", 2),
        ("and", 1),
        ("word", 1),
        ("zürich", 1),
        ("हिन्दी", 1),
        ("地図", 1),
    ]
    assert sql_files.run(lake, "reports/caption_words", words=1).num_rows == 1


def test_sizes_and_proportions_are_counted_in_steps_of_octaves(lake: Lake) -> None:
    widths, heights = [1, 255, 256, 256, 1449, 3000, 0], [1, 300, 256, 4096, 1024, 10, 5]
    write_maps(lake, A, rows=7, columns={"original_width": widths, "original_height": heights})
    write_images(lake, A, ["ok", "ok", *["timeout"] * 5])
    sizes = Counter(("pool", math.floor(4 * math.log2(min(w, h)))) for w, h in zip(widths[:6], heights, strict=False))
    sizes["fetched", math.floor(4 * math.log2(min(PNG_SIZE)))] = 2
    rows = report(lake, "image_sizes")
    assert {(row["source"], row["step"]): row["images"] for row in rows} == sizes
    for row in rows:  # the least whole number of pixels in the step
        assert math.floor(4 * math.log2(row["pixels_from"])) == row["step"]
        assert row["pixels_from"] == 1 or math.floor(4 * math.log2(row["pixels_from"] - 1)) < row["step"]
    ratios = Counter(("pool", round(8 * math.log2(w / h))) for w, h in zip(widths[:6], heights, strict=False))
    ratios["fetched", round(8 * math.log2(PNG_SIZE[0] / PNG_SIZE[1]))] = 2
    rows = report(lake, "aspect_ratios")
    assert {(row["source"], row["step"]): row["images"] for row in rows} == ratios
    assert {row["width_by_height"] for row in rows if row["step"] == 4} == {1.4142}


def test_formats_and_statuses_of_the_images(lake: Lake) -> None:
    write_maps(lake, A, rows=7)
    statuses = ["ok", "http_404", "ok", "http_404", "robots_txt", "timeout", "some_new_reason"]
    write_images(lake, A, statuses)
    size = len(flat_png(0)) + len(flat_png(2))
    assert report(lake, "image_formats") == [{"mime": "image/png", "images": 2, "image_bytes": size}]
    rows = report(lake, "image_statuses")
    assert [(row["status"], row["http_code"], row["outcome"], row["images"]) for row in rows] == [
        ("http_404", 404, "dead link", 2),
        ("ok", None, "fetched", 2),
        ("robots_txt", None, "kept out", 1),
        ("some_new_reason", None, "dead link", 1),
        ("timeout", None, "dead link", 1),
    ]
    assert [row["images_share"] for row in rows] == [row["images"] / 7 for row in rows]


DOMAINS = {
    "https://www.Example.com:8080/a?b=@c": "example.com",
    "http://me:pw@x.org/": "x.org",
    "https://[2001:db8::1]:80/x": "[2001:db8::1]",
    "http://a.b\\evil.c/": "a.b",
    "http://a.b?x=@c": "a.b",
    "HTTPS://MÜNCHEN.de/ä": "münchen.de",
    "http://a@b@c.de/": "c.de",
    "http://a.b.:80/": "a.b",
    "http://sub.www.d.e/": "sub.www.d.e",
    "javascript:alert(1)": "",
    "//a.b/c": "",
    "not an address": "",
}


@pytest.mark.parametrize("url", DOMAINS)
def test_a_domain_is_the_host_without_port_and_www(lake: Lake, url: str) -> None:
    write_maps(lake, A, rows=10, columns={"url": [url] * 10})
    write_images(lake, A, ["timeout"] * 10)
    assert [row["domain"] for row in report(lake, "domains")] == [DOMAINS[url]]
    assert [row["domain"] for row in report(lake, "dead_links_by_domain")] == [DOMAINS[url]]


def test_domains_are_ranked_and_thinned_out_after_the_20th(lake: Lake) -> None:
    maps = {f"d{number:03}.example": 300 - number for number in range(150)}
    urls = [f"https://{domain}/{n}" for domain, count in maps.items() for n in range(count)]
    write_maps(lake, A, rows=len(urls), columns={"url": urls})
    rows = report(lake, "domains")
    ranks = [row["rank"] for row in rows]
    assert ranks[:20] == list(range(1, 21))
    assert ranks[20:] == [26, 32, 40, 51, 64, 80, 100, 126, 150]
    for row in rows:
        assert row["domain"] == f"d{row['rank'] - 1:03}.example"
        assert row["maps"] == 301 - row["rank"]
        assert row["maps_share"] == row["maps"] / len(urls)
        assert row["cumulative_share"] == sum(list(maps.values())[: row["rank"]]) / len(urls)


def test_dead_links_are_ranked_by_domains_of_at_least_ten_maps(lake: Lake) -> None:
    statuses = {
        "dead.example": ["http_404"] * 5 + ["timeout"] * 6 + ["ok"] + ["not_balanced"] * 8,  # which were not wanted
        "wishes.example": ["robots_txt"] * 9 + ["opted_out"] * 3,  # kept out, not dead
        "small.example": ["http_404"] * 9,
        "half.example": ["connection", "ok"] * 6,
    }
    urls = [f"https://www.{domain}/{n}" for domain, of_domain in statuses.items() for n in range(len(of_domain))]
    write_maps(lake, A, rows=len(urls), columns={"url": urls})
    write_images(lake, A, [status for of_domain in statuses.values() for status in of_domain])
    assert report(lake, "dead_links_by_domain") == [
        {"domain": "dead.example", "images": 12, "dead_links": 11, "dead_share": 11 / 12, "main_reason": "timeout"},
        {"domain": "half.example", "images": 12, "dead_links": 6, "dead_share": 0.5, "main_reason": "connection"},
    ]


STATUS_REPORTS = ("image_statuses", "dead_links_by_domain")


def test_a_dead_link_is_the_same_in_both_reports(lake: Lake) -> None:
    statuses = [
        "ok",
        "taken_down",
        "robots_txt",
        "opted_out",
        "too_large",
        "http_404",
        "hash_changed",
        "blocked_address",
    ]
    statuses += ["bad_uid", "too_many_pixels", "not_an_image", "robots_unreachable", "connection", "bad_url"]
    statuses += ["download_failed", "http_429", "http_503", "http_500", "not_balanced"]
    urls = [f"https://{status}.example/{n}" for status in statuses for n in range(10)]
    write_maps(lake, A, rows=len(urls), columns={"url": urls})
    write_images(lake, A, [status for status in statuses for _ in range(10)])
    of_outcome: dict[str, set[str]] = {}
    for row in report(lake, "image_statuses"):
        of_outcome.setdefault(row["outcome"], set()).add(row["status"])
    dead = of_outcome["dead link"]
    assert dead == {"http_404", "http_500", "hash_changed", "not_an_image", "connection", "bad_url"}
    assert of_outcome["unknown"] == {"robots_unreachable", "download_failed", "http_429", "http_503"}
    assert "not_balanced" in of_outcome["kept out"]
    assert of_outcome.keys() == {"fetched", "kept out", "dead link", "unknown"}
    assert {row["main_reason"] for row in report(lake, "dead_links_by_domain")} == dead


def test_members_of_the_largest_groups_the_kept_one_first_then_a_duplicate_of_each_kind(lake: Lake) -> None:
    uids = {key: [f"{key[0]}{number}" for number in range(6)] for key in (A, B)}
    for key in (A, B):
        write_maps(lake, key, rows=6, columns={"uid": uids[key], "text": [f"caption {uid}" for uid in uids[key]]})
    large = [(B, "b3", None), (A, "a0", "perceptual"), (A, "a1", "exact"), (B, "b0", "exact"), (B, "b1", "exact")]
    small = [(A, "a5", None), (B, "b5", "embedding")]
    write_unique_images(lake, [[(A, "a2", None)], small, large])
    rows = report(lake, "duplicate_members")
    assert [(row["group_size"], row["relation"], row["uid"]) for row in rows] == [
        (5, None, "b3"),
        (5, "exact", "a1"),
        (5, "perceptual", "a0"),
        (5, "exact", "b0"),
        (5, "exact", "b1"),
        (2, None, "a5"),
        (2, "embedding", "b5"),
    ]
    assert {(row["representative_shard"], row["representative_uid"]) for row in rows[:5]} == {(B, "b3")}
    assert (rows[1]["shard"], rows[1]["text"], rows[2]["hash_distance"]) == (A, "caption a1", 3)
    few = sql_files.run(lake, "reports/duplicate_members", groups=1, images=3).to_pylist()
    assert few == rows[:3]


def test_reports_on_images_are_empty_before_the_first_was_fetched(lake: Lake) -> None:
    write_maps(lake, A)
    for name in ("image_sample", "image_formats", "duplicate_members", *STATUS_REPORTS):
        assert report(lake, name) == []
    assert {row["source"] for row in report(lake, "image_sizes")} == {"pool"}
