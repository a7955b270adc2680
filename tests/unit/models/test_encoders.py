"""Encoders: token counts agree between features and model, a medium does not depend on its batch, real weights where they are."""

import numpy as np
import pytest
import torch

from models.fusion import stream_parts
from models.media import Media
from models.pretrained import find_weights, load_encoders, resolve_streams
from models.registry import ENCODERS

TOWER = {"image_size": 32, "patch_size": 8, "width": 64, "layers": 2, "head_width": 32}
CLAP = {
    "model_type": "clap_audio_model", "patch_embeds_hidden_size": 16, "depths": [1, 1], "num_attention_heads": [2, 2], "hidden_size": 32,
    "num_mel_bins": 16, "spec_size": 64, "window_size": 4, "patch_stride": [4, 4],
}  # fmt: skip
WHISPER = {
    "model_type": "whisper", "d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 24, "num_mel_bins": 8,
    "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 8, "vocab_size": 12, "max_source_positions": 100,
    "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0, "decoder_start_token_id": 0,
}  # fmt: skip


def sound(seconds: float, rate: int = 16_000, seed: int = 0) -> Media:
    return Media("audio", 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate)).astype(np.float32), float(rate))


def image(height: int = 40, width: int = 60, seed: int = 0) -> Media:
    return Media("image", np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def video(frames: int = 5, seed: int = 0) -> Media:
    return Media("video", np.random.default_rng(seed).integers(0, 256, (frames, 40, 40, 3), dtype=np.uint8), 5.0)


CASES = {
    "conv image": ({"name": "conv", "size": 32, "width": 16, "heads": 2}, image(), 16),
    "conv audio": ({"name": "conv", "kind": "audio", "width": 16, "heads": 2, "num_mels": 8}, sound(1.0), 12),  # 101 frames, halved three times
    "frames": ({"name": "frames", "width": 16, "heads": 2, "size": 24, "tokens_per_frame": 2, "differences": True}, video(), 10),
    "open_clip image": ({"name": "open_clip", "vision": TOWER}, image(), 16),
    "open_clip pooled": ({"name": "open_clip", "vision": TOWER, "pool": 2, "layer": -2, "resize": "longest"}, image(), 4),
    "open_clip video": ({"name": "open_clip", "vision": TOWER, "kind": "video", "pool": 1, "resize": "shortest"}, video(), 5),
    "whisper": ({"name": "hf_audio", "config": WHISPER, "features_config": {"feature_size": 8}, "max_seconds": 2.0}, sound(1.5), 75),
    "clap": (
        {"name": "hf_audio", "config": CLAP, "features_config": {"feature_size": 16, "sampling_rate": 48_000, "max_length_s": 2}},
        sound(1.0, 48_000),
        64,
    ),
}


def build(options: dict, seed: int = 0):
    streams, _ = resolve_streams({"x": {"encoder": options}}, "nowhere")
    config = stream_parts(streams["x"])[0]
    torch.manual_seed(seed)
    return config, ENCODERS.get(options["name"])(config).eval()


@pytest.mark.parametrize("case", CASES)
def test_counts_agree_and_gradients_flow(case):
    options, medium, expected = CASES[case]
    config, encoder = build(options)
    features = config.features(medium)
    tokens, counts = encoder(features[None])
    assert config.num_tokens(tuple(features.shape)) == int(counts[0]) == tokens.shape[1] == expected
    assert tokens.shape[2] == encoder.width and bool(tokens.isfinite().all())
    tokens.square().sum().backward()
    assert sum(float(p.grad.norm()) for p in encoder.parameters() if p.grad is not None) > 0
    assert not torch.equal(encoder(config.features(_other(medium))[None])[0], tokens)


# The rotary table of this tower is a buffer that no file holds.
LOADED = {**CASES, "timm": ({"name": "timm", "model": "eva02_tiny_patch14_224", "pool": 4}, image(), 16)}


@pytest.mark.parametrize("case", LOADED)
def test_a_loaded_encoder_computes_what_the_saved_one_did(case, tmp_path):
    """transformers builds models without memory and fills in what the file holds: a buffer that is not in it would come back as anything."""
    from models.configuration import FocalConfig
    from models.modeling import FocalModel

    options, medium, _ = LOADED[case]
    streams, _ = resolve_streams({"video": {"encoder": options, "token_id": 1}}, "nowhere")
    llm = {"model_type": "qwen3", "vocab_size": 9, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 8}
    torch.manual_seed(0)
    model = FocalModel(FocalConfig(llm=llm | {"num_key_value_heads": 2, "intermediate_size": 8}, streams=streams)).eval()
    model.save_pretrained(tmp_path)
    loaded = FocalModel.from_pretrained(tmp_path).eval()
    features = stream_parts(streams["video"])[0].features(medium)[None]
    with torch.no_grad():
        assert torch.equal(
            loaded.encode_media({"video_features": features})["video"][0], model.encode_media({"video_features": features})["video"][0]
        )


def _other(medium: Media) -> Media:
    return {
        "audio": lambda: sound(len(medium.array) / medium.rate, round(medium.rate), 1),
        "image": lambda: image(seed=1),
        "video": lambda: video(seed=1),
    }[medium.kind]()


@pytest.mark.parametrize("case,short", [("conv audio", sound(0.53)), ("frames", video(3)), ("open_clip video", video(2)), ("whisper", sound(0.7))])
def test_a_medium_does_not_depend_on_longer_ones_beside_it(case, short):
    from models.processing import pad_features

    options, long, _ = CASES[case]
    config, encoder = build(options)
    each = [config.features(m) for m in (long, short)]
    features, lengths = pad_features(each)
    with torch.no_grad():
        tokens, counts = encoder(features, lengths)
        for i, alone in enumerate(each):
            expected = encoder(alone[None])[0][0]
            assert int(counts[i]) == len(expected) == config.num_tokens(tuple(alone.shape))
            assert (tokens[i, : len(expected)] - expected).abs().max() < 1e-5


def test_sine_lies_in_its_mel_band_and_silence_is_finite():
    """A steady tone has its peak in one band throughout; the band's centre is the nearest to 1 kHz on the mel scale."""
    from models.encoder_conv import log_mel

    tone = Media("audio", np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000).astype(np.float32), 16_000.0)
    bands = log_mel(tone, 16_000, 48, 10.0).argmax(0)[2:-2]
    mels = 2595 * np.log10(1 + np.array([40.0, 8000.0, 1000.0]) / 700)
    nearest = round((mels[2] - mels[0]) / (mels[1] - mels[0]) * 49) - 1  # 48 triangles stand on 50 evenly spaced corners
    assert set(bands.tolist()) == {nearest}
    assert bool(log_mel(Media("audio", np.zeros(16, np.float32), 16_000.0), 16_000, 48, 10.0).isfinite().all())
    louder = Media("audio", 2 * tone.array, 16_000.0)
    change = log_mel(louder, 16_000, 48, 10.0)[nearest, 50] - log_mel(tone, 16_000, 48, 10.0)[nearest, 50]
    assert float(change) * 4 == pytest.approx(np.log10(4), abs=1e-4)  # twice the amplitude is four times the power


