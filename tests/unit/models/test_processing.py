"""From text and media to a batch: as many placeholders as the model makes tokens, row by row; ragged media; refusals that name the row."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from models.configuration import FocalConfig
from models.media import Media, MediaSpec
from models.modeling import FocalModel
from models.processing import FocalProcessor, pad_features, pad_ids

SPECIAL = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|image|>", "<|audio|>", "<|video|>"]
STREAMS = {
    "image": {
        "encoder": {"name": "conv", "size": 16, "width": 16, "depth": 1, "heads": 2},
        "projector": {"name": "merge", "grid": True},
        "fusion": [{}],
    },
    "audio": {
        "encoder": {"name": "conv", "kind": "audio", "num_mels": 8, "width": 16, "depth": 1, "heads": 2, "max_seconds": 2.0},
        "fusion": [{"tokens": "summary:2"}, {"as": "kv"}],
    },
    "video": {"encoder": {"name": "frames", "width": 16, "depth": 1, "heads": 2, "size": 16, "channels": 8, "tokens_per_frame": 2}, "fusion": [{}]},
}


@pytest.fixture(scope="module")
def processor() -> FocalProcessor:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {w: i for i, w in enumerate([*SPECIAL, "which", "one", "red", "blue", "<|unk|>"])}
    inner = Tokenizer(models.WordLevel(words, unk_token="<|unk|>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    template = "{% for m in messages %}<|user|>{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    extra = {"additional_special_tokens": SPECIAL[2:], "chat_template": template}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token=SPECIAL[0], eos_token=SPECIAL[1], unk_token="<|unk|>", **extra)
    return FocalProcessor(tokenizer, streams={n: s | {"placeholder": f"<|{n}|>"} for n, s in STREAMS.items()}, media={"sample_rate": 16_000})


@pytest.fixture(scope="module")
def model(processor) -> FocalModel:
    tokens = processor.tokenizer.convert_tokens_to_ids
    streams = {n: s | {"token_id": tokens(f"<|{n}|>")} for n, s in STREAMS.items()}
    llm = {"model_type": "qwen3", "vocab_size": 12, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4}
    llm["head_dim"] = 8
    torch.manual_seed(0)
    return FocalModel(FocalConfig(llm=llm, streams=streams)).eval()


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(round(16_000 * seconds)).astype(np.float32)


def image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)


def video(frames: int) -> np.ndarray:
    return np.random.default_rng(frames).integers(0, 256, (frames, 20, 20, 3), dtype=np.uint8)


def test_placeholders_are_as_many_as_the_model_makes_tokens(processor, model):
    """image 2 x 2 tokens merged to 1; sound of 1 s: 101 frames, 12 tokens and 2 summaries; video of 3 frames with 2 tokens each."""
    batch = processor(
        text=["<|user|> <|image|> <|audio|> one", "<|video|> which", "one red", "<|audio|> <|audio|> <|video|> one"],
        media=[[image(), sound(1)], [video(3)], [], [sound(0.5), sound(1), video(4)]],
    )
    counts = {name: [(row == i).sum().item() for row in batch["input_ids"]] for i, name in ((4, "image"), (5, "audio"), (6, "video"))}
    assert counts == {"image": [1, 0, 0, 0], "audio": [14, 0, 0, 6 + 2 + 14], "video": [0, 6, 0, 8]}
    assert batch["audio_rows"].tolist() == [0, 3, 3] and batch["audio_lengths"].tolist() == [101, 51, 101]
    assert batch["video_lengths"].tolist() == [3, 4] and "image_lengths" not in batch
    with torch.no_grad():
        logits = model(**batch).logits
        assert bool(logits[batch["attention_mask"].bool()].isfinite().all())
        # The same rows alone: what stands beside a row must not change it.
        alone = model(**processor(text=["<|audio|> <|audio|> <|video|> one"], media=[[sound(0.5), sound(1), video(4)]])).logits
    assert (alone[0, -1] - logits[3, -1]).abs().max() < 1e-5


def test_labels_cover_the_completion_only(processor):
    rows = [processor.encode("<|image|> which", [image()], "red<|end|>"), processor.encode("one", [], "blue red<|end|>")]
    batch = processor.collate(rows, "right")
    assert batch["input_ids"].tolist() == [[4, 7, 9, 1], [8, 10, 9, 1]]
    assert batch["labels"].tolist() == [[-100, -100, 9, 1], [-100, 10, 9, 1]]
    assert "labels" not in processor.collate([processor.encode("one", [])])


def test_arrays_media_and_paths_are_one(processor, tmp_path):
    from PIL import Image

    Image.fromarray(image()).save(tmp_path / "x.png")
    forms = [image(), Media("image", image()), str(tmp_path / "x.png"), tmp_path / "x.png"]
    found = [processor(text="<|image|> one", media=[form])["image_features"] for form in forms]
    assert all(torch.equal(f, found[0]) for f in found)


def test_messages_go_through_the_chat_template(processor):
    chat = [{"role": "user", "content": "<|image|>which one"}]
    batch = processor(messages=chat, media=[[image()]])
    assert batch["input_ids"].tolist() == [[2, 4, 7, 8, 3]]
    several = processor(messages=[chat, [{"role": "user", "content": "one"}]], media=[[image()], []])
    assert several["attention_mask"].tolist() == [[1] * 5, [0, 0, 1, 1, 1]]


def test_round_trip(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    again = FocalProcessor.from_pretrained(tmp_path)
    assert again.streams == processor.streams and again.media == processor.media
    texts, media = ["<|user|> <|audio|> which<|assistant|>"], [[sound(0.3)]]
    first, second = processor(text=texts, media=media), again(text=texts, media=media)
    assert first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_the_frame_rate_travels_and_a_release_from_before_it_still_loads(processor, tmp_path, monkeypatch):
    monkeypatch.setattr(processor, "media", dataclasses.asdict(MediaSpec(num_frames=4, fps=0.5)))
    processor.save_pretrained(tmp_path)
    assert FocalProcessor.from_pretrained(tmp_path).media == processor.media
    path = tmp_path / "processor_config.json"
    stored = json.loads(path.read_text())
    assert stored["media"].pop("fps") == 0.5
    path.write_text(json.dumps(stored))
    assert MediaSpec(**FocalProcessor.from_pretrained(tmp_path).media) == MediaSpec(num_frames=4)


@pytest.mark.parametrize(
    "text,media,message",
    [
        (["one", "<|image|>"], [[], []], "row 1: the text holds 1 media placeholders but 0 media"),
        (["<|image|>"], [[image(), image()]], "row 0: the text holds 1 media placeholders but 2 media"),
        (["one", "one"], [[]], "2 texts but media for 1 rows"),
        (["<|image|>"], [[Media("audio", sound(1), 16_000.0)]], "row 0: conv encoder for image was given audio"),
        (["<|video|>"], [[video(20)]], "row 0: video of 20 frames"),
        (["<|audio|>"], [[Media("audio", sound(1), 8_000.0)]], "row 0: sound at 8000.0 Hz"),
    ],
)
def test_mismatches_name_the_row(processor, text, media, message):
    with pytest.raises(ValueError, match=message):
        processor(text=text, media=media)


def test_padding_by_hand():
    ids = [torch.tensor([5, 6]), torch.tensor([7])]
    assert pad_ids(ids, 0, "left")["input_ids"].tolist() == [[5, 6], [0, 7]]
    right = pad_ids(ids, 0, "right")
    assert right["input_ids"].tolist() == [[5, 6], [7, 0]] and right["attention_mask"].tolist() == [[1, 1], [1, 0]]
    padded, lengths = pad_features([torch.ones(2, 3), torch.ones(2, 1)])
    assert padded[1].tolist() == [[1, 0, 0], [1, 0, 0]] and lengths.tolist() == [3, 1]
    with pytest.raises(ValueError, match="differ in more than their length"):
        pad_features([torch.ones(2, 3), torch.ones(3, 2)])
