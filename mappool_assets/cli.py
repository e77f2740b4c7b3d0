"""The few commands that Dagster's own CLI does not cover: the demo, questions to the lake, one's own images, search."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mappool_assets.lib.errors import BadSetting, MappoolError

if TYPE_CHECKING:
    from mappool_assets.lib.image_classifier import ImageClassifier
    from mappool_assets.lib.lake import Lake
    from mappool_assets.lib.web.web_fetch import FetchRules

LAKE = "lake"  # as --model: the classifier of the lake that is set
INDEX = "maps"  # name of the one index, where none is named
LARGEST_FETCHED, FETCH_SECONDS = 10_000_000, 10.0  # of an image that is searched with: somebody waits for it


def main(arguments: list[str] | None = None) -> int:
    """Run ``mappool``; return the exit status: 0, 1 where it failed, 2 where it was called wrongly.

    ``classify`` returns 1 where some images could not be read, and 2 where none could be looked at.
    """
    parser = argparse.ArgumentParser(prog="mappool", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="run the whole of MapPool on a small world made for it")
    demo.add_argument("--folder", type=Path, default=Path("data/demo"), help="where everything goes (data/demo)")
    demo.set_defaults(run=lambda chosen: _demo(chosen.folder))
    report = commands.add_parser("report", help="answer a question about the lake (without NAME: list the questions)")
    report.add_argument("name", nargs="?", metavar="NAME")
    report.add_argument("--lake", help="the lake to ask (MAPPOOL_LAKE of the environment or of .env, else data/lake)")
    report.set_defaults(run=lambda chosen: _report(chosen.name, chosen.lake))
    _add_classify(commands.add_parser("classify", help="tell of images whether they are maps"))
    _add_serve(commands.add_parser("serve", help="search the image index: a page, and clip-retrieval's protocol"))
    parser.set_defaults(error_status=1)
    chosen = parser.parse_args(arguments)
    try:
        return chosen.run(chosen) or 0
    except MappoolError as error:
        print(f"mappool: {error}", file=sys.stderr)
        return chosen.error_status
    except BrokenPipeError:  # whoever read has seen enough: `mappool … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter complains as it leaves
        return 1


def _add_classify(classify: argparse.ArgumentParser) -> None:
    classify.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="a file, a folder (all files below it but hidden ones; linked folders are not entered), or an address",
    )
    classify.add_argument(
        "--model", default=LAKE, help=f"folder, hf://user/name[@revision], or {LAKE}: the one of MAPPOOL_LAKE ({LAKE})"
    )
    classify.add_argument(
        "--encoder", metavar="local-dir:FOLDER", help="weights of the encoder, where the model's are not open_clip's"
    )
    classify.add_argument("--device", help="cuda, cuda:N, mps or cpu (MAPPOOL_DEVICE, else the best there is)")
    form = classify.add_mutually_exclusive_group()
    form.add_argument("--csv", dest="form", action="store_const", const="csv", help="print CSV")
    form.add_argument("--json", dest="form", action="store_const", const="json", help="print a JSON object a line")
    classify.set_defaults(run=_classify, form="text", error_status=2)


def _add_serve(serve: argparse.ArgumentParser) -> None:
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1: this machine alone)")
    serve.add_argument("--port", type=int, default=1234, help="port (1234)")
    serve.add_argument(
        "--index",
        dest="indexes",
        action="append",
        metavar="NAME=LAKE",
        help=f"an index by a name, once for each; the first is the default ({INDEX}= and the lake of MAPPOOL_LAKE)",
    )
    serve.add_argument("--device", help="cuda, cuda:N, mps or cpu (MAPPOOL_DEVICE, else the best there is)")
    serve.add_argument("--cache", type=Path, help="a folder of this machine for the index of a lake that is none")
    serve.add_argument("--fetch-urls", action="store_true", help="fetch the image_url of requests, as map_images would")
    serve.add_argument("--any-origin", action="store_true", help="let pages of other sites search (CORS *)")
    serve.add_argument("--log-queries", action="store_true", help="log what is searched for")
    serve.add_argument("--safety-head", type=Path, metavar="FILE", help="safetensors of a linear head")
    serve.add_argument("--violence-prompts", type=Path, metavar="FILE", help=".npy of two vectors, as LAION's")
    serve.add_argument("--aesthetic-directions", type=Path, metavar="FOLDER", help="rating0.npy to rating9.npy")
    serve.set_defaults(run=_serve)


def _demo(folder: Path) -> None:
    if "DAGSTER_HOME" not in os.environ:
        raise BadSetting(
            "Dagster has nowhere to record the demo's runs",
            where="DAGSTER_HOME",
            rule="a folder that holds dagster.yaml",
            got="nothing",
            action="Type `make demo`, which sets it.",
        )
    import dagster as dg

    from mappool_assets.demo.tour import run_demo

    with dg.DagsterInstance.get() as instance:
        run_demo(folder, instance, say=lambda line: print(line, flush=True))


def _report(name: str | None, root: str | None) -> None:
    from mappool_assets.lib import sql_files
    from mappool_assets.lib.text_table import as_text

    if name is None:
        for each in sql_files.names("reports"):
            print(f"{each.removeprefix('reports/'):24}{sql_files.question(each)}")
        return
    print(as_text(sql_files.run(_lake(_settings(), root), f"reports/{name}")))


def _classify(chosen: argparse.Namespace) -> int:
    from mappool_assets.lib.classification_lines import Tally
    from mappool_assets.lib.image_classifier import classify_images

    settings = _settings()
    classifier = _image_classifier(chosen, settings)
    rules = _fetch_rules(settings)
    tally = Tally()
    for line in tally.lines(classify_images(classifier, chosen.images, rules=rules), chosen.form):
        encoding = sys.stdout.encoding
        print(line.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    print(tally.summary(), file=sys.stderr)
    return 1 if tally.errors else 0


def _image_classifier(chosen: argparse.Namespace, settings: dict[str, str]) -> ImageClassifier:
    from mappool_assets.lib.classifier_store import classifier_record
    from mappool_assets.lib.encoder import ClipEncoder
    from mappool_assets.lib.image_classifier import ImageClassifier, batch_size_on, load_image_classifier

    device = chosen.device or settings["MAPPOOL_DEVICE"] or None
    if chosen.model != LAKE:
        endpoint = settings["MAPPOOL_HUB_ENDPOINT"] or None
        return load_image_classifier(chosen.model, encoder=chosen.encoder, device=device, hub_endpoint=endpoint)
    model = chosen.encoder or settings["MAPPOOL_ENCODER_MODEL"]
    encoder = ClipEncoder(model, settings["MAPPOOL_ENCODER_PRETRAINED"], device, batch_size_on(device))
    return ImageClassifier(classifier_record(_lake(settings)).classifier, encoder)


def _serve(chosen: argparse.Namespace) -> None:
    from mappool_assets.lib.encoder import ClipEncoder
    from mappool_assets.lib.serve.server import serve
    from mappool_assets.lib.serve.settings import ServiceSettings

    settings = _settings()
    model, weights = settings["MAPPOOL_ENCODER_MODEL"], settings["MAPPOOL_ENCODER_PRETRAINED"]
    device = chosen.device or settings["MAPPOOL_DEVICE"] or None
    encoder = ClipEncoder(model, weights, device, batch_size=1)  # queries come one by one, and a batch is filled up
    rules = dataclasses.replace(
        _fetch_rules(settings),
        max_bytes=LARGEST_FETCHED,
        deadline_seconds=FETCH_SECONDS,
        obeys_robots=settings["MAPPOOL_ROBOTS"] != "0",
        obeys_opt_out=settings["MAPPOOL_ROBOTS"] != "0",
    )
    serve(
        ServiceSettings(
            _indexes(chosen.indexes, settings),
            encoder,
            chosen.host,
            chosen.port,
            cache=chosen.cache,
            url_rules=rules if chosen.fetch_urls else None,
            is_for_any_origin=chosen.any_origin,
            logs_queries=chosen.log_queries,
            safety_head=chosen.safety_head,
            violence_prompts=chosen.violence_prompts,
            aesthetic_directions=chosen.aesthetic_directions,
        )
    )


def _indexes(named: list[str] | None, settings: dict[str, str]) -> dict[str, Lake]:
    if not named:
        return {INDEX: _lake(settings)}
    lakes = {}
    for pair in named:
        name, _, root = pair.partition("=")
        if not name or not root or name in lakes:
            raise BadSetting(
                "An index cannot be served under this name",
                where="--index",
                rule="NAME=LAKE, each name once",
                got=pair,
                action="Give the index a name: --index maps=data/lake.",
            )
        lakes[name] = _lake(settings, root)
    return lakes


def _fetch_rules(settings: dict[str, str]) -> FetchRules:
    """Return how files are fetched that somebody named here, for which robots.txt is not asked."""
    from mappool_assets.lib.web.web_fetch import FetchRules

    return FetchRules(
        user_agent=settings["MAPPOOL_USER_AGENT"],
        egress_proxy=settings["MAPPOOL_EGRESS_PROXY"] or None,
        allow_private_addresses=settings["MAPPOOL_ALLOW_PRIVATE_ADDRESSES"] == "1",
    )


def _lake(settings: dict[str, str], root: str | None = None) -> Lake:
    from mappool_assets.lib.lake import Lake

    return Lake(root or settings["MAPPOOL_LAKE"] or "data/lake", settings["MAPPOOL_S3_ENDPOINT"] or None)


def _settings() -> dict[str, str]:
    """Return all settings: of the environment, else of ``.env``, else their defaults."""
    from dotenv import dotenv_values

    from mappool_assets.defs.settings import SETTINGS

    named = {key: value or "" for key, value in dotenv_values(".env").items()}
    return {**{key: each.default for key, each in SETTINGS.items()}, **named, **os.environ}


if __name__ == "__main__":
    sys.exit(main())