def test_whisper_at_full_length_is_transformers_own_encoder():
    config, encoder = build(CASES["whisper"][0])
    features = config.features(sound(2.0))[None]
    assert features.shape == (1, 8, 200)
    with torch.no_grad():
        assert (encoder(features)[0] - encoder.inner(features).last_hidden_state).abs().max() < 1e-6


def test_clap_is_transformers_own_encoder_and_its_features_are_not_random(tmp_path):
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

    text = {"vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    whole = ClapModel(ClapConfig(audio_config={k: v for k, v in CLAP.items() if k != "model_type"}, text_config=text, projection_dim=8)).eval()
    whole.save_pretrained(tmp_path)
    ClapFeatureExtractor(feature_size=16, max_length_s=2).save_pretrained(tmp_path)
    streams, sources = resolve_streams({"x": {"encoder": {"name": "hf_audio", "path": str(tmp_path)}}}, "nowhere")
    config = stream_parts(streams["x"])[0]
    encoder = ENCODERS.get("hf_audio")(config).eval()
    encoder.load_pretrained(sources["x"])
    features = config.features(sound(3.0, 48_000))[None]
    assert torch.equal(features[0], config.features(sound(3.0, 48_000)))  # longer than the window, yet not cropped at random
    with torch.no_grad():
        reference = whole.audio_model(input_features=features, is_longer=torch.zeros(1, 1, dtype=torch.bool)).last_hidden_state
        assert torch.equal(encoder(features)[0], reference.flatten(2).transpose(1, 2))


def test_open_clip_gives_patch_tokens_of_the_named_model_and_loads_a_local_folder(tmp_path):
    import json

    import open_clip
    from safetensors.torch import save_file

    settings = {"embed_dim": 16, "vision_cfg": TOWER, "text_cfg": {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1}}
    torch.manual_seed(3)
    full = open_clip.CLIP(**settings).eval()
    save_file(full.state_dict(), tmp_path / "open_clip_model.safetensors")
    preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": settings, "preprocess_cfg": preprocess}))
    options = {"name": "open_clip", "model": f"local-dir:{tmp_path.name}"}
    streams, sources = resolve_streams({"x": {"encoder": options}}, tmp_path.parent)
    config = stream_parts(streams["x"])[0]
    encoder = ENCODERS.get("open_clip")(config).eval()
    encoder.load_pretrained(sources["x"])
    assert (config.mean, config.grid, config.width) == ([0.5, 0.5, 0.5], 4, 64)
    pixels = config.features(image(32, 32))[None]
    assert torch.allclose(pixels[0], torch.from_numpy(image(32, 32).array).permute(2, 0, 1).float() / 127.5 - 1, atol=1e-5)
    with torch.no_grad():
        normalised = full.visual.forward_intermediates(pixels, indices=[-1], normalize_intermediates=True, output_fmt="NLC")["image_intermediates"][0]
        assert torch.equal(encoder(pixels)[0], normalised)


def test_open_clip_registry_names_resolve_without_building_weights():
    streams, sources = resolve_streams({"x": {"encoder": {"name": "open_clip", "model": "ViT-B-32"}}}, "nowhere")
    assert sources == {} and (streams["x"]["encoder"]["grid"], streams["x"]["encoder"]["width"]) == (7, 768)


def test_timm_gives_the_grid_of_the_model_and_loads_a_local_folder(tmp_path):
    """A folder as timm writes it; the last grid of a ViT is what stands behind its class token."""
    import json

    import timm
    from safetensors.torch import save_file

    torch.manual_seed(5)
    full = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=0).eval()
    save_file(full.state_dict(), tmp_path / "model.safetensors")
    settings = {"input_size": [3, 224, 224], "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5], "num_classes": 0}
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "vit_tiny_patch16_224", "num_classes": 0, "pretrained_cfg": settings}))
    options = {"name": "timm", "model": f"local-dir:{tmp_path.name}"}
    streams, sources = resolve_streams({"x": {"encoder": options}}, tmp_path.parent)
    config = stream_parts(streams["x"])[0]
    encoder = ENCODERS.get("timm")(config).eval()
    encoder.load_pretrained(sources["x"])
    assert (config.mean, config.grid, config.width) == ([0.1, 0.2, 0.3], 14, 192)
    pixels = config.features(image())[None]
    with torch.no_grad():
        assert torch.equal(encoder(pixels)[0], full.forward_features(pixels)[:, 1:])
    named, source = resolve_streams({"x": {"encoder": {"name": "timm", "model": "vit_tiny_patch16_224"}}}, "nowhere")
    assert source == {} and named["x"]["encoder"]["grid"] == 14  # no tag: random weights, nothing to load


