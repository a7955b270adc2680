"""Every kind of component but encoders and projectors (those are in `models/registry.py`): one line adds one."""

from models.registry import Registry

WORLDS = Registry(
    "world",
    {
        "vision": "data.worlds.vision:VisionWorld",
        "audio": "data.worlds.audio:AudioWorld",
        "video": "data.worlds.video:VideoWorld",
        "text": "data.worlds.text:TextWorld",
    },
)
READERS = Registry(
    "reader",
    {
        "jsonl": "data.readers.jsonl:JsonlReader",
        "mmau": "data.readers.mmau:MmauReader",
        "mathvista": "data.readers.mathvista:MathVistaReader",
        "clevrer": "data.readers.clevrer:ClevrerReader",
        "esc10": "data.readers.esc10:Esc10Reader",
        "puzzlevqa": "data.readers.puzzlevqa:PuzzleVQAReader",
        "video_r1": "data.readers.video_r1:VideoR1Reader",
    },
)
TRANSFORMS = Registry(
    "transform",
    {
        "invert": "data.transforms.inversion:invert",
    },
)
STAGES = Registry(
    "stage",
    {
        "align": "training.stages.sft:AlignStage",
        "sft": "training.stages.sft:SFTStage",
        "tw_grpo": "training.stages.tw_grpo:TWGRPOStage",
        "prm": "training.stages.prm:PRMStage",
        "step_labels": "training.stages.step_labels:StepLabelsStage",
    },
)
BENCHMARKS = Registry(
    "benchmark",
    {
        "world": "eval.benchmarks.world:WorldBenchmark",
        "records": "eval.benchmarks.records:RecordsBenchmark",
        "mmau": "eval.benchmarks.mmau:MMAU",
        "mathvista": "eval.benchmarks.mathvista:MathVista",
        "clevrer": "eval.benchmarks.clevrer:Clevrer",
        "puzzlevqa": "eval.benchmarks.puzzlevqa:PuzzleVQA",
        "gsm8k": "eval.benchmarks.gsm8k:GSM8K",
        "processbench": "eval.benchmarks.processbench:ProcessBench",
        "mmvu": "eval.benchmarks.mmvu:MMVU",
        "nextgqa": "eval.benchmarks.nextgqa:NExTGQA",
        "mmar": "eval.benchmarks.mmar:MMAR",
        "mmau_pro": "eval.benchmarks.mmau_pro:MMAUPro",
        "compa_order": "eval.benchmarks.compa:CompAOrder",
        "compa_attribute": "eval.benchmarks.compa:CompAAttribute",
    },
)
SINKS = Registry(
    "sink",
    {
        "tensorboard": "training.sinks:TensorBoardSink",
        "wandb": "training.sinks:WandbSink",
    },
)
REWARDS = Registry(
    "reward",
    {
        "answer": "training.rewards.verdict:answer",
        "soft_choice": "training.rewards.multi_choice:soft_choice",
        "format": "training.rewards.format:keeps_format",
        "process": "training.rewards.verdict:process",
        "no_error": "training.rewards.verdict:no_error",
        "exact_text": "training.rewards.verdict:exact_text",
        "temporal": "training.rewards.temporal:temporal",
        "length_bonus": "training.rewards.length:length_bonus",
        "overlong_penalty": "training.rewards.length:overlong_penalty",
    },
)
ADVANTAGES = Registry(
    "advantage rule",
    {
        "group": "training.advantages:group_advantages",
        "leave_one_out": "training.advantages:leave_one_out",
        "virtual_reward": "training.advantages:virtual_reward",
        "plain_reward": "training.advantages:plain_reward",
    },
)
FILTERS = Registry(
    "filter",
    {
        "three_sigma": "training.filters:three_sigma",
        "reward_band": "training.filters:reward_band",
    },
)
TOKEN_WEIGHTS = Registry(
    "token-weight rule",
    {
        "official": "training.token_weights:OFFICIAL",
        "masked": "training.token_weights:MASKED",
        "jsd": "training.token_weights:JSD",
        "entropy": "training.token_weights:ENTROPY",
    },
)
LOSSES = Registry(
    "loss",
    {
        "grpo": "training.losses:GRPO",
        "bnpo": "training.losses:BNPO",
        "dr_grpo": "training.losses:DR_GRPO",
        "dapo": "training.losses:DAPO",
        "cispo": "training.losses:CISPO",
        "gspo": "training.losses:GSPO",
        "sapo": "training.losses:SAPO",
        "tw_grpo": "training.losses:TW_GRPO",
        "stable_reinforce": "training.losses:STABLE_REINFORCE",
    },
)
STRATEGIES = Registry(
    "strategy",
    {
        "greedy": "reasoning.strategies.greedy:Greedy",
        "sample": "reasoning.strategies.sample:Sample",
        "majority": "reasoning.strategies.majority:Majority",
        "majority_same_tokens": "reasoning.strategies.majority_same_tokens:MajoritySameTokens",
        "weighted_majority": "reasoning.strategies.weighted_majority:WeightedMajority",
        "best_of_n": "reasoning.strategies.best_of_n:BestOfN",
        "guided_greedy": "reasoning.strategies.guided_greedy:GuidedGreedy",
        "beam": "reasoning.strategies.beam:Beam",
        "dvts": "reasoning.strategies.dvts:DVTS",
    },
)
SCORERS = Registry(
    "scorer",
    {
        "prm": "reasoning.scorers.prm:PRMScorer",
        "orm": "reasoning.scorers.orm:ORMScorer",
        "vlprm": "reasoning.scorers.vlprm:VLPRMScorer",
        "self_judge": "reasoning.scorers.self_judge:SelfJudgeScorer",
        "oracle": "reasoning.scorers.oracle:OracleScorer",
        "random": "reasoning.scorers.chance:ChanceScorer",
        "shortest": "reasoning.scorers.shortest:ShortestScorer",
    },
)
BENCHES = Registry(
    "bench",
    {
        "eval": "bench.evaluation:evaluation",
        "rollout": "bench.rollout:rollout",
        "update": "bench.update:update",
        "tw_loss": "bench.tw_loss:tw_loss",
        "grpo_step": "bench.grpo_step:grpo_step",
        "media_step": "bench.media_step:media_step",
        "sft": "bench.sft:sft",
        "fusion": "bench.fusion:fusion",
        "prm": "bench.prm:prm",
        "startup": "bench.startup:startup",
    },
)
