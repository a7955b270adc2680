"""The command line of a released model: `python -m models ask DIR --audio x.wav --question "…"`, `python -m models cast DIR OUT` and
`python -m models push DIR REPO [--dry-run]`."""

import argparse
import shutil
import sys
from pathlib import Path

KINDS = ("image", "audio", "video")


class Medium(argparse.Action):
    """Collects --image, --audio and --video in the order they are given: the placeholders follow it."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        namespace.media = [*getattr(namespace, "media", []), (self.dest, values)]


def parser() -> argparse.ArgumentParser:
    main = argparse.ArgumentParser(prog="python -m models", description="Ask a released model, or put it on a hub.")
    main.add_argument("--debug", action="store_true", help="show tracebacks of user errors too")
    commands = main.add_subparsers(dest="command", required=True)
    ask = commands.add_parser("ask", help="answer a question about media files")
    ask.add_argument("folder", help="a release, a checkpoint, or a run directory that holds a release")
    for kind in KINDS:
        ask.add_argument(f"--{kind}", action=Medium, metavar="FILE", help=f"{'an' if kind != 'video' else 'a'} {kind} file (repeatable)")
    ask.add_argument("--question", required=True)
    ask.add_argument("--option", action="append", default=[], help="an answer to choose from; give it once per option")
    ask.add_argument("--max-new-tokens", type=int, default=256)
    ask.add_argument("--temperature", type=float, default=0.0)
    ask.add_argument("--seed", type=int, default=0)
    cast = commands.add_parser("cast", help="write a release in another precision; evaluate the copy before you publish its scores")
    cast.add_argument("folder")
    cast.add_argument("out", help="a new folder")
    cast.add_argument("--dtype", choices=["bfloat16", "float16", "float32"], default="bfloat16")
    push = commands.add_parser("push", help="upload a release to the Hugging Face hub")
    push.add_argument("folder")
    push.add_argument("repo", help="owner/name")
    push.add_argument("--private", action="store_true")
    push.add_argument("--dry-run", action="store_true", help="list the files, their sizes and the card; upload nothing")
    return main


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        print({"ask": ask, "cast": cast, "push": push}[options.command](options))
    except (ValueError, OSError) as error:  # a user's mistake, or a file that cannot be read; everything else keeps its traceback
        if options.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def find_model(folder: str) -> Path:
    """The folder itself where it holds a model, or the release inside a run directory."""
    for path in (Path(folder), Path(folder) / "release"):
        if (path / "config.json").is_file():
            return path
    raise ValueError(f"{folder}: neither a model (config.json) nor a run directory with a release/")


def ask(options: argparse.Namespace) -> str:
    """The completion, tags and all, without the end-of-turn token."""
    import torch

    from .modeling import FocalModel
    from .processing import FocalProcessor
    from .sampler import sample

    media = getattr(options, "media", [])
    if absent := [path for _, path in media if not Path(path).is_file()]:
        raise ValueError(f"no file {absent[0]!r}")
    folder = find_model(options.folder)
    model, processor = FocalModel.from_pretrained(folder, dtype=torch.float32).eval(), FocalProcessor.from_pretrained(folder)
    batch = processor(
        messages=[{"role": "user", "content": prompt(processor, media, options.question, options.option)}], media=[[p for _, p in media]]
    )
    # The end of a turn; a tokenizer that came with a pretrained model has an end of its own beside it.
    ends = sorted({model.config.eos_token_id, processor.tokenizer.eos_token_id} - {None})
    limits = {"temperature": options.temperature, "seeds": [options.seed]}
    found = sample(model, batch, options.max_new_tokens, stop_ids=ends, pad_id=processor.tokenizer.pad_token_id, **limits)
    said = found.ids[0, : int(found.lengths[0])]
    return processor.tokenizer.decode(said[~torch.isin(said, torch.tensor(ends))]).strip()


def prompt(processor, media: list[tuple[str, str]], question: str, options: list[str]) -> str:
    """The user turn in the layout of the training: placeholders in order, the question, lettered options. Special tokens in the text are broken."""
    placeholders = {}
    for name, stream in processor.streams.items():
        placeholders.setdefault(next(k for k in KINDS if name.startswith(k)), stream["placeholder"])
    if unknown := sorted({kind for kind, _ in media} - set(placeholders)):
        raise ValueError(f"this model takes no {unknown[0]} (it takes: {', '.join(sorted(placeholders)) or 'text only'})")
    lines = [question, *(f"{chr(ord('A') + i)}. {option}" for i, option in enumerate(options))]
    special = sorted(processor.tokenizer.all_special_tokens, key=len, reverse=True)
    for token in special:
        lines = [line.replace(token, token[0] + " " + token[1:]) for line in lines]
    return "".join(placeholders[kind] for kind, _ in media) + "\n".join(lines)


def cast(options: argparse.Namespace) -> str:
    """Copy a release with its floating-point weights in another precision. An existing folder is never overwritten."""
    import json

    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    folder, out = find_model(options.folder), Path(options.out)
    if out.exists():
        raise ValueError(f"{out} exists: name a new folder")
    shutil.copytree(folder, out, ignore=shutil.ignore_patterns("__pycache__"))
    dtype = getattr(torch, options.dtype)
    for file in sorted(out.glob("*.safetensors")):
        with safe_open(file, "pt") as stored:
            tensors, metadata = {name: stored.get_tensor(name) for name in stored.keys()}, stored.metadata()  # noqa: SIM118 - not a dict
        save_file({name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}, file, metadata)
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(config | {"dtype": options.dtype}, indent=2, sort_keys=True) + "\n")
    return f"{out}: {sum(p.stat().st_size for p in out.glob('*.safetensors')):,} bytes of weights in {options.dtype}"


def push(options: argparse.Namespace) -> str:
    """Upload a release, or with --dry-run say what would be: files, sizes, card."""
    folder = find_model(options.folder)
    files = sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    names = {p.relative_to(folder).as_posix() for p in files}
    weights = "model.safetensors.index.json" if "model.safetensors.index.json" in names else "model.safetensors"
    if missing := sorted({"config.json", weights, "processor_config.json", "modeling.py", "README.md"} - names):
        raise ValueError(f"{folder} is no complete release: {', '.join(missing)} missing")
    if options.repo.count("/") != 1:
        raise ValueError(f"repo {options.repo!r} is not of the form owner/name")
    if options.dry_run:
        lines = [f"{p.stat().st_size:>12,}  {p.relative_to(folder)}" for p in files]
        total = sum(p.stat().st_size for p in files)
        card = (folder / "README.md").read_text()
        return "\n".join([f"would upload to {options.repo}:", *lines, f"{total:>12,}  bytes in {len(files)} files", "", "README.md:", card])
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo(options.repo, private=options.private, exist_ok=True)
    api.upload_folder(repo_id=options.repo, folder_path=folder, ignore_patterns=["__pycache__/*"])
    return f"https://huggingface.co/{options.repo}"


if __name__ == "__main__":
    sys.exit(main())
