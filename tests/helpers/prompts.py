"""Prompts that share a beginning, and a model whose rotary frequencies depend on length."""

from tests.helpers.families import CHATS, build

HEAD = (
    "Mend the gate with the hammer. Do not look at the bone of Mara. Polish the gate now. "
    "Sure, mend the gate. Never curse the gate with the bone of Osk. Look at Tilda. "
    "Do not mend the bone of Mara with the hammer. Look at the gate. "
)


TAILS = ["Mend", "Curse the gate of Mara", "No", "Polish it with a bone, now", "Sure, sure", "Osk"]


PROMPTS = [HEAD + tail for tail in TAILS]


MIXED = [chat[:1] for chat in CHATS[::2]] + ["Sure, mend", "No, do not curse the gate", *PROMPTS]


def longrope(tokenizer, original=40):
    """A Phi-3 whose rotary frequencies are others in texts of more than `original` tokens."""
    rope = {
        "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4,
        "long_factor": [4.0] * 4, "factor": 8.0,
    }  # fmt: skip
    # The config's own field wins over the one in rope_parameters.
    return build("phi3", tokenizer, rope_parameters=rope, original_max_position_embeddings=original)
