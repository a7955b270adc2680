"""A small tokenizer for models from scratch: byte-level BPE trained on the text of the worlds, one token a digit
and one a word of theirs, the protocol's tags as special tokens."""

from collections.abc import Iterator

from configs.registry import WORLDS
from data import protocol

PAD = "<|pad|>"
# What may become one token: a label such as ` b3`, one digit, a word, a run of signs (each with the space before it), one white space.
PIECES = r" ?\b\p{L}\p{N}\b| ?\p{N}| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s"


def world_texts(worlds: list[str], per_level: int) -> Iterator[str]:
    """Prompts and completions of every family and level of the worlds, so that each of their words becomes one token."""
    from data.worlds.base import generator

    for name in worlds:
        world_class = WORLDS.get(name)
        for family in world_class.all_families:
            world = world_class([family])
            for level in world.levels:
                for i in range(per_level):
                    record = world.sample(level, int(generator("tokenizer", name, i).integers(1 << 30))).record
                    yield protocol.prompt(record)
                    yield protocol.completion(record)


def build_tokenizer(worlds: list[str], vocab_size: int = 1024, per_level: int = 12):
    """A `PreTrainedTokenizerFast` with the project's chat template. Any text can be written with it: what the worlds do not say falls back to
    bytes."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PIECES), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    special = [PAD, *protocol.SPECIAL_TOKENS]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=special, initial_alphabet=sorted(alphabet), show_progress=False, min_frequency=2
    )
    tokenizer.train_from_iterator(world_texts(worlds, per_level), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=protocol.END, chat_template=protocol.CHAT_TEMPLATE,
        additional_special_tokens=[t for t in protocol.SPECIAL_TOKENS if t != protocol.END], clean_up_tokenization_spaces=False,
    )  # fmt: skip
