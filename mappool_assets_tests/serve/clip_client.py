"""What clip-retrieval's own client sends, field for field, and what it makes of the answer.

Mirrors ``clip_retrieval/clip_client.py`` of rom1504/clip-retrieval, which no longer imports beside current packages:
``data=`` and not ``json=``, so without a Content-Type; always the same fourteen keys; ``num_result_ids`` is
``num_images``; and the answer's JSON is returned whatever the status.
"""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests


@dataclass
class Client:
    url: str
    indice_name: str
    use_mclip: bool = False
    aesthetic_score: Any = 9
    aesthetic_weight: Any = 0.5
    modality: str = "image"
    num_images: int = 40
    deduplicate: bool = True
    use_safety_model: bool = True
    use_violence_detector: bool = True

    def query(self, text=None, image=None, embedding_input=None):
        if text:
            return self._search(text=text)
        if image and image.startswith("http"):
            return self._search(image_url=image)
        if image:
            return self._search(image=base64.b64encode(Path(image).read_bytes()).decode())
        return self._search(embedding_input=embedding_input)

    def _search(self, **given):
        return requests.post(self.url, data=json.dumps(self.fields(**given)), timeout=60).json()

    def fields(self, text=None, image=None, image_url=None, embedding_input=None):
        return {
            "text": text,
            "image": image,
            "image_url": image_url,
            "embedding_input": embedding_input,
            "deduplicate": self.deduplicate,
            "use_safety_model": self.use_safety_model,
            "use_violence_detector": self.use_violence_detector,
            "indice_name": self.indice_name,
            "use_mclip": self.use_mclip,
            "aesthetic_score": self.aesthetic_score,
            "aesthetic_weight": self.aesthetic_weight,
            "modality": self.modality,
            "num_images": self.num_images,
            "num_result_ids": self.num_images,
        }
