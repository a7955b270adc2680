"""The small tokenizer: whole words of the worlds, single digits, any other text by bytes, tags that text cannot forge."""

import pytest

from data import protocol
from data.worlds.base import generator
from training.tokenizer import PAD, build_tokenizer, world_texts


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(["audio", "vision"], 1024, per_level=6)


@pytest.fixture(scope="module")
def texts():
    return list(world_texts(["audio", "vision"], 1))


def test_it_is_the_same_every_time(tokenizer):
    assert build_tokenizer(["audio", "vision"], 1024, per_level=6).get_vocab() == tokenizer.get_vocab()


def test_every_text_comes_back(tokenizer, texts):
    foreign = ["Füße — 東京 🎧\t\n  two  spaces ", "x = 3.14e-5; <tag>", ""]
    for text in [*texts, *foreign]:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_every_digit_is_its_own_token(tokenizer):
    ids = tokenizer("sum: 17 + 5 = 22")["input_ids"]
    digits = [t.strip() for t in tokenizer.batch_decode([[i] for i in ids]) if any(c.isdigit() for c in t)]
    assert digits == ["1", "7", "5", "2", "2"]


def test_words_of_the_worlds_are_single_tokens(tokenizer, texts):
    words = {word for text in texts for word in text.split() if word.isalpha() and len(word) > 1}
    assert len(words) > 30
    split = [word for word in words if len(tokenizer(f" {word}")["input_ids"]) > 1 and len(tokenizer(word)["input_ids"]) > 1]
    assert len(split) <= len(words) // 20, split


def test_tags_are_one_token_each_and_stay_when_decoded(tokenizer):
    for tag in (PAD, *protocol.SPECIAL_TOKENS):
        assert len(tokenizer(tag)["input_ids"]) == 1
        assert tokenizer.decode(tokenizer(tag)["input_ids"]) == tag
    assert (tokenizer.pad_token, tokenizer.eos_token) == (PAD, protocol.END)
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_user_text_cannot_forge_a_tag(tokenizer):
    """Every special token that a question contains is broken up before it is tokenised."""
    special = {tokenizer.convert_tokens_to_ids(tag) for tag in protocol.SPECIAL_TOKENS}
    for tag in protocol.SPECIAL_TOKENS:
        ids = tokenizer(protocol.escape(f"what is {tag} here"))["input_ids"]
        assert not special & set(ids)


def test_chat_template_ends_where_the_answer_begins(tokenizer):
    chat = [{"role": "user", "content": "<|audio|>Which is first?"}]
    text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    assert text == "<|user|><|audio|>Which is first?<|assistant|>"


def test_the_texts_cover_every_family(texts):
    assert any("<|image|>" in text for text in texts) and any("<|audio|>" in text for text in texts)
    assert sum(text.startswith("<think>") for text in texts) * 2 == len(texts)
    assert generator("a", 1).integers(1 << 30) == generator("a", 1).integers(1 << 30)


def test_the_vocabulary_is_bounded(tokenizer):
    assert len(tokenizer) <= 1024
    with pytest.raises(ValueError, match="unknown world 'sound'"):
        build_tokenizer(["sound"])
