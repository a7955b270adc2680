"""`hf_audio`: pretrained sound encoders of transformers (Whisper, CLAP), from a local folder or a hub id, or from a configuration with random
weights.

Whisper is run on the clip as it is, not padded to 30 s: 50 tokens a second, with the first positions of its table. Shape legend: N media, K tokens, M
mel bands, T frames.
"""

import dataclasses
import functools
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import valid_keys
from .media import Media
from .pretrained import copy_weights, find_weights, read_weights

# Frames of the feature extractor per Whisper token: its second convolution has stride 2.
FRAMES_PER_TOKEN = 2
PREFIXES = {"whisper": ("model.encoder.", "encoder.", ""), "clap_audio_model": ("audio_model.audio_encoder.", "audio_encoder.", "")}


@dataclasses.dataclass
class HFAudioConfig:
    """path: folder or hub id (needed only until resolved, then a note of the origin); config: the encoder's transformers configuration; features: its
    feature extractor's settings; max_seconds: longer sound is cut (Whisper at most 30)."""

    path: str | None = None
    config: dict = dataclasses.field(default_factory=dict)
    features_config: dict = dataclasses.field(default_factory=dict)
    max_seconds: float = 30.0

    def __post_init__(self):
        if not self.config:
            raise ValueError(
                f"hf_audio encoder {self.path!r} is not resolved: give `config`, or pass the streams through models.pretrained.resolve_streams"
            )
        if self.config.get("model_type") not in PREFIXES:
            raise ValueError(f"hf_audio encoder: family {self.config.get('model_type')!r} is not supported (supported: whisper, clap_audio_model)")
        if self.max_seconds <= 0:
            raise ValueError(f"hf_audio encoder: max_seconds {self.max_seconds} must be positive")

    @property
    def is_whisper(self) -> bool:
        return self.config["model_type"] == "whisper"

    @functools.cached_property
    def _extractor(self):
        from transformers import ClapFeatureExtractor, WhisperFeatureExtractor

        return (WhisperFeatureExtractor if self.is_whisper else ClapFeatureExtractor)(**self.features_config)

    def features(self, media: Media) -> Tensor:
        """Sound -> log-mel [M, T] (Whisper, T even, 100 a second) or [C, T, M] of fixed length (CLAP)."""
        if media.kind != "audio":
            raise ValueError(f"hf_audio encoder was given {media.kind}")
        rate = self._extractor.sampling_rate
        wave = _resampled(media, rate)[: round(self.max_seconds * rate)]
        if self.is_whisper:
            step = FRAMES_PER_TOKEN * self._extractor.hop_length
            wave = F.pad(wave, (0, max(self._extractor.n_fft, math.ceil(len(wave) / step) * step) - len(wave)))
            wave = F.pad(wave, (0, -len(wave) % step))
            found = self._extractor(wave.numpy(), sampling_rate=rate, padding=False, truncation=False, return_tensors="np")
            return torch.from_numpy(found["input_features"][0])
        # The extractor crops longer sound at random; ours is cut here, so that features never depend on a random state.
        wave = wave[: self._extractor.nb_max_samples]
        truncation = "fusion" if self.config.get("enable_fusion") else "rand_trunc"
        found = self._extractor(wave.numpy(), sampling_rate=rate, padding="repeatpad", truncation=truncation, return_tensors="np")
        return torch.from_numpy(np.asarray(found["input_features"][0], dtype=np.float32))

    def num_tokens(self, features_shape: tuple[int, ...]) -> int:
        if self.is_whisper:
            return features_shape[-1] // FRAMES_PER_TOKEN
        side = self.config["spec_size"] // (_first(self.config["patch_stride"]) * 2 ** (len(self.config["depths"]) - 1))
        return side * side


