"""`python -m tests.benchmarks [--json FILE] [--figure FILE]`: the workbench beside its peers.

Everything runs in one process tree on the same models and prompts; results are checked for
agreement; ratios are medians over interleaved rounds. Peak memory is that of a fresh process per
method. Peers that cannot be used are named with the reason. On a CPU everything is timed in CPU
seconds of one thread; what wants a GPU is in `tests.gpu`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")
# Children and libraries other than torch; the threads of torch itself are set in main().
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import torch

from tests.benchmarks import (
    evidence,
    fit,
    generation,
    graphhop,
    pas,
    peers,
    retrieval,
    small,
    steering,
    timing,
)
from tests.benchmarks.capture import capture, official_pairs


def peak(call: str, before: str = "pass") -> tuple[float, float]:
    """(peak, resident before) MB of a fresh process that runs `before`, then `call`."""
    code = (
        "from pathlib import Path\nfrom tests.benchmarks import fit, peers, steering, timing\n"
        "status = lambda key: next(int(line.split()[1]) / 1024 for line in\n"
        "    Path('/proc/self/status').read_text().splitlines() if line.startswith(key))\n"
        f"peers.quiet()\n{before}\nheld = status('VmRSS')\n"
        # Writing 5 sets the high-water mark back to what is resident now.
        f"Path('/proc/self/clear_refs').write_text('5')\n{call}\nprint(status('VmHWM'), held)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2], env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    high, held = map(float, done.stdout.split()[-2:])
    return high, held


def memory(left_out: dict[str, str]) -> dict[str, float]:
    """Peak MB above what a process with the model ready holds, by method, at 100 M parameters."""
    makers = {
        "workbench": peers.workbench_resid,
        "official, 1": peers.official_heads,
        **peers.PEERS,
    }
    out = {}
    for peer, maker in makers.items():
        if peer not in left_out:
            given = "timing.make('100m'), timing.tokenizer(), timing.prompts(32)"
            high, held = peak("call()", f"call = peers.{maker.__name__}({given})")
            out[peer] = high - held
    print("\npeak memory above the model, 100m, MB (a fresh process each)")
    for peer, value in out.items():
        print(f"  {peer:<34}{value:>15.0f}")
    return out


def stream(cap_mb: int = 1024) -> dict[str, float]:
    """Capture twice the cap to disk; the process must stay inside it."""
    with tempfile.TemporaryDirectory() as folder:
        # 512 bytes per layer and token, 4 layers: 1.05 M tokens make 2 GB.
        call = f"fit.stream({folder!r}, {2 * cap_mb})"
        used, _ = peak(call)
        written = sum(p.stat().st_size for p in Path(folder).rglob("shard-*")) / 2**20
    print(f"\nstream: {written:.0f} MB of activations, peak resident {used:.0f} MB")
    return {"stream_mb": written, "stream_peak_mb": used, "stream_peak_over_cap": used / cap_mb}


def imports() -> float:
    """CPU seconds of `import workbench` over those of `import torch`, medians of five."""

    def cost(module: str) -> float:
        code = f"import time; s=time.process_time(); import {module}; print(time.process_time()-s)"
        runs = [
            subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            for _ in range(5)
        ]
        return statistics.median(float(r.stdout) for r in runs)

    return cost("workbench") / cost("torch")


def in_children(left_out: dict[str, str]) -> dict[str, float]:
    """What fresh processes are asked: peak memory by method (CPU), streaming, importing."""
    used = memory(left_out) if timing.device().type == "cpu" else {}
    return {f"memory_mb {peer}": value for peer, value in used.items()} | stream() | {
        "import_vs_torch": imports()
    }  # fmt: skip


def figure(tables: dict[str, dict[str, float]], path: str) -> None:
    """Bars of time over ours, one panel per model."""
    from plotly.subplots import make_subplots

    fig = make_subplots(1, len(tables), subplot_titles=list(tables), horizontal_spacing=0.25)
    for i, ratios in enumerate(tables.values(), 1):
        items = sorted(ratios.items(), key=lambda item: -item[1])
        fig.add_bar(
            x=[v for _, v in items], y=[k for k, _ in items], orientation="h", row=1, col=i,
            text=[f"{v:.2f}" for _, v in items], showlegend=False, marker_color="#0072B2",
        )  # fmt: skip
        fig.add_vline(1, line_dash="dot", row=1, col=i)
        fig.update_xaxes(title="time over workbench (1 = as fast)", row=1, col=i)
    fig.update_layout(title="Last-token activations of every layer", height=460, width=1100)
    fig.write_html(path, include_plotlyjs="cdn")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="write {name: number} here")
    parser.add_argument("--figure", help="write one Plotly figure here (HTML)")
    args = parser.parse_args()
    peers.quiet()
    if timing.device().type == "cpu":
        torch.set_num_threads(1)
    out: dict[str, float] = {}
    tables, left_out = {}, {}
    for name in ("tiny", "100m"):
        tables[name], missing = capture(name)
        left_out |= missing
        best = min(v for k, v in tables[name].items() if k in peers.PEERS)
        suffix = "" if name == "100m" else f"_{name}"
        out[f"capture_vs_bare{suffix}"] = tables[name]["bare forward"]
        out[f"capture_vs_best_peer{suffix}"] = best
        out[f"capture_vs_official{suffix}"] = official_pairs(name)
        out[f"capture_vs_official_mixed_lengths{suffix}"] = tables[name]["official, 1"]
    for peer, why in left_out.items():
        print(f"  left out: {peer}: {why}")
    # Memory and imports are measured in processes of their own, beside what is timed here.
    with ThreadPoolExecutor(1) as beside:
        children = beside.submit(in_children, left_out)
        for measured in (
            fit.probes,
            steering.decode,
            steering.lock,
            generation.engine,
            pas.study,
            small.small,
            retrieval.retrieval,
            evidence.evidence,
        ):
            out |= measured()
        out["shortcut_ratio"] = statistics.median(graphhop.shortcut()["shortcut_ratio"])
        out |= children.result()
    print()
    for name, value in out.items():
        print(f"{name:<44} {value:>10.4f}")
    if args.json:
        Path(args.json).write_text(json.dumps(out, indent=1), encoding="utf-8")
    if args.figure:
        figure(tables, args.figure)


if __name__ == "__main__":
    main()
