"""The model card (README.md): what the classifier is for, how it was made, how far to trust it, how to use it.

Everything it states comes from the lake; what the lake does not know it does not state.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

from mappool_assets.lib.decision import CENTROID, LOGISTIC_REGRESSION, MLP, SVM
from mappool_assets.lib.evaluation import METHOD_NAMES, Evaluation, accuracy_markdown, wilson_interval
from mappool_assets.lib.model_file import MODEL_NAME, ClassifierRecord
from mappool_assets.lib.model_parity import ROWS, TOLERANCE
from mappool_assets.lib.publish.card_for_readers import table
from mappool_assets.lib.published_model import CONFIG_NAME, PARITY_NAME, SKOPS_NAME, EncoderDescription
from mappool_assets.lib.training_set_rules import EVALUATION, TRAINING

SCORE_MEANINGS = {
    CENTROID: "L2 distance to the averaged embedding of other images minus that to the averaged embedding of maps",
    LOGISTIC_REGRESSION: "log-odds of being a map, x · coefficients + intercept",
    MLP: "log-odds of being a map, before the logistic output; hidden layers with ReLU",
    SVM: "decision function of the SVM, Σ dual · (gamma ⟨x, support⟩ + coef0)^degree + intercept",
}


@dataclass(frozen=True)
class ModelCardSettings:
    """What the card says that the lake does not know.

    Attributes
    ----------
    address : str
        What readers type to name the model: ``hf://user/name``, or the name of its folder.
    title : str
        The model's title.
    license : str
        Of the classifier's files, as the Hub names it. Default: this package's own licence.
    """

    address: str = "hf://user/name"
    title: str = "Map classifier"
    license: str = "apache-2.0"


@dataclass(frozen=True)
class ModelFacts:
    """What the lake knows of a model.

    Attributes
    ----------
    record : ClassifierRecord
    encoder : EncoderDescription
    images : mapping of split to mapping of bool to int
        Labelled images by split and whether they are maps; empty where they are not known any more.
    training_dataset : str or None
        ``owner/name`` of the labelled images on the Hub.
    penalty : float or None
        scikit-learn's C, where the method has one and it is known.
    parity_origin : str
        What the embeddings of the parity file are of.
    file_bytes : mapping of str to int
        Sizes of the files beside the card.
    """

    record: ClassifierRecord
    encoder: EncoderDescription
    images: Mapping[str, Mapping[bool, int]]
    training_dataset: str | None
    penalty: float | None
    parity_origin: str
    file_bytes: Mapping[str, int]

    @property
    def evaluation(self) -> Evaluation:
        """Of the classifier that is published."""
        return next(e for e in self.record.evaluations if e.classifier_id == self.record.classifier.classifier_id)


def model_card(facts: ModelFacts, settings: ModelCardSettings) -> str:
    """Return the card as Markdown with the Hub's YAML header; the same model gives the same text."""
    sections = (
        _header(facts, settings),
        _summary(facts, settings),
        _use(facts, settings),
        _accuracy(facts),
        _purpose(facts),
        _training(facts),
        _files(facts),
        _rights(facts, settings),
        CITATION,
    )
    return "\n\n".join(section.strip() for section in sections) + "\n"


def _header(facts: ModelFacts, settings: ModelCardSettings) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    e = facts.evaluation
    measured = {
        "accuracy": e.accuracy,
        "precision": e.precision,
        "recall": e.recall,
        "average_precision": e.average_precision,
    }
    header = ModelCardData(
        license=settings.license,
        library_name="mappool-assets",
        pipeline_tag="image-classification",
        tags=["maps", "cartography", "geospatial", "clip", "safetensors", e.method],
        datasets=[facts.training_dataset] if facts.training_dataset else None,
        metrics=list(measured),
        model_name=settings.title,
        eval_results=[
            EvalResult(
                task_type="image-classification",
                dataset_type=facts.training_dataset or "imagefolder",
                dataset_name="labelled images, evaluation split",
                metric_type=name,
                metric_value=round(value, 6),
            )
            for name, value in measured.items()
            if value is not None
        ],
    )
    return f"---\n{header.to_yaml()}\n---"


