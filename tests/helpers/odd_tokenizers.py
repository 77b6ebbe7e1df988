"""Small tokenizers with the habits of real ones: ends appended, spaces put in front, signs lost."""

import copy
import json

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import RobertaProcessing, TemplateProcessing

import workbench as wb
from tests.helpers.families import SIZES

_STRIP = decoders.Strip(" ", 1, 0)
TEXTS = ["Mend the gate.", "Sure, mend the gate with the hammer. No, never. INST /INST ASSISTANT:"]
ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '</s>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
INST = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}"
    "{{ '[INST] ' + m.content + ' [/INST]' }}{% else %}{{ ' ' + m.content + eos_token }}"
    "{% endif %}{% endfor %}"
)
VICUNA = (
    "{% for m in messages %}{{ m.role|upper + ': ' + m.content + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT: ' }}{% endif %}"
)


def around_text(tokenizer, single):
    """A copy that puts special tokens around a text: `"<bos> $A <eos>"`."""
    tokenizer = copy.deepcopy(tokenizer)
    names = [name for name in single.split() if name != "$A"]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=single,
        special_tokens=[(n, tokenizer.convert_tokens_to_ids(n)) for n in dict.fromkeys(names)],
    )
    return tokenizer


def like_roberta(tokenizer):
    """A copy that puts `<bos>` before and `<eos>` behind, as RoBERTa's."""
    tokenizer = copy.deepcopy(tokenizer)
    bos, eos = (("<bos>", tokenizer.bos_token_id), ("<eos>", tokenizer.eos_token_id))
    tokenizer.backend_tokenizer.post_processor = RobertaProcessing(eos, bos)
    return tokenizer


def sentencepiece(template=None, scheme="first", unknown=False):
    """A BPE whose words begin with ▁, as Llama's: a text that stands alone gets one in front."""
    named = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    bytes_ = [] if unknown else [f"<0x{i:02X}>" for i in range(256)]
    bpe = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=not unknown))
    bpe.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    bpe.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), _STRIP]
    )
    special = [*named.values(), "<|user|>", "<|assistant|>", "<|system|>"]
    words = pre_tokenizers.Metaspace(prepend_scheme="always")
    learning = Tokenizer(models.BPE(unk_token="<unk>"))
    learning.pre_tokenizer = words
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=[*special, *bytes_], show_progress=False
    )
    learning.train_from_iterator([t + " ▁ \n" * 3 for t in TEXTS] * 9, trainer)
    state = learning.get_vocab()
    merges = [tuple(m) for m in json.loads(learning.to_str())["model"]["merges"]]
    bpe.model = models.BPE(
        state, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=not unknown
    )
    bpe.add_special_tokens(special)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe, clean_up_tokenization_spaces=False, **named
    )
    tokenizer.chat_template = template
    return around_text(tokenizer, "<s> $A")


def small_alphabet(unk=True):
    """Letters and spaces alone: other characters are unknown, or (without `unk`) left out."""
    signs = ["<unk>", "<eos>", *"abcdefghijklmnopqrstuvwxyz .M"]
    vocabulary = {sign: i for i, sign in enumerate(signs)}
    letters = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>" if unk else None))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=letters, eos_token="<eos>", **({"unk_token": "<unk>"} if unk else {})
    )


def normalised(tokenizer, *steps):
    """A copy that rewrites every text first."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(list(steps))
    return tokenizer


def model_of(tokenizer, more=0, **changes):
    """A random Llama that embeds the tokenizer's vocabulary and `more`."""
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer) + more, **{**SIZES, "max_position_embeddings": 512, **changes}
    )
    for end in ("bos", "eos", "pad"):
        setattr(config, f"{end}_token_id", getattr(tokenizer, f"{end}_token_id"))
    torch.manual_seed(0)
    hf = transformers.AutoModelForCausalLM.from_config(config).eval()
    for parameter in hf.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return wb.load(hf, tokenizer)
