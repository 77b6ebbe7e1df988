"""Networks in the format of the authors' six on the hub, made here: by hand, or from ours."""

import json

import torch
from safetensors.torch import save_file


def config_of(inputs, outputs, sizes):
    """The content of config.json; `sizes`: hidden, layers, key, units, places."""
    hidden, layers, key, units, places = sizes
    return {
        "architectures": ["CoNNModel"], "model_type": "conn", "vocab_size": len(inputs),
        "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": 1,
        "intermediate_size": key, "mlp_hidden_size": units, "hidden_act": "relu",
        "hidden_dropout_prob": 0, "attention_probs_dropout_prob": 0,
        "max_position_embeddings": places, "layer_norm": False, "layer_norm_eps": 0.02,
        "initializer_range": 0.02, "pad_token_id": inputs["pad"], "input_encoding_map": inputs,
        "output_encoding_map": outputs, "torch_dtype": "float32", "transformers_version": "4.26.1",
    }  # fmt: skip


def ranks(symbols):
    """Ids as the authors give them: places in the sorted order."""
    return {symbol: i for i, symbol in enumerate(sorted(symbols))}


def empty(config):
    """Weights of all zeros."""
    d, key, units = (config[n] for n in ("hidden_size", "intermediate_size", "mlp_hidden_size"))
    weights = {
        "embeddings.word_embeddings.weight": torch.zeros(config["vocab_size"], d),
        "embeddings.position_embeddings.weight": torch.zeros(config["max_position_embeddings"], d),
        "unembedding": torch.zeros(d, len(config["output_encoding_map"])),
    }
    for i in range(config["num_hidden_layers"]):
        at = f"transformer.layers.{i}"
        sides = {f"self_attn.{n}_proj": (key, d) for n in ("query", "key", "value")}
        sides |= {"self_attn.out_proj": (d, key), "linear1": (units, d), "linear2": (d, units)}
        for name, shape in sides.items():
            weights[f"{at}.{name}.weight"] = torch.zeros(shape)
            weights[f"{at}.{name}.bias"] = torch.zeros(shape[0])
    return weights


def of_ours(network):
    """(config, weights) of one of our networks with a head a layer at most, in their format.

    Their queries are divided by the root of the hidden size.
    """
    ours = network.config
    assert max(ours.heads) <= 1
    inputs, outputs = ranks([*ours.vocabulary, "bos", "pad"]), ranks(ours.outputs)
    key, units = max(1, *ours.head_dims), max(1, *ours.units)
    sizes = (ours.d_model, len(ours.heads), key, units, ours.window + 1)
    config = config_of(inputs, outputs, sizes)
    weights = empty(config)
    words, state = weights["embeddings.word_embeddings.weight"], network.state_dict()
    for i, symbol in enumerate([*ours.vocabulary, "bos", "pad"]):
        words[inputs[symbol]] = state["tokens.weight"][i]
    weights["embeddings.position_embeddings.weight"][:] = state["positions.weight"]
    for i, symbol in enumerate(ours.outputs):
        weights["unembedding"][:, outputs[symbol]] = state["unembed.weight"][i]
    names = {"q": "self_attn.query_proj", "k": "self_attn.key_proj", "v": "self_attn.value_proj",
             "o": "self_attn.out_proj", "up": "linear1", "down": "linear2"}  # fmt: skip
    for name, weight in state.items():
        if name.startswith("layers."):
            _, i, part, _ = name.split(".")
            theirs = weights[f"transformer.layers.{i}.{names[part]}.weight"]
            rows, columns = weight.shape
            theirs[:rows, :columns] = weight * (ours.d_model**0.5 if part == "q" else 1)
    return config, weights


def write(folder, config, weights, kind="bin"):
    """A folder as on the hub (`bin`), or with safetensors."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if kind == "bin":
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        save_file(weights, folder / "model.safetensors")
    return folder


def parity_by_hand(window=6):
    """Even or odd at every position, with biases: the share of BOS, then one hat a count.

    Dimensions: one, bos, '1', share, even, odd.
    """
    inputs, outputs = ranks(["0", "1", "bos", "pad"]), ranks(["0", "1"])
    config = config_of(inputs, outputs, (6, 1, 1, 3 * (window + 1), window + 1))
    weights = empty(config)
    words = weights["embeddings.word_embeddings.weight"]
    words[:, 0] = 1
    words[inputs["bos"], 1] = words[inputs["1"], 2] = 1
    at = "transformer.layers.0"
    weights[f"{at}.self_attn.query_proj.bias"][0] = 100 * 6**0.5
    weights[f"{at}.self_attn.key_proj.weight"][0, [1, 2]] = 1
    weights[f"{at}.self_attn.value_proj.weight"][0, 1] = 1
    weights[f"{at}.self_attn.out_proj.weight"][3, 0] = 1
    for ones in range(window + 1):
        share = 1 / (1 + ones)
        width = 1 / ((1 + ones) * (2 + ones))  # to the next smaller share
        for j, (shift, sign) in enumerate(((-width, 1), (0, -2), (width, 1))):
            unit = 3 * ones + j
            weights[f"{at}.linear1.weight"][unit, 3] = 1
            weights[f"{at}.linear1.bias"][unit] = -share - shift
            weights[f"{at}.linear2.weight"][4 + ones % 2, unit] = sign / width
    weights["unembedding"][4, outputs["0"]] = weights["unembedding"][5, outputs["1"]] = 1
    return config, weights
