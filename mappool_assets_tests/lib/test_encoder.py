import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from mappool_assets.lib.encoder import ClipEncoder, check_torch_pair
from mappool_assets.lib.errors import BadEnvironment, BadModel, BadSetting
from mappool_assets_tests.labelled_pictures import picture
from mappool_assets_tests.tiny_clip import write_tiny_clip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_clip(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def encoder(model):
    return ClipEncoder(model, device="cpu", batch_size=4)


def pictures(count):
    return [picture(seed) for seed in range(count)]


def test_rows_are_unit_vectors_in_half_precision(encoder):
    vectors = encoder.embed_images(pictures(6))
    assert (vectors.shape, vectors.dtype) == ((6, 64), np.float16)
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float64), axis=1), 1, atol=1e-3)
    assert len(np.unique(vectors, axis=0)) == 6


def test_agrees_with_the_plain_use_of_open_clip(model, encoder):
    import open_clip
    import torch

    reference, preprocess = open_clip.create_model_from_pretrained(model)
    tokenise = open_clip.get_tokenizer(model)
    with torch.inference_mode():
        images = torch.stack([preprocess(image) for image in pictures(3)])
        image_vectors = reference.eval().encode_image(images, normalize=True).numpy()
        text_vectors = reference.encode_text(tokenise(["a map", "no map"]), normalize=True).numpy()
    np.testing.assert_allclose(encoder.embed_images(pictures(3)), image_vectors, atol=1e-3)
    np.testing.assert_allclose(encoder.embed_texts(["a map", "no map"]), text_vectors, atol=1e-3)


@pytest.mark.parametrize("start", [0, 1, 3])
@pytest.mark.parametrize("count", [1, 4, 5])
def test_a_vector_has_the_same_bits_whatever_is_embedded_beside_it(encoder, start, count):
    whole = encoder.embed_images(pictures(9))
    part = encoder.embed_images(pictures(9)[start : start + count])
    assert part.tobytes() == whole[start : start + count].tobytes()


def test_nothing_embedded_is_an_empty_matrix(encoder):
    assert encoder.embed_images([]).shape == (0, 64)
    assert encoder.embed_texts([]).shape == (0, 64)


def test_images_are_taken_one_at_a_time(encoder):
    alive = []

    def tracked():
        for seed in range(9):
            image = picture(seed)
            alive.append(image)
            yield image
            alive.pop()
            assert not alive

    assert len(encoder.embed_images(tracked())) == 9


def test_of_what_is_long_and_narrow_the_middle_alone_is_prepared(encoder):
    """Resized whole, these would be 2.5 GB and 75 GB."""
    middle = Image.effect_noise((1000, 10), 60).convert("RGB")
    for size in ((1_000_000, 10), (1002, 10)):
        long = Image.new("RGB", size, "red")
        long.paste(middle, ((size[0] - 1000) // 2, 0))
        upright = long.transpose(Image.Transpose.ROTATE_90)
        expected = encoder.embed_images([middle, middle.transpose(Image.Transpose.ROTATE_90)])
        np.testing.assert_array_equal(encoder.embed_images([long, upright]), expected)
    assert encoder.embed_images([Image.new("RGB", (2_500_000, 1))]).shape == (1, encoder.dimension)


def test_long_texts_are_cut(encoder):
    assert encoder.embed_texts(["map " * 500]).shape == (1, 64)


def test_a_local_encoders_name_follows_weights_and_configuration(tmp_path, model, encoder):
    again = ClipEncoder(write_tiny_clip(tmp_path / "a" / "tiny"), batch_size=8)
    assert again.encoder_id == encoder.encoder_id
    assert encoder.encoder_id.startswith("tiny-")
    assert len(encoder.encoder_id) == len("tiny-") + 12
    other_weights = ClipEncoder(write_tiny_clip(tmp_path / "b" / "tiny", seed=1))
    other_config = ClipEncoder(write_tiny_clip(tmp_path / "c" / "tiny", quick_gelu=False))
    assert len({encoder.encoder_id, other_weights.encoder_id, other_config.encoder_id}) == 3


def test_a_published_encoder_is_described_without_loading_it():
    assert ClipEncoder().encoder_id == "ViT-L-14/openai"
    assert ClipEncoder().dimension == 768
    assert ClipEncoder("ViT-B-32").dimension == 512


def test_openai_weights_get_the_activation_they_were_trained_with(monkeypatch):
    import open_clip
    from open_clip import factory

    built = []

    class Stop(Exception):
        pass

    def build(**config):
        built.append(config)
        raise Stop

    monkeypatch.setattr(factory, "download_pretrained", lambda *_, **__: "weights.safetensors")
    monkeypatch.setattr(factory, "CLIP", build)
    for tag in ("openai", "datacomp_xl_s13b_b90k"):
        with pytest.raises(Stop):
            ClipEncoder("ViT-L-14", tag, device="cpu").embed_texts(["a"])
    assert [config.get("quick_gelu", False) for config in built] == [True, False]
    assert open_clip.get_model_config("ViT-L-14").get("quick_gelu", False) is False, "or the tag need not decide"


@pytest.mark.parametrize(("name", "tag"), [("ViT-L-14", "nonsense"), ("nonsense", "openai"), ("hf-hub:a/b", "openai")])
def test_unknown_encoders_are_refused_before_anything_is_fetched(name, tag):
    with pytest.raises(BadSetting, match="no such encoder"):
        ClipEncoder(name, tag).embed_texts(["a"])


def test_a_path_is_no_tag(tmp_path):
    pickled = tmp_path / "weights.pt"
    pickled.write_bytes(b"pickled")
    with pytest.raises(BadSetting):
        ClipEncoder("ViT-B-32", str(pickled)).embed_texts(["a"])


def test_pickled_weights_in_a_folder_are_not_read(tmp_path):
    import torch

    model = write_tiny_clip(tmp_path / "tiny")
    weights = tmp_path / "tiny" / "open_clip_model.safetensors"
    torch.save({}, tmp_path / "tiny" / "open_clip_pytorch_model.bin")
    weights.unlink()
    with pytest.raises(BadModel, match=r"no open_clip_model\.safetensors"):
        ClipEncoder(model).embed_texts(["a"])


def test_broken_weights_and_configuration_are_named(tmp_path):
    model = write_tiny_clip(tmp_path / "tiny")
    weights = tmp_path / "tiny" / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BadModel, match="tiny-"):
        ClipEncoder(model).embed_texts(["a"])
    model = write_tiny_clip(tmp_path / "other")
    config = json.loads((tmp_path / "other" / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["width"] = 32
    (tmp_path / "other" / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(BadModel, match="other-"):
        ClipEncoder(model).embed_images([Image.new("RGB", (9, 9))])


def test_a_torchvision_for_another_torch_is_explained(tmp_path, monkeypatch):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        'raise RuntimeError("operator torchvision::nms does not exist")'
    )
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BadEnvironment, match=r"torchvision::nms.*Install both") as caught:
        check_torch_pair()
    assert caught.value.where.startswith("torch ")
    with pytest.raises(BadEnvironment):
        assert ClipEncoder().dimension


def test_the_pair_installed_fits():
    check_torch_pair()


def test_importing_the_module_loads_nothing_heavy():
    program = "import sys, mappool_assets.lib.encoder; print({'torch', 'open_clip', 'torchvision'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "set()\n"
