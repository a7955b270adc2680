"""From a recipe's pretrained encoder (folder or hub id) to a self-contained stream configuration, and its weights into a freshly built model.

A stream names its source once, in the recipe. `resolve_streams` copies everything that the encoder needs to know into the stream's own options, so
that a checkpoint or release never looks for the source again; `load_encoders` then copies the weights, once, when a run starts from scratch.
"""

import copy
import re
from pathlib import Path

from torch import Tensor, nn

from .fusion import stream_parts
from .registry import ENCODERS


def find_weights(path: str, weights_root: str | Path) -> Path:
    """A folder: `path` under the weights root, `path` itself, or else the download of a hub id `owner/name` (configuration and safetensors only)."""
    for folder in (Path(weights_root) / path, Path(path)):
        if folder.is_dir():
            return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", path):
        raise ValueError(
            f"no folder {path!r} under the weights root {str(weights_root)!r}, and it is not a hub id (owner/name): set weights.root or the path"
        )
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(huggingface_hub.snapshot_download(path, allow_patterns=["*.json", "*.safetensors"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(f"{path!r} is no folder under {str(weights_root)!r} and cannot be fetched from the hub: {error}") from error


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder's safetensors files. Pickled weights (`.bin`) are refused."""
    from safetensors.torch import load_file

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ValueError(f"{folder}: no .safetensors file (pickled weights are not read)")
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def resolve_streams(streams: dict[str, dict], weights_root: str | Path) -> tuple[dict[str, dict], dict[str, str]]:
    """(streams whose encoders carry their full settings, source of the weights per stream that has one). The input is left as it is."""
    resolved, sources = copy.deepcopy(streams), {}
    for name, stream in resolved.items():
        options = dict(stream["encoder"])
        resolve = getattr(ENCODERS.get(options.pop("name")), "resolve", None)
        if resolve is None:
            continue
        settings, source = resolve(options, weights_root)
        stream["encoder"] = {"name": stream["encoder"]["name"], **settings}
        if source:
            sources[name] = source
    return resolved, sources


def load_encoders(model: nn.Module, sources: dict[str, str]) -> None:
    """Copy pretrained weights into the encoders of a FocalModel that was just built; `sources` come from `resolve_streams`."""
    for name, source in sources.items():
        model.streams[name].encoder.load_pretrained(source)


def restore_buffers(model: nn.Module) -> None:
    """Tables that an encoder computes when it is built and that no file holds (rotary angles of timm's towers): transformers builds a model without
    memory and brings them back as uninitialised memory. They come from a fresh encoder of the same configuration; others are left as they are."""
    for name, stream in model.streams.items():
        lost = [(path, buffer) for path, module in stream.encoder.named_modules() for buffer in sorted(module._non_persistent_buffers_set)]
        if not lost:
            continue
        fresh = type(stream.encoder)(stream_parts(model.config.streams[name])[0])
        for path, buffer in lost:
            value = getattr(fresh.get_submodule(path), buffer)
            if value is not None:
                getattr(stream.encoder.get_submodule(path), buffer).copy_(value)


def copy_weights(module: nn.Module, weights: dict[str, Tensor], source: str) -> None:
    """Load `weights` by name; a missing or misshapen one is a `ValueError` naming it (extra ones, such as a decoder's, are ignored)."""
    own = module.state_dict()
    if missing := sorted(set(own) - set(weights)):
        raise ValueError(f"{source}: {len(missing)} weights are missing, first {missing[0]!r}")
    for name, tensor in own.items():
        if tensor.shape != weights[name].shape:
            raise ValueError(f"{source}: {name} has shape {tuple(weights[name].shape)}, the configuration asks for {tuple(tensor.shape)}")
    module.load_state_dict({name: weights[name] for name in own})