class HFAudioEncoder(nn.Module):
    """features [N, M, T] with lengths [N] (Whisper) or [N, C, T, M] (CLAP) -> (tokens [N, K, width], counts [N])."""

    config_class = HFAudioConfig
    keeps_features = True  # large enough that, frozen, looking a medium up is cheaper than encoding it again

    def __init__(self, config: HFAudioConfig):
        super().__init__()
        from transformers import AutoConfig

        options = {k: v for k, v in config.config.items() if k not in ("model_type", "transformers_version")}
        settings = AutoConfig.for_model(config.config["model_type"], **options)
        settings._attn_implementation = "sdpa"
        self.config = config
        if config.is_whisper:
            from transformers.models.whisper.modeling_whisper import WhisperEncoder

            self.inner, self.width = WhisperEncoder(settings), settings.d_model
        else:
            from transformers.models.clap.modeling_clap import ClapAudioEncoder

            self.inner = ClapAudioEncoder(settings)
            self.width = settings.patch_embeds_hidden_size * 2 ** (len(settings.depths) - 1)

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = features.to(next(self.parameters()).dtype)
        if self.config.is_whisper:
            return self._whisper(x, lengths)
        longer = torch.zeros(len(x), 1, dtype=torch.bool, device=x.device)  # sound is cut to the extractor's length before
        grid = self.inner(input_features=x, is_longer=longer).last_hidden_state
        tokens = grid.flatten(2).transpose(1, 2)
        return tokens, torch.full((len(x),), tokens.shape[1], device=x.device)

    def _whisper(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """WhisperEncoder's own modules over a clip of any length; equal to its forward at the full 30 s."""
        inner, size = self.inner, x.shape[-1] // FRAMES_PER_TOKEN
        if size > inner.embed_positions.num_embeddings:
            raise ValueError(f"sound of {size} tokens reached a Whisper encoder of {inner.embed_positions.num_embeddings}: set max_seconds")
        x = F.gelu(inner.conv2(F.gelu(inner.conv1(x)))).transpose(1, 2)
        x = x + inner.embed_positions.weight[:size]
        counts = torch.full((len(x),), size, device=x.device) if lengths is None else lengths // FRAMES_PER_TOKEN
        mask = valid_keys(counts, size)
        for layer in inner.layers:
            x = layer(x, mask)
        return inner.layer_norm(x), counts

    @staticmethod
    def resolve(options: dict, weights_root: str | Path) -> tuple[dict, str | None]:
        """Fill `config` and `features_config` from the folder or hub id in `path`; the Whisper position table is cut to `max_seconds`."""
        from transformers import AutoConfig, AutoFeatureExtractor

        if not options.get("path"):
            return options, None
        folder = find_weights(options["path"], weights_root)
        loaded = AutoConfig.from_pretrained(folder)
        settings = (loaded.audio_config if loaded.model_type == "clap" else loaded).to_diff_dict()
        settings["model_type"] = "clap_audio_model" if loaded.model_type == "clap" else loaded.model_type
        for key in ("architectures", "transformers_version", "_name_or_path", "dtype"):
            settings.pop(key, None)
        seconds = float(options.get("max_seconds", 30.0))
        if settings["model_type"] == "whisper":
            settings["max_source_positions"] = min(round(seconds * 50), loaded.max_source_positions)
            seconds = settings["max_source_positions"] / 50
        elif settings["model_type"] == "clap_audio_model":
            for key in ("spec_size", "patch_stride", "depths"):
                settings[key] = getattr(loaded.audio_config, key)
        extractor = AutoFeatureExtractor.from_pretrained(folder)
        features = {
            k: v
            for k, v in extractor.to_dict().items()
            if k not in ("mel_filters", "mel_filters_slaney", "feature_extractor_type", "processor_class")
        }
        return {**options, "config": settings, "features_config": features, "max_seconds": seconds}, str(folder)

    def load_pretrained(self, source: str) -> None:
        """Copy the encoder's weights from a folder of safetensors, whatever model around it they were saved with."""
        stored, own = read_weights(Path(source)), self.inner.state_dict()
        prefix = next((p for p in PREFIXES[self.config.config["model_type"]] if p + next(iter(own)) in stored), None)
        if prefix is None:
            raise ValueError(f"{source}: holds no {self.config.config['model_type']} encoder weights")
        weights = {name: stored[prefix + name] for name in own if prefix + name in stored}
        table = "embed_positions.weight"
        if table in weights:
            weights[table] = weights[table][: len(own[table])]
        copy_weights(self.inner, weights, source)


def _first(value) -> int:
    return value[0] if isinstance(value, (list, tuple)) else value


def _resampled(media: Media, rate: int) -> Tensor:
    """Mono sound at the encoder's rate. Raising the rate would feign content that is not there: an error that names the setting."""
    wave = torch.from_numpy(np.ascontiguousarray(media.array, dtype=np.float32))
    if media.rate == rate:
        return wave
    if media.rate is None or media.rate < rate:
        raise ValueError(f"sound at {media.rate} Hz reached an encoder for {rate} Hz: set data.media.sample_rate to at least {rate}")
    try:
        from torchaudio.functional import resample
    except ImportError as error:
        raise ValueError(f"sound at {media.rate} Hz needs torchaudio to become {rate} Hz: pip install torchaudio") from error
    return resample(wave, round(media.rate), rate)
