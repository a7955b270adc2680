"""A release in a fresh process: plain transformers, an empty modules cache, no repository on the path, the same logits; and its command line."""

import json
import os
import shutil
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from models.__main__ import main
from models.configuration import FocalConfig
from models.modeling import FocalModel
from models.processing import FocalProcessor
from models.releasable import check_releasable

ENCODERS = {
    "image": {"name": "conv", "size": 16, "width": 16, "depth": 1, "heads": 2},
    "image_b": {
        "name": "open_clip", "vision": {"image_size": 16, "patch_size": 8, "width": 16, "layers": 1, "head_width": 8}, "grid": 2, "width": 16,
    },
    "audio": {
        "name": "hf_audio", "max_seconds": 2.0, "features_config": {"feature_size": 8},
        "config": {
            "model_type": "whisper", "d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 24, "num_mel_bins": 8,
            "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 8, "vocab_size": 12, "max_source_positions": 100,
            "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0, "decoder_start_token_id": 0,
        },
    },
    "video": {"name": "frames", "width": 16, "depth": 1, "heads": 2, "size": 16, "channels": 8},
}  # fmt: skip
JOINS = {
    "image": [{"as": "residual", "from_layer": 1}], "image_b": [{"tokens": "summary:2"}], "audio": [{"tokens": "summary:2"}, {"as": "kv"}],
    "video": [{}],
}  # fmt: skip
TEXT = "<|user|><|image|><|audio|><|video|>which one<|assistant|>"
SCRIPT = """
import sys
import numpy as np, torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMultimodalLM, AutoProcessor
folder = sys.argv[1]
assert not any("FOLDER_OF_REPOSITORY" == p for p in sys.path)
config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
rng = np.random.default_rng(0)
picture, sound = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8), rng.standard_normal(8000).astype(np.float32)
media = [picture, sound, rng.integers(0, 256, (4, 20, 20, 3), dtype=np.uint8)]
batch = processor(text=["TEXT"], media=[media])
for auto in (AutoModelForCausalLM, AutoModelForMultimodalLM):
    model = auto.from_pretrained(folder, trust_remote_code=True).eval()
    with torch.no_grad():
        difference = (model(**batch).logits - load_file(folder + "/../expected.safetensors")["logits"]).abs().max().item()
    assert difference < 1e-5, difference
out = model.generate(**batch, max_new_tokens=3, do_sample=False)
files = processor(text=["TEXT"], media=[sys.argv[2:5]])
assert torch.equal(files["image_features"], batch["image_features"])
model.generate(**files, max_new_tokens=3)
model.save_pretrained(folder + "/../again")
processor.save_pretrained(folder + "/../again")
print("same", type(config).__name__, type(processor).__name__, tuple(out.shape)[0], type(model).__module__.split(".")[0])
"""


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|image|>", "<|audio|>", "<|video|>"]
    words = {w: i for i, w in enumerate([*special, "which", "one", "A", ".", "red", "?", "<|unk|>"])}
    inner = Tokenizer(models.WordLevel(words, unk_token="<|unk|>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    template = "{% for m in messages %}<|user|>{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    extra = {"additional_special_tokens": special[2:], "chat_template": template}
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<|pad|>", eos_token="<|end|>", unk_token="<|unk|>", **extra)


def media_arrays() -> list:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    return [picture, rng.standard_normal(8000).astype(np.float32), rng.integers(0, 256, (4, 20, 20, 3), dtype=np.uint8)]


def write_files(folder: Path) -> list[str]:
    """The arrays as a png, a wav (quieter) and an mp4."""
    import av
    from PIL import Image

    picture, samples, frames = media_arrays()
    paths = [str(folder / name) for name in ("x.png", "x.wav", "x.mp4")]
    Image.fromarray(picture).save(paths[0])
    with wave.open(paths[1], "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((np.clip(0.1 * samples, -1, 1) * 32767).astype("<i2").tobytes())
    with av.open(paths[2], "w") as container:
        stream = container.add_stream("mpeg4", rate=4)
        stream.width = stream.height = 20
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return paths


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "release"
    words = tokenizer()
    streams = {name: {"encoder": encoder, "projector": {"name": "mlp"}, "fusion": JOINS[name]} for name, encoder in ENCODERS.items()}
    token = {name: f"<|{name.removesuffix('_b')}|>" for name in streams}
    llm = {
        "model_type": "qwen3", "vocab_size": len(words),
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 8, "intermediate_size": 48, "tie_word_embeddings": True,
    }  # fmt: skip
    torch.manual_seed(0)
    options = {n: s | {"token_id": words.convert_tokens_to_ids(token[n])} for n, s in streams.items()}
    model = FocalModel(FocalConfig(llm=llm, streams=options, eos_token_id=1, pad_token_id=0)).eval()
    processor = FocalProcessor(words, streams={n: s | {"placeholder": token[n]} for n, s in streams.items()}, media={"num_frames": 4})
    check_releasable(model)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "README.md").write_text("# A tiny reasoner\n")
    with torch.no_grad():
        logits = model(**processor(text=[TEXT], media=[media_arrays()])).logits
    save_file({"logits": logits}, folder.parent / "expected.safetensors")
    return folder


def test_fresh_process_gives_the_same_logits(release, tmp_path):
    script = SCRIPT.replace("TEXT", TEXT).replace("FOLDER_OF_REPOSITORY", str(Path.cwd()))
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "HF_MODULES_CACHE")}
    environment |= {"HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-I", "-c", script, str(release), *write_files(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[-5:] == ["same", "FocalConfig", "FocalProcessor", "1", "transformers_modules"]
    again = json.loads((release.parent / "again" / "config.json").read_text())
    assert again["auto_map"]["AutoConfig"].endswith("configuration.FocalConfig")  # a re-saved release is a release


def test_tied_weights_are_stored_once_and_code_lies_flat(release):
    from safetensors import safe_open

    with safe_open(release / "model.safetensors", "pt") as stored:
        names = set(stored.keys())
    assert ("llm.lm_head.weight" in names) != ("llm.model.embed_tokens.weight" in names)
    written = {p.name for p in release.glob("*.py")}
    assert {
        "modeling.py",
        "processing.py",
        "media.py",
        "encoder_conv.py",
        "encoder_frames.py",
        "encoder_open_clip.py",
        "encoder_hf_audio.py",
    } <= written
    assert json.loads((release / "config.json").read_text())["auto_map"]["AutoModelForMultimodalLM"] == "modeling.FocalModel"


def test_every_module_of_the_registry_travels():
    import inspect

    from models import registry

    travelling = inspect.getsource(registry._travelling)
    for table in (registry.ENCODERS, registry.PROJECTORS):
        for line in table._lines.values():
            assert f"from {line.partition(':')[0]} import" in travelling, line


def test_components_from_elsewhere_are_refused_by_name(release):
    model = FocalModel.from_pretrained(release)
    model.streams["image"].projector = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match="stream 'image': Linear is defined in torch"):
        check_releasable(model)


def test_ask_answers_about_files_in_their_order(release, tmp_path, capsys):
    picture, sound, clip = write_files(tmp_path)
    files = ["--audio", sound, "--video", clip, "--image", picture]
    arguments = [*files, "--question", "which one <|image|>", "--option", "red", "--max-new-tokens", "4"]
    assert main(["ask", str(release), *arguments]) == 0
    first = capsys.readouterr().out
    assert main(["ask", str(release.parent), *arguments]) == 0  # a run directory serves as well
    assert capsys.readouterr().out == first


def test_ask_stops_at_the_models_own_end_of_turn(release, tmp_path, capsys, monkeypatch):
    """A pretrained LLM's tokenizer has an end of its own; ours, which the model was taught, is written in its configuration."""
    from models import sampler

    asked = {}
    original = sampler.sample
    monkeypatch.setattr(sampler, "sample", lambda *args, **options: (asked.update(options), original(*args, **options))[1])
    folder = shutil.copytree(release, tmp_path / "release")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"eos_token_id": 9}))
    assert main(["ask", str(folder), "--question", "which one", "--max-new-tokens", "2"]) == 0
    assert asked["stop_ids"] == [1, 9] and "A" not in capsys.readouterr().out.split()


