"""A reasoner around a pretrained LLM: two families, from a folder, the weights root or a hub id; what it says on text is what the LLM said."""

import pytest
import torch
import yaml
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from configs.load import load_recipe
from data import protocol
from training.build import build_reasoner

SIZES = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
    "max_position_embeddings": 64, "tie_word_embeddings": True,
}  # fmt: skip
WORDS = ["<unk>", "</s>", "<own>", "red", "blue", "which", "one"]
FAMILIES = ("qwen3", "llama")


def write(folder, family: str) -> None:
    """A tiny LLM with its tokenizer: no chat template, no padding, its own end and one special token more."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"unk_token": "<unk>", "eos_token": "</s>", "additional_special_tokens": ["<own>"]}
    PreTrainedTokenizerFast(tokenizer_object=inner, **special).save_pretrained(folder)
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, vocab_size=len(WORDS), eos_token_id=1, bos_token_id=None, **SIZES)
    AutoModelForCausalLM.from_config(config).bfloat16().save_pretrained(folder)


@pytest.fixture
def build(tmp_path):
    def build(path: str, **weights):
        recipe = {
            "name": "around", "weights": weights,
            "model": {
                "llm": {"path": path}, "tokenizer": {"path": path},
                "streams": {"image": {"encoder": {"name": "conv", "width": 8, "depth": 1, "heads": 2, "size": 16}, "projector": {"name": "linear"}}},
            },
            "stages": [],
        }  # fmt: skip
        (tmp_path / "around.yaml").write_text(yaml.safe_dump(recipe))
        return build_reasoner(load_recipe(tmp_path / "around.yaml", []))

    return build


@pytest.mark.parametrize("family", FAMILIES)
def test_text_is_read_as_the_llm_of_the_folder_reads_it(build, tmp_path, family):
    write(tmp_path / "tiny", family)
    model, processor = build(str(tmp_path / "tiny"))
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "tiny", dtype=torch.float32)
    ids = torch.tensor([[3, 4, 5, 6, 3]])
    with torch.no_grad():
        found, expected = model.eval()(input_ids=ids).logits[..., : len(WORDS)], plain(input_ids=ids).logits
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)  # not bitwise: our head is wider
    assert model.config.llm["model_type"] == family and model.dtype == torch.float32  # stored in bf16, trained in float32
    assert model.head.shape[0] == len(processor.tokenizer) == len(WORDS) + len(protocol.SPECIAL_TOKENS)


def test_tags_join_the_special_tokens_and_a_turn_ends_with_ours(build, tmp_path):
    write(tmp_path / "tiny", "qwen3")
    model, processor = build(str(tmp_path / "tiny"))
    tokenizer = processor.tokenizer
    assert {"</s>", "<own>", *protocol.SPECIAL_TOKENS} <= set(tokenizer.all_special_tokens)
    assert model.config.eos_token_id == tokenizer.convert_tokens_to_ids(protocol.END) and tokenizer.eos_token == "</s>"
    chat = [{"role": "user", "content": "<|image|>which one"}]
    batch = processor(messages=chat, media=[[torch.zeros(16, 16, 3, dtype=torch.uint8).numpy()]])
    assert tokenizer.convert_ids_to_tokens(batch["input_ids"][0]) == ["<|user|>", *["<|image|>"] * 4, "which", "one", "<|assistant|>"]
    with torch.no_grad():
        assert model(**batch).logits.isfinite().all()


def test_the_weights_root_comes_first(build, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "root" / "tiny", "llama")
    write(tmp_path / "tiny", "qwen3")
    assert build("tiny", root="root")[0].config.llm["model_type"] == "llama"
    assert build("tiny", root="elsewhere")[0].config.llm["model_type"] == "qwen3"


def test_a_hub_id_is_read_from_the_cache_of_the_hub(build, tmp_path, monkeypatch):
    """As the hub's client lays it out: `models--owner--name/snapshots/<commit>`, with the commit of `main` in `refs`."""
    commit = "0" * 40
    store = tmp_path / "hub" / "models--someone--tiny"
    write(store / "snapshots" / commit, "llama")
    (store / "refs").mkdir()
    (store / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    model, processor = build("someone/tiny")
    plain = AutoModelForCausalLM.from_pretrained(store / "snapshots" / commit, dtype=torch.float32)
    assert torch.equal(model.llm.model.layers[1].mlp.up_proj.weight, plain.model.layers[1].mlp.up_proj.weight)
    assert AutoTokenizer.from_pretrained(store / "snapshots" / commit)("red")["input_ids"] == processor.tokenizer("red")["input_ids"]


def test_the_encoders_of_a_hub_id_are_found_there_too(tmp_path, monkeypatch):
    from models.pretrained import find_weights

    commit = "1" * 40
    store = tmp_path / "hub" / "models--someone--ears"
    (store / "snapshots" / commit).mkdir(parents=True)
    (store / "refs").mkdir()
    (store / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert find_weights("someone/ears", "nowhere") == store / "snapshots" / commit
    with pytest.raises(ValueError, match=r"'someone/eyes' is no folder under 'nowhere' and cannot be fetched"):
        find_weights("someone/eyes", "nowhere")
