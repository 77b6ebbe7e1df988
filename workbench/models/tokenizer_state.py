"""What the ids of a prompt and the text of a completion depend on: the tokenizer as it is now."""

import re
from typing import Any

from transformers.utils import chat_template_utils

from workbench.errors import ModelError
from workbench.hashing import canonical, digest
from workbench.models.forward_state import described
from workbench.models.token_ids import around, ids_of

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

    Raises `ModelError` for a part written in Python, which has no text.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        try:
            text = backend.to_str()
        except Exception as error:  # tokenizers has no narrower one
            raise ModelError(
                f"the tokenizer cannot be identified ({error}), so nothing made with it can be "
                "kept: call without store=, out= or a cache"
            ) from error
        text = text[text.index('"added_tokens"') :]
    else:
        text = canonical(tokenizer.get_vocab())
    fields = {k: described(v) for k, v in vars(tokenizer).items() if k not in _NO_MATTER}
    # Text or AddedToken, as it was loaded or saved; how each is matched, the added tokens say.
    special = vars(tokenizer).get("_special_tokens_map", {})
    fields["_special_tokens_map"] = described({k: v and str(v) for k, v in special.items()})
    return digest(f"{described(type(tokenizer))}{sorted(fields.items())}{text}")


def depends_on_the_moment(tokenizer: Any) -> bool:
    """Whether the chat template may render the same chat otherwise later: it asks for the date."""
    template = str(tokenizer.chat_template)
    return any(word in template for word in _MOMENT)


def prompt_state(tokenizer: Any) -> dict[str, str]:
    """What the ids of any prompt depend on now: tokenizer, chat template, and its date if it asks.

    And how texts are read where a tokenizer puts tokens behind them, or a space before a reply.

    For keys of steps whose prompts are not at hand. A template that asks for more than a date in
    a format of its own has another state at every call.
    """
    template = str(tokenizer.chat_template)
    state = {"tokenizer": tokenizer_digest(tokenizer), "template": digest(template)}
    if depends_on_the_moment(tokenizer):
        now = chat_template_utils.datetime.now()  # the templates' own clock
        formats = re.findall(r"""strftime_now\(\s*["']([^"'{}]*)["']\s*\)""", template)
        known = len(formats) == template.count("strftime_now(")
        known &= "random" not in template and "lipsum" not in template
        state["moment"] = canonical([now.strftime(f) for f in formats] if known else str(now))
    behind = around(tokenizer)[1]
    alone, marked = ids_of(tokenizer, ["a", "\na"])
    if behind or alone != marked[-len(alone) :]:
        state["reading"] = canonical(behind)
    return state