def test_prompt_breaks_special_tokens_and_letters_options(release):
    from models.__main__ import prompt

    processor = FocalProcessor.from_pretrained(release)
    written = prompt(processor, [("audio", "a"), ("image", "b")], "see <|audio|>?", ["red", "<|end|>"])
    assert written == "<|audio|><|image|>see < |audio|>?\nA. red\nB. < |end|>"


@pytest.mark.parametrize(
    "arguments,message",
    [
        (["ask", "nowhere", "--question", "?"], "neither a model"),
        (["ask", "RELEASE", "--image", "absent.png", "--question", "?"], "no file 'absent.png'"),
        (["push", "RELEASE", "noslash", "--dry-run"], "owner/name"),
    ],
)
def test_user_mistakes_end_with_2_and_no_traceback(release, capsys, arguments, message):
    assert main([a.replace("RELEASE", str(release)) for a in arguments]) == 2
    errors = capsys.readouterr().err
    assert message in errors and "Traceback" not in errors


def test_push_dry_run_lists_files_and_card(release, tmp_path, capsys):
    assert main(["push", str(release), "someone/tiny", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "someone/tiny" in told and "model.safetensors" in told and "# A tiny reasoner" in told
    assert f"{(release / 'model.safetensors').stat().st_size:,}" in told
    large = shutil.copytree(release, tmp_path / "large")  # as transformers writes a large model
    (large / "model.safetensors").rename(large / "model-00001-of-00001.safetensors")
    assert main(["push", str(large), "someone/large", "--dry-run"]) == 2
    (large / "model.safetensors.index.json").write_text("{}")
    assert main(["push", str(large), "someone/large", "--dry-run"]) == 0
    (release / "README.md").unlink()
    assert main(["push", str(release), "someone/tiny", "--dry-run"]) == 2
    (release / "README.md").write_text("# A tiny reasoner\n")


def test_cast_rounds_the_weights_and_nothing_else(release, tmp_path, capsys):
    out = tmp_path / "half"
    assert main(["cast", str(release), str(out)]) == 0
    told = capsys.readouterr().out
    exact, rounded = FocalModel.from_pretrained(release, dtype=torch.float32), FocalModel.from_pretrained(out)
    assert rounded.dtype == torch.bfloat16 and f"{(out / 'model.safetensors').stat().st_size:,}" in told
    for (name, a), b in zip(exact.state_dict().items(), rounded.state_dict().values(), strict=True):
        assert torch.equal(a.to(torch.bfloat16), b), name
    assert {p.name for p in out.iterdir()} == {p.name for p in release.iterdir() if p.name != "__pycache__"}
    assert main(["cast", str(release), str(out)]) == 2  # never over an existing folder


def test_help_imports_nothing_heavy():
    code = (
        "import sys, models.__main__ as m; m.parser().format_help(); print([n for n in ('torch', 'transformers', 'open_clip') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