def _summary(facts: ModelFacts, settings: ModelCardSettings) -> str:
    classifier = facts.record.classifier
    return f"# {settings.title}\n\n" + _paragraph(
        f"Tells whether an image shows a map. An image becomes a vector of {classifier.dimension} numbers with CLIP "
        f"({_encoder_name(facts)}), and a small classifier ({METHOD_NAMES[classifier.kind]}) scores the vector: a "
        f"score over {classifier.threshold:g} is a map. The files here are that classifier, trained by the method of "
        "MapPool, as safetensors and JSON without any pickle; CLIP's weights are not among them."
    )


def _paragraph(text: str) -> str:
    return textwrap.fill(text, 118, break_long_words=False, break_on_hyphens=False)


def _encoder_name(facts: ModelFacts) -> str:
    if facts.encoder.model is None:
        return f"weights of its own, `{facts.encoder.encoder_id}`"
    return f"open_clip's `{facts.encoder.model}`, weights `{facts.encoder.pretrained}`"


def _use(facts: ModelFacts, settings: ModelCardSettings) -> str:
    is_local = facts.encoder.model is None
    option, argument = (" --encoder local-dir:FOLDER", ', encoder="local-dir:FOLDER"') if is_local else ("", "")
    folder = "\n\n`FOLDER` holds the encoder's `open_clip_config.json` and `open_clip_model.safetensors`."
    return f"""
## Use it

With the Python package `mappool-assets`: images, folders and addresses, one answer a line, also as `--csv` or `--json`.

```sh
mappool classify picture.png scans/ https://example.org/map.jpg --model {settings.address}{option}
```

```python
from mappool_assets.lib.image_classifier import classify_images, load_image_classifier

classifier = load_image_classifier("{settings.address}"{argument})
for image in classify_images(classifier, ["picture.png", "scans"]):
    print(image.is_map, image.score, image.error, image.source)
```{folder if is_local else ""}

The score, of a unit-length image embedding x, is no probability; higher is more like a map:
{SCORE_MEANINGS[facts.record.classifier.kind]}.
"""


def _accuracy(facts: ModelFacts) -> str:
    e = facts.evaluation
    maps = e.true_positives + e.false_negatives
    called = e.true_positives + e.false_positives
    rows = [
        _share("accuracy", "right answers", e.true_positives + e.true_negatives, e.rows),
        _share("precision", "maps among what is called a map", e.true_positives, called),
        _share("recall", "maps that are called one", e.true_positives, maps),
        _share("false alarms", "other images that are called a map", e.false_positives, e.rows - maps),
    ]
    return f"""
## How accurate it is

On {e.rows:,} labelled images that were not trained on, {maps:,} maps and {e.rows - maps:,} others, with the threshold
at {e.threshold:g}; intervals of 95 % (Wilson):

{table(("measure", "share of", "%", "interval", "images"), rows)}

Beside the other methods that were tried, the published one in bold; the paper's figures are for its own images:

{accuracy_markdown(facts.record.evaluations, chosen=e.method)}
"""


def _share(name: str, meaning: str, part: int, whole: int) -> tuple[str, ...]:
    if not whole:
        return name, meaning, "–", "–", "0"
    low, high = wilson_interval(part, whole)
    return name, meaning, f"{100 * part / whole:.1f}", f"{100 * low:.1f}–{100 * high:.1f}", f"{part:,} of {whole:,}"


