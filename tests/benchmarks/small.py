"""The real small model: loading, decode, capture, and how soon the steering UI shows a token."""

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import torch

import workbench as wb
from tests.benchmarks import timing
from workbench.errors import ModelError
from workbench.hub import place_of
from workbench.models.prompts import encode_all, messages
from workbench.papers.safetylock.lock import contrast_activations, find_lock

REQUESTS = (
    "What is the capital of France?", "Write a line about a typical Monday.",
    "Name three fruits and their colours.", "How do I mend a garden gate?",
    "Explain rain to a child.", "Give me a short greeting for a letter.",
    "What is seven plus five?", "Describe the sea in one sentence.",
)  # fmt: skip
NEW, ROUNDS = 32, 5
_LOAD = """
import time, torch, nnsight, transformers.models.llama.modeling_llama, workbench.models.loading
start = time.process_time()
workbench.models.loading.load("smollm2", dtype="float32", device="cpu")
print(time.process_time() - start)
"""


def loads() -> dict[str, float]:
    """CPU seconds beyond the imports of the first load, and of the least of three later ones."""
    with tempfile.TemporaryDirectory() as folder:
        given = {**os.environ, "WORKBENCH_CACHE": folder, "OMP_NUM_THREADS": "1"}
        times = [
            float(
                subprocess.run(
                    [sys.executable, "-c", _LOAD],
                    capture_output=True, text=True, check=True, env=given,
                ).stdout.split()[-1]
            )
            for _ in range(4)
        ]  # fmt: skip
    return {"small_first_load_s": times[0], "small_later_load_s": min(times[1:])}


def alpha_to_token(model: wb.Model, changes: int = 12) -> dict[str, float]:
    """Milliseconds from an alpha change in the steering UI to the first token drawn, by medians.

    At rest and while a reply is being written, the worst of both; and of transformers' own forward
    of the same prompt with a hook that adds the same shift, its likeliest token decoded.
    """
    contrast = contrast_activations(model, wb.load_data("sentiment"))
    lock, _ = find_lock(contrast, 48)
    ui = wb.ui.steering(model, lock, prompt=REQUESTS[1], alpha=0.0)
    drawn, took = threading.Event(), {"rest": [], "writing": []}

    def look(change: dict[str, str]) -> None:
        # Of the run before a frame may still come.
        if f"alpha {ui.alpha.value:g}<" in change["new"]:
            drawn.set()

    ui.columns.observe(look, "value")
    ui._ipython_display_()
    ui.wait()

    def change(alpha: float) -> float:
        drawn.clear()
        started = time.perf_counter()
        ui.alpha.value = alpha
        if not drawn.wait(30):
            raise SystemExit("the steering UI has drawn nothing in 30 s")
        return 1000 * (time.perf_counter() - started)

    for i in range(changes):
        took["rest"].append(change(1.0 + 0.1 * i))
        time.sleep(0.3)
        took["writing"].append(change(1.05 + 0.1 * i))
        ui.stop.click()
        ui.wait()
    ui.close()
    ids = torch.tensor([encode_all(model, [messages(REQUESTS[1])])[0].ids])

    def plain() -> str:
        with wb.steer(model, lock, 2.0, how="hook"), torch.inference_mode():
            return model.tokenizer.decode(model.hf(ids).logits[0, -1].argmax())

    plain()
    times = []
    for _ in range(changes):
        started = time.perf_counter()
        plain()
        times.append(1000 * (time.perf_counter() - started))
    out = {f"small_alpha_to_token_{name}_ms": statistics.median(ms) for name, ms in took.items()}
    worst = max(max(took["rest"][1:]), max(took["writing"]))
    return out | {
        "small_alpha_to_token_first_ms": took["rest"][0],
        "small_alpha_to_token_worst_ms": worst,
        "small_hooked_forward_ms": statistics.median(times),
    }


@torch.inference_mode()
def small() -> dict[str, float]:
    """Loads in CPU seconds; decode and capture as ratios (theirs over ours), results compared."""
    try:
        place_of("smollm2")
    except ModelError as error:
        print(f"\nsmollm2 left out: {error}")
        return {}
    model = wb.load("smollm2", dtype="float32")
    hf, tokenizer = model.hf, model.tokenizer
    chats = [[{"role": "user", "content": text}] for text in REQUESTS]
    rows = [row.ids for row in encode_all(model, chats)]
    inputs = tokenizer.pad({"input_ids": rows}, return_tensors="pt").to(hf.device)
    width = inputs["input_ids"].shape[1]

    def generate() -> list[list[str]]:
        out = hf.generate(**inputs, max_new_tokens=NEW, do_sample=False)
        texts = tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)
        return [[text] for text in texts]

    def ours() -> list[list[str]]:
        return wb.generate(model, chats, max_new_tokens=NEW)

    def hidden() -> torch.Tensor:
        states = []
        for ids in rows:
            out = hf(torch.tensor([ids], device=hf.device), output_hidden_states=True)
            states.append(torch.stack([h[0, -1] for h in out.hidden_states[1:]]))
        return torch.stack(states)

    def captured() -> torch.Tensor:
        return wb.capture(model, chats, site="resid", positions=wb.last(1)).values[:, 0]

    if (same := sum(a == b for a, b in zip(ours(), generate(), strict=True))) < len(chats) - 1:
        raise SystemExit(f"smollm2: {same} of {len(chats)} replies are those of generate")
    # The last of the hidden states is after the norm.
    timing.require_close("capture", captured()[:, :-1], hidden()[:, :-1])
    decode = timing.interleaved({"ours": ours, "generate": generate}, ROUNDS)
    capture = timing.interleaved({"ours": captured, "hidden": hidden}, ROUNDS)
    with torch.inference_mode(False):
        latency = alpha_to_token(model)
    return (
        loads()
        | latency
        | {
            "small_decode_vs_generate": timing.ratio(decode, "generate", "ours"),
            "small_capture_vs_hidden_states": timing.ratio(capture, "hidden", "ours"),
        }
    )
