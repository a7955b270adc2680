"""What a recipe may say. Every key is typed and known; components bring their own configurations, found through the registry."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from configs.registry import STAGES


class Strict(BaseModel):
    """Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LLMConfig(Strict):
    """`config`: a transformers configuration (`model_type` and sizes) for an LLM from scratch; `path`: a hub id or local folder."""

    config: dict[str, Any] | None = None
    path: str | None = None

    @model_validator(mode="after")
    def one_of(self) -> "LLMConfig":
        if (self.config is None) == (self.path is None):
            raise ValueError("give either config (from scratch) or path (hub id or folder)")
        return self


class TokenizerConfig(Strict):
    """`worlds`: build a small one from their text; `path`: a hub id or local folder (the protocol's tags are added to it)."""

    worlds: list[str] | None = None
    vocab_size: int = Field(default=1024, gt=0)
    path: str | None = None


class StreamConfig(Strict):
    """encoder and projector by registry name with their options; fusion: a list of `{tokens, as, from_layer}`."""

    encoder: dict[str, Any]
    projector: dict[str, Any] = {"name": "mlp"}
    fusion: list[dict[str, Any]] = [{"tokens": "all", "as": "residual", "from_layer": 0}]


class LoraSettings(Strict):
    """PEFT LoRA on modules whose names end with one of `targets`, within the parts named (`llm`, `image.encoder`, `audio.projector` …)."""

    rank: int = Field(default=8, gt=0)
    alpha: float = Field(default=16.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: list[str] = ["q_proj", "v_proj"]
    parts: list[str] = ["llm"]


class ModelConfig(Strict):
    """`init`: start from a Focal checkpoint; otherwise `llm`, `tokenizer` and `streams` build one."""

    init: str | None = None
    llm: LLMConfig | None = None
    tokenizer: TokenizerConfig | None = None
    streams: dict[str, StreamConfig] = {}
    kv_scope: Literal["causal", "all"] = "causal"
    kv_weights: Literal["shared", "separate"] = "shared"
    media_norm: Literal["layer", "own", "none"] = "layer"
    media_rope: Literal["placeholder", "none"] = "placeholder"
    lora: LoraSettings | None = None
    gradient_checkpointing: bool = False

    @model_validator(mode="after")
    def buildable(self) -> "ModelConfig":
        if self.init is None and (self.llm is None or self.tokenizer is None):
            raise ValueError("give init (a checkpoint), or llm and tokenizer to build one")
        return self


class MediaSettings(Strict):
    """Decoding budgets, as `models.media.MediaSpec` says them; they are written into every result."""

    sample_rate: int = Field(default=16_000, gt=0)
    max_seconds: float = Field(default=30.0, gt=0)
    num_frames: int = Field(default=10, gt=0)
    fps: float | None = Field(default=None, gt=0)
    frame_size: int | None = Field(default=None, gt=0)
    max_pixels: int = Field(default=50_000_000, gt=0)
    max_bytes: int = Field(default=500_000_000, gt=0)
    max_wall_s: float = Field(default=60.0, gt=0)
    repeat_frames: bool = False


class SourceConfig(Strict):
    """Where items come from: a `world` at a level (or levels with weights), or a `reader` of files under `path`. `transforms`: what is done to
    their records, one after the other: `{name, chance, …}`, `chance` (default 1) being the share of records that it is tried on."""

    world: str | None = None
    level: int | dict[int, float] = 1
    families: list[str] | None = None
    reader: str | None = None
    path: str | None = None
    options: dict[str, Any] = {}
    split: str = "train"
    limit: int | None = Field(default=None, gt=0)
    transforms: list[dict[str, Any]] = []

    @model_validator(mode="after")
    def one_of(self) -> "SourceConfig":
        if (self.world is None) == (self.reader is None):
            raise ValueError("give either world or reader")
        if self.reader is not None and self.path is None:
            raise ValueError("a reader needs a path (relative to data.root)")
        return self


class DataConfig(Strict):
    root: str = "datasets"
    media: MediaSettings = MediaSettings()
    sources: dict[str, SourceConfig] = {}
    quarantine_limit: int = Field(default=100, ge=0)


class WeightsConfig(Strict):
    root: str = "weights"


class ProtocolConfig(Strict):
    """`instruction` is a line at the end of every prompt, for models that do not know the tags yet. `answer_with`: what supervised stages teach as
    the answer to a choice, its letter or the text of its option; both are graded alike."""

    instruction: str = ""
    answer_with: Literal["letter", "option"] = "letter"


class EvaluationConfig(Strict):
    """One row of results after each stage named in `after` (`base` is the model before the first stage; None: after the last). protocol: the
    benchmark's first where not said."""

    benchmark: str
    level: int | None = None
    n: int = Field(default=300, ge=1)
    seed: int = 1000
    path: str | None = None
    options: dict[str, Any] = {}
    families: list[str] | None = None
    batch_size: int = Field(default=64, ge=1)
    max_new_tokens: int = Field(default=200, ge=1)
    protocol: str | None = None
    controls: list[str] = ["blank_media", "shuffled_media"]
    after: list[str] | None = None
    strategies: list[dict[str, Any]] = Field(default=[{"name": "greedy"}], min_length=1)


class SweepConfig(Strict):
    """One key of the recipe is tried at several values, once per arm and at a seed that no result uses; the best on `select` is kept."""

    key: str
    values: list[float] = Field(min_length=1)
    select: EvaluationConfig
    seed: int = 100


class StudyConfig(Strict):
    """Arms that differ in overrides, at several seeds, from one start: `python -m eval study RECIPE`. The stage named `start` runs once per seed and
    is the checkpoint that every arm begins with. `margin`: the difference to `baseline` that counts, settled before the run."""

    arms: dict[str, list[str]]
    baseline: str
    seeds: list[int] = Field(default=[0, 1, 2], min_length=1)
    start: str | None = None
    sweep: SweepConfig | None = None
    margin: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def known_baseline(self) -> "StudyConfig":
        if self.baseline not in self.arms:
            raise ValueError(f"baseline {self.baseline!r} is not one of the arms {', '.join(self.arms)}")
        return self


class StageConfig(Strict):
    """What every stage has."""

    name: str
    kind: str


def parse_stage(line: Any) -> StageConfig:
    """Each stage is parsed by the configuration of its kind."""
    if isinstance(line, StageConfig):
        return line
    if not isinstance(line, dict) or "kind" not in line:
        raise ValueError("a stage needs a kind")
    return STAGES.get(line["kind"]).config_class(**line)


class Recipe(Strict):
    name: str
    seed: int = 0
    dtype: Literal["float32", "bfloat16"] = "float32"
    threads: int | None = Field(default=None, gt=0)
    model: ModelConfig
    data: DataConfig = DataConfig()
    weights: WeightsConfig = WeightsConfig()
    protocol: ProtocolConfig = ProtocolConfig()
    stages: list[Annotated[Any, BeforeValidator(parse_stage)]]
    evaluate: list[EvaluationConfig] = []
    sinks: list[str] = []
    release: bool = True
    study: StudyConfig | None = None

    @model_validator(mode="after")
    def consistent(self) -> "Recipe":
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"two stages have the same name: {', '.join(names)}")
        for stage in self.stages:
            for source in getattr(stage, "mixture", {}):
                if source not in self.data.sources:
                    raise ValueError(f"stage {stage.name!r}: mixture names source {source!r}, which data.sources does not have")
        for row in self.evaluate:
            for stage in row.after or []:
                if stage not in ("base", *names):
                    raise ValueError(f"evaluate {row.benchmark!r}: after names stage {stage!r}, which the recipe does not have")
        if self.study is not None and self.study.start not in (None, *names):
            raise ValueError(f"study: start names stage {self.study.start!r}, which the recipe does not have")
        return self