def test_real_whisper_weights(weights_root):
    """The clip at its own length is near the padded 30 s run where it speaks, and the position table is cut to what is used."""
    from transformers import WhisperModel

    if not (weights_root / "whisper-tiny.en-encoder").is_dir():
        pytest.skip("whisper-tiny.en-encoder is not under the weights root")
    from models.configuration import FocalConfig
    from models.modeling import FocalModel

    encoder = {"name": "hf_audio", "path": "whisper-tiny.en-encoder", "max_seconds": 5}
    streams, sources = resolve_streams({"audio": {"encoder": encoder, "projector": {"name": "merge", "factor": 5}}}, weights_root)
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8}
    llm = {"model_type": "qwen3", "vocab_size": 9, "hidden_size": 16, "num_hidden_layers": 1} | heads
    model = FocalModel(FocalConfig(llm=llm, streams={"audio": streams["audio"] | {"token_id": 1}})).eval()
    load_encoders(model, sources)
    inner = model.streams["audio"].encoder.inner
    stored = WhisperModel.from_pretrained(weights_root / "whisper-tiny.en-encoder", dtype=torch.float32).encoder
    assert torch.equal(inner.embed_positions.weight, stored.embed_positions.weight[:250])
    assert torch.equal(inner.layers[3].fc2.weight, stored.layers[3].fc2.weight)
    config = stream_parts(streams["audio"])[0]
    features = config.features(sound(5.0))[None]
    assert features.shape == (1, 80, 500)
    tokens, counts = model.encode_media({"audio_features": features})["audio"]
    assert tokens.shape == (1, 50, 16) and counts.tolist() == [50]  # 250 tokens, five merged to one


