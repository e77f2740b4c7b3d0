"""CLIP through open_clip: images and texts to unit vectors."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mappool_assets.lib.errors import BadEnvironment, BadModel, BadSetting

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

# CLIP's preprocessing makes the shorter side 224 pixels long (336 for some models), then cuts the middle's square out:
# 2.5 million pixels by one, which a PNG of 7 kB holds, would become 125 billion. Of what is so many times as long as
# wide only the middle is prepared: 11 million.
MOST_TIMES_AS_LONG = 100

LOCAL_PREFIX = "local-dir:"  # open_clip's own, before the path of a folder
LOCAL_FILES = ("open_clip_config.json", "open_clip_model.safetensors")


@dataclass(frozen=True)
class ClipEncoder:
    """A CLIP model, loaded when first used.

    Weights are never unpickled. For a model of open_clip with a tag (``ViT-L-14``, ``openai``), open_clip 3.3 fetches
    safetensors from the Hub (for ``openai`` timm/vit_large_patch14_clip_224.openai; not OpenAI's TorchScript archive)
    and, only where a repository has none, a ``.bin`` that PyTorch reads with ``weights_only=True``, which builds
    tensors and runs no code. Of a folder, only safetensors are taken.

    The weights of ``openai`` were trained with QuickGELU. open_clip 3.3 only warns when ``ViT-L-14`` is built without
    it, and the vectors are then others than the pool's; here the tag decides.

    Parameters
    ----------
    model : str
        An architecture of open_clip, or ``local-dir:`` and the path of a folder that holds ``open_clip_config.json``
        and ``open_clip_model.safetensors``.
    pretrained : str
        The tag of the weights; not used for a folder. Default ``openai``: CommonPool's embeddings are made with it.
    device : str, optional
        As PyTorch names it. By default the first there is of cuda, mps and cpu.
    batch_size : int
        Images or texts computed at once; always as many, the last batch being filled up, so that a vector does not
        depend on how many others there are.
    """

    model: str = "ViT-L-14"
    pretrained: str = "openai"
    device: str | None = None
    batch_size: int = 32

    @cached_property
    def encoder_id(self) -> str:
        """The space of the vectors: ``ViT-L-14/openai``, or a folder's name and 12 hex digits of its content's hash."""
        folder = self._folder
        if folder is None:
            return f"{self.model}/{self.pretrained}"
        content = hashlib.sha256()
        for name in LOCAL_FILES:
            with (folder / name).open("rb") as file:
                content.update(hashlib.file_digest(file, "sha256").digest())
        return f"{folder.name}-{content.hexdigest()[:12]}"

    @cached_property
    def dimension(self) -> int:
        """The length of a vector; known without loading weights."""
        check_torch_pair()
        import open_clip

        self._check_known()
        return int(open_clip.get_model_config(self.model)["embed_dim"])

    def embed_images(self, images: Iterable[Image]) -> NDArray[np.float16]:
        """Embed RGB images.

        Parameters
        ----------
        images : iterable of PIL.Image.Image
            Taken one at a time, so that a generator holds one decoded image at once.

        Returns
        -------
        float16 array of shape (n, dimension)
            Unit rows, normalised in float32. Which other images are embedded, and how many, does not change a row.
        """
        preprocess = self._loaded.preprocess
        return self._embed(
            (preprocess(_middle(image)) for image in images), lambda batch: self._loaded.model.encode_image(batch)
        )

    def embed_texts(self, texts: Sequence[str], dtype: type[np.floating] = np.float16) -> NDArray[Any]:
        """Embed texts; those longer than the model's context (77 tokens) are cut.

        Parameters
        ----------
        texts : sequence of str
        dtype : float16 or float32
            Default float16, which the pool's embeddings have.

        Returns
        -------
        array of shape (n, dimension) and type ``dtype``
            Unit rows, normalised in float32. Which other texts are embedded, and how many, does not change a row.
        """
        loaded = self._loaded
        return self._embed((loaded.tokenise([text])[0] for text in texts), loaded.model.encode_text, dtype)

    def are_cut(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Tell which texts are longer than the model's context, so that their ends are not embedded."""
        tokenise = self._loaded.tokenise
        context = len(tokenise([""])[0])
        # A text that fits gets only padding in a longer context; of one that does not, the last token is another.
        return np.array(
            [
                not bool((tokenise([text], context_length=context + 1)[0, :context] == tokenise([text])[0]).all())
                for text in texts
            ],
            dtype=bool,
        )

    def _embed(
        self,
        inputs: Iterator[torch.Tensor],
        encode: Callable[[torch.Tensor], torch.Tensor],
        dtype: type[np.floating] = np.float16,
    ) -> NDArray[Any]:
        import torch

        blocks = [np.empty((0, self.dimension), dtype=dtype)]
        with torch.inference_mode():
            while inputs_of_batch := list(islice(inputs, self.batch_size)):
                missing = self.batch_size - len(inputs_of_batch)
                batch = torch.stack(inputs_of_batch + [torch.zeros_like(inputs_of_batch[0])] * missing)
                features = encode(batch.to(self._loaded.device))[: len(inputs_of_batch)].float()
                unit = torch.nn.functional.normalize(features, dim=-1)
                blocks.append(unit.cpu().numpy().astype(dtype))
        return np.concatenate(blocks)

    @property
    def _folder(self) -> Path | None:
        """The folder of a local model, known to hold what is needed."""
        if not self.model.startswith(LOCAL_PREFIX):
            return None
        folder = Path(self.model.removeprefix(LOCAL_PREFIX)).absolute()
        missing = [name for name in LOCAL_FILES if not (folder / name).is_file()]
        if missing:
            raise BadModel(
                "The folder holds no model that can be loaded safely",
                where=str(folder),
                rule=" and ".join(LOCAL_FILES),
                got=f"no {' and no '.join(missing)}",
                action="Save the model with open_clip's safetensors export; pickled weights are not read.",
            )
        return folder

    def _check_known(self) -> None:
        import open_clip
        from open_clip.pretrained import is_pretrained_cfg

        if self._folder is None and not is_pretrained_cfg(self.model, self.pretrained):
            tags = ", ".join(open_clip.list_pretrained_tags_by_model(self.model))
            raise BadSetting(
                "There is no such encoder",
                where="encoder",
                rule=f"a tag of {self.model} ({tags})" if tags else "a model of open_clip or local-dir:FOLDER",
                got=f"{self.model}, {self.pretrained}",
                action="Correct the encoder's model or pretrained tag.",
            )

    @cached_property
    def _loaded(self) -> _LoadedModel:
        check_torch_pair()
        import open_clip
        from open_clip.pretrained import get_pretrained_cfg
        from safetensors import SafetensorError

        self._check_known()
        is_local = self._folder is not None
        wants_quick_gelu = not is_local and get_pretrained_cfg(self.model, self.pretrained).get("quick_gelu", False)
        device = self.device or _best_device()
        try:
            model, preprocess = open_clip.create_model_from_pretrained(
                self.model,
                pretrained=None if is_local else self.pretrained,
                device=device,
                precision="fp32",
                force_quick_gelu=wants_quick_gelu,
                weights_only=True,
            )
        except (RuntimeError, ValueError, OSError, SafetensorError) as error:
            raise BadModel(
                "The encoder cannot be loaded",
                where=self.encoder_id,
                rule="weights that fit the model, in reach",
                got=f"{type(error).__name__}: {error}",
                action="Check the connection to the Hub, or the files of the folder.",
            ) from error
        return _LoadedModel(model.eval(), preprocess, open_clip.get_tokenizer(self.model), device)


@dataclass(frozen=True)
class _LoadedModel:
    model: Any
    preprocess: Callable[[Image], torch.Tensor]
    tokenise: Callable[..., torch.Tensor]
    device: str


def _middle(image: Image) -> Image:
    """Return an image without the ends that lie far outside the square that CLIP sees."""
    (width, height), longest = image.size, MOST_TIMES_AS_LONG * min(image.size)
    left, top = max(0, (width - longest) // 2), max(0, (height - longest) // 2)
    return image.crop((left, top, width - left, height - top)) if left or top else image


def check_torch_pair() -> None:
    """Raise :class:`BadEnvironment` where torchvision was built for another PyTorch than the one installed.

    Most often that is a CPU-only PyTorch beside the package index's torchvision for CUDA; importing the latter then
    fails with "operator torchvision::nms does not exist".
    """
    try:
        importlib.import_module("torchvision")
    except (RuntimeError, ImportError, OSError) as error:
        versions = {name: _version(name) for name in ("torch", "torchvision")}
        raise BadEnvironment(
            "PyTorch and torchvision do not fit each other",
            where=", ".join(f"{name} {version}" for name, version in versions.items()),
            rule="both from the same index, both for the CPU or both for the same CUDA",
            got=str(error),
            action="Install both in one step from one index, for instance both without +cpu in their versions.",
        ) from error


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _best_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
