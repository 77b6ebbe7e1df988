"""A small random BERT, as sentence encoders are saved."""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

WORDS = "mend the gate with a hammer and look at old Mara by her bone".split()


def word_tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """Splits at white space and punctuation; cuts and fills to 5 tokens, unless told otherwise."""
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    # As that of MiniLM, whose own limits are not those of its encoder.
    backend.enable_truncation(5)
    backend.enable_padding(length=5)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", model_max_length=512,
    )  # fmt: skip


def save_bert(path: Path, seed: int = 0) -> Path:
    """Save one with a vocabulary of `WORDS`; it reads 40 tokens."""
    tokenizer = word_tokenizer(WORDS)
    tokenizer.save_pretrained(path)
    torch.manual_seed(seed)
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48}
    hf = BertModel(BertConfig(**sizes, num_hidden_layers=2, num_attention_heads=4))
    for weight in hf.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    hf.half().save_pretrained(path)
    (path / "sentence_bert_config.json").write_text('{"max_seq_length": 40}')
    return path
