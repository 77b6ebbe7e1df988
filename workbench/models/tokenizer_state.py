"""What the ids of a prompt and the text of a completion depend on: the tokenizer as it is now."""

from typing import Any

from workbench.hashing import canonical, digest
from workbench.models.forward_state import described

# The template has a place of its own; the others are names, notes and what every call sets anew.
_NO_MATTER = frozenset(
    "_tokenizer chat_template init_kwargs init_inputs name_or_path deprecation_warnings verbose "
    "files_loaded padding_side truncation_side model_max_length _in_target_context_manager".split()
)
_MOMENT = ("strftime_now", "random", "lipsum")


def tokenizer_digest(tokenizer: Any) -> str:
    """16 hex digits of vocabulary, added tokens, normaliser, decoder, special tokens and options.

    Read at every call: `add_tokens` and edits of the backend change a tokenizer in place. Padding
    and truncation, which calls set and leave behind, do not count.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        text = backend.to_str()
        text = text[text.index('"added_tokens"') :]
    else:
        text = canonical(tokenizer.get_vocab())
    fields = {k: described(v) for k, v in vars(tokenizer).items() if k not in _NO_MATTER}
    return digest(f"{described(type(tokenizer))}{sorted(fields.items())}{text}")


def depends_on_the_moment(tokenizer: Any) -> bool:
    """Whether the chat template may render the same chat otherwise later: it asks for the date."""
    template = str(tokenizer.chat_template)
    return any(word in template for word in _MOMENT)