def _purpose(facts: ModelFacts) -> str:
    e = facts.evaluation
    maps = e.true_positives + e.false_negatives
    return f"""
## What it is for, and what not

For finding maps in large collections of images whose errors somebody can live with: corpora for training, search,
surveys of archives. Not for decisions about people, nor where a missed map or a false one does harm.

- The intervals hold for images like the labelled ones, of which {maps / e.rows:.0%} are maps. Where maps are rare, the
  same share of false alarms can outweigh the maps: raise the threshold, and look at a sample.
- What counts as a map is what was labelled so. How mixed cases (a globe, a floor plan, a map on a bag) are decided
  has not been measured, nor whether styles, scripts, centuries or regions fare alike.
- Only embeddings of the encoder named above can be scored: of other weights, or other preprocessing, the score means
  nothing. `mappool classify` refuses them.
- The image is seen at {_pixels(facts)} pixels, as the encoder's preprocessing makes it: small print is lost.
"""


def _pixels(facts: ModelFacts) -> str:
    height, width = facts.encoder.preprocessing["size"]
    return f"{width} × {height}"


def _training(facts: ModelFacts) -> str:
    classifier = facts.record.classifier
    rows = [
        ("method", METHOD_NAMES[classifier.kind]),
        *((name, f"{value:g}") for name, value in classifier.parameters.items()),
        *([("C", f"{facts.penalty:g}")] if facts.penalty is not None else []),
        ("threshold", f"{classifier.threshold:g}"),
        ("encoder", f"`{facts.encoder.encoder_id}`"),
        ("classifier", f"`{classifier.classifier_id}`"),
        ("training set", f"`{classifier.training_set_id}`"),
    ]
    counts = "The numbers of images that it was trained on are not known any more."
    if facts.images:
        training, held_out = facts.images[TRAINING], facts.images[EVALUATION]
        counts = (
            f"Trained on {training[True]:,} maps and {training[False]:,} other images, evaluated on {held_out[True]:,} "
            f"and {held_out[False]:,}."
        )
    source = (
        f" They are those of [{facts.training_dataset}](https://huggingface.co/datasets/{facts.training_dataset})."
        if facts.training_dataset
        else ""
    )
    splits = (
        " An image's split follows from the hash of its bytes; no image is there twice, and no look-alike of a "
        "training image (perceptual hash) is among those for evaluation."
    )
    return f"## How it was trained\n\n{_paragraph(counts + source + splits)}\n\n" + table(("what", "value"), rows)


def _files(facts: ModelFacts) -> str:
    meanings = {
        MODEL_NAME: "the classifier's arrays, and under `screen/` those of a cheap bound that excludes most images",
        CONFIG_NAME: "kind, parameters, threshold, encoder with its preprocessing, evaluation",
        PARITY_NAME: f"up to {ROWS} embeddings ({facts.parity_origin}) with their scores, which a reader must "
        f"reproduce in float64 within {TOLERANCE:g}",
        SKOPS_NAME: "the same classifier for scikit-learn (`skops.io.load`); its `predict` decides at a score of 0",
    }
    rows = [(f"`{name}`", f"{size:,}", meanings[name]) for name, size in sorted(facts.file_bytes.items())]
    return "## Files\n\n" + table(("file", "bytes", "content"), rows) + "\n\nChecksums: `sha256sum --check SHA256SUMS`."


def _rights(facts: ModelFacts, settings: ModelCardSettings) -> str:
    classifier = facts.record.classifier
    held = []
    if classifier.kind == SVM:
        held.append(f"{len(classifier.arrays['support_vectors']):,} training images (the support vectors)")
    if facts.images:
        held.append(f"up to {ROWS} evaluation images (the parity file)")
    personal = (
        f"The files hold CLIP embeddings of {' and '.join(held)}, no images. An embedding tells what an image shows, "
        "and who has an image can find out whether it is among them."
        if held
        else "The files hold neither images nor embeddings of single images."
    )
    licence = f"These files: `{settings.license}`. CLIP's weights have a licence of their own."
    return f"## Licence and personal data\n\n{licence}\n\n{_paragraph(personal)}"


CITATION = """
## Citation

- R. Schnürer: *MapPool – Bubbling up an extremely large corpus of maps for AI*.
  <https://huggingface.co/datasets/sraimund/MapPool>. The method.
- A. Radford et al.: *Learning Transferable Visual Models From Natural Language Supervision*. ICML, 2021. CLIP.
"""