@pytest.mark.parametrize(
    "options,message",
    [
        ({"name": "hf_audio", "path": "nobody-has-this"}, "not a hub id"),
        ({"name": "hf_audio", "config": {"model_type": "wav2vec2"}}, "'wav2vec2' is not supported"),
        ({"name": "open_clip", "model": "ViT-Z-99"}, "knows no model 'ViT-Z-99'"),
        ({"name": "open_clip", "model": "ViT-B-32", "pretrained": "mine"}, "no weights 'mine'"),
        ({"name": "open_clip", "model": "local-dir:absent"}, "no open_clip_config.json"),
        ({"name": "open_clip"}, "give `model`"),
        ({"name": "timm", "model": "vit_z"}, "timm knows no model 'vit_z'"),
        ({"name": "timm", "model": "vit_tiny_patch16_224.mine"}, "mine"),
        ({"name": "timm", "model": "local-dir:absent"}, r"no timm model \(config.json\) in 'absent'"),
        ({"name": "open_clip", "vision": TOWER, "pool": 9}, "pool 9"),
        ({"name": "conv", "kind": "smell"}, "'smell'"),
        ({"name": "conv", "size": 20}, "multiple of 8"),
        ({"name": "frames", "size": 30}, "multiple of 4"),
        ({"name": "conv", "width": 10, "heads": 4}, "not a multiple of its 4 heads"),
    ],
)
def test_impossible_settings_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build(options)


def test_wrong_media_are_named():
    with pytest.raises(ValueError, match="was given audio"):
        build(CASES["conv image"][0])[0].features(sound(1))
    with pytest.raises(ValueError, match=r"set data\.media\.num_frames"):
        build(CASES["frames"][0])[0].features(video(17))
    with pytest.raises(ValueError, match=r"set data\.media\.sample_rate"):
        build(CASES["clap"][0])[0].features(sound(1))
    assert find_weights(".", "/").is_dir()
    downsampled = build(CASES["whisper"][0])[0].features(sound(1.0, 48_000))
    assert downsampled.shape == (8, 100)
