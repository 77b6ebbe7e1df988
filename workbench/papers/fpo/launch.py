"""FPO from the command line, on one process or many.

`accelerate launch --num_processes 8 -m workbench.papers.fpo.launch --model_name_or_path MODEL
--dataset_name PAIRS --loss fpo --sae RELEASE:ID --output_dir OUT`; `--use_peft` for LoRA. Every
field of `FPOConfig`, TRL's `ModelConfig` and `ScriptArguments` is an option; so is `--config FILE`.
"""

from pathlib import Path

from datasets import Dataset
from trl import ModelConfig, ScriptArguments, TrlParser, get_peft_config, get_quantization_config

from workbench.data.fields import of_split
from workbench.files import Row, read_rows, suffix
from workbench.hashing import digest
from workbench.hub import hub_rows
from workbench.papers.fpo.config import FPOConfig
from workbench.papers.fpo.trainer import FPOTrainer
from workbench.training.resume import last_checkpoint
from workbench.training.sealing import Sealing
from workbench.writing import disk_errors

_ASIDE = (
    "output_dir", "cache_dir", "run_name", "local_rank", "log", "save", "eval", "hub", "push",
    "report", "disable_tqdm", "dataloader_num", "dataloader_p", "ddp", "resume", "project",
    "trackio", "_",
)  # fmt: skip
"""How options begin that change no number of a training."""


def main(argv: list[str] | None = None) -> None:
    """Train, go on from the last checkpoint in `output_dir` if there is one, and save the model."""
    parser = TrlParser((ScriptArguments, FPOConfig, ModelConfig))
    script, args, model = parser.parse_args_and_config(argv)
    args.model_init_kwargs = {
        "revision": model.model_revision,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
        "quantization_config": get_quantization_config(model),
        **(args.model_init_kwargs or {}),
    }
    evaluated = args.eval_strategy != "no"
    trainer = FPOTrainer(
        model.model_name_or_path,
        args=args,
        train_dataset=_pairs(script, script.dataset_train_split),
        eval_dataset=_pairs(script, script.dataset_test_split) if evaluated else None,
        peft_config=get_peft_config(model),
    )
    identity = _identity(script, args, model)
    trainer.add_callback(Sealing(identity))
    last = args.resume_from_checkpoint or last_checkpoint(args.output_dir, identity)
    with disk_errors(args.output_dir):
        trainer.train(resume_from_checkpoint=last)
        trainer.save_model(args.output_dir)


def _identity(script: ScriptArguments, args: FPOConfig, model: ModelConfig) -> str:
    """All options but where things lie and what is logged, saved or evaluated when."""
    options = {**vars(script), **vars(model), **args.to_dict()}
    options = {k: repr(v) for k, v in options.items() if not k.startswith(_ASIDE)}
    return digest(options)


def _pairs(script: ScriptArguments, split: str) -> Dataset | list[Row]:
    """Pairs of the hub, or of a local file, whose `split` column chooses where it has one."""
    name = str(script.dataset_name)
    if suffix(Path(name)) in (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet"):
        return [row for _, row in of_split(read_rows(name), split, name)]
    return hub_rows(name, split, script.dataset_config)


if __name__ == "__main__":
    main()
