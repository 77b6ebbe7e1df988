"""`workbench list | run | lab | data | samples | doctor`."""

import argparse
import contextlib
import importlib.util
import io
import logging
import os
import shlex
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from workbench.errors import WorkbenchError


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status.

    0 done, 1 failed, 2 unusable input; ended by a signal 128 + its number, as shells count: 130 by
    Ctrl-C.
    """
    from workbench.runs.signals import Stopped, stopped_by_signals

    parser = _parser()
    args = parser.parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that cannot show all of UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        with stopped_by_signals():
            return args.action(args)
    except WorkbenchError as error:
        print(f"workbench: {error}", file=sys.stderr)
        return 2 if not isinstance(error.__cause__, Exception) else 1
    except Stopped as stopped:
        with contextlib.suppress(OSError):  # the terminal may be gone
            print(f"workbench: interrupted ({stopped})", file=sys.stderr)
        return stopped.status
    except BrokenPipeError:  # whoever read the output has enough: `workbench list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="workbench", description=__doc__)
    from workbench.papers.registry import PAPERS

    verbs = parser.add_subparsers(required=True, metavar="VERB")

    verb = verbs.add_parser("list", help="the papers and their parameters")
    verb.set_defaults(action=_list)

    verb = verbs.add_parser("run", help="reproduce a paper: run its notebook, print its table")
    verb.add_argument("paper")
    verb.add_argument("-p", action="append", default=[], metavar="NAME=VALUE", dest="parameters")
    verb.add_argument(
        "--preset",
        default="tiny",
        help="tiny (embedded, default), small (SmolLM2 on a CPU) or paper",
    )
    verb.add_argument("--out", help="folder for the run (default: a new one under runs/)")
    verb.set_defaults(action=_run)

    verb = verbs.add_parser("lab", help="open the notebooks in JupyterLab")
    verb.add_argument("arguments", nargs=argparse.REMAINDER, help="passed on to jupyter lab")
    verb.set_defaults(action=_lab)

    verb = verbs.add_parser("data", help="rebuild an embedded model and its samples")
    verb.add_argument("what", choices=["rebuild"])
    verb.add_argument("name", choices=[p.models[0] for p in PAPERS if p.models])
    verb.add_argument("--out", help="folder to write to (default: the shipped data folder)")
    verb.add_argument("--seed", type=int, default=0)
    verb.set_defaults(action=_data)

    verb = verbs.add_parser("samples", help="what a store of samples holds; repair, export, import")
    verb.add_argument("file", help="the store, e.g. runs/…/samples.sqlite")
    verb.add_argument("--repair", action="store_true", help="drop damaged samples")
    verb.add_argument("--import", dest="import_from", metavar="JSONL")
    verb.add_argument("--export", dest="export_to", metavar="JSONL")
    verb.set_defaults(action=_samples)

    verb = verbs.add_parser("doctor", help="versions, device, what is reachable, what will work")
    verb.set_defaults(action=_doctor)
    return parser


def _list(_: argparse.Namespace) -> int:
    from workbench.errors import RunError
    from workbench.papers.registry import PAPERS, problems_of
    from workbench.runs.parameters import declared

    unread: list[str] = []

    for paper in dict.fromkeys(PAPERS):
        if problems_of([paper]):
            continue
        print(f"{paper.name}: {paper.module.TITLE}\n  {paper.module.CLAIM}")
        try:
            parameters = declared(paper.notebook)
        except RunError as error:
            unread.append(str(error))
            continue
        for key, info in parameters.items():
            if key not in ("preset", "out_dir"):  # --preset and --out
                kind = info["inferred_type_name"]
                print(f"    -p {key}={info['default']}  {kind}: {info['help']}")
    problems = [*problems_of(PAPERS), *unread]
    for problem in problems:
        print(f"workbench: {problem}", file=sys.stderr)
    return 2 if problems else 0


def _run(args: argparse.Namespace) -> int:
    from workbench.errors import RunError
    from workbench.runs.execute import default_folder, run
    from workbench.runs.record import read_results

    given = {}
    for item in args.parameters:
        name, equals, value = item.partition("=")
        if not equals:
            raise RunError(f"-p {item}: write it as NAME=VALUE")
        if name in given:
            raise RunError(f"-p {name} is given twice")
        given[name] = value
    out = default_folder(args.paper) if args.out is None else args.out
    try:
        folder = run(args.paper, given, preset=args.preset, out=out)
    except KeyboardInterrupt:
        words = ["run", args.paper, *(w for p in args.parameters for w in ("-p", p))]
        again = shlex.join(["workbench", *words, "--preset", args.preset, "--out", str(out)])
        with contextlib.suppress(OSError):  # the terminal may be gone
            print(f"\nWhat was finished is kept. Run again with: {again}", file=sys.stderr)
        raise
    print(_table(read_results(folder)))
    print(f"\n{folder / 'report.html'}\n{folder / 'results.json'}")
    return 0


def _table(results: dict) -> str:
    p = results["provenance"]
    run = f"{p['device']}, {p['seconds']:.0f} s, seed {p['seed']}"
    lines = [f"{results['paper']} · preset {results['preset']} · {run}", ""]
    lines.append(f"{'metric':<28}{'value':>9}  {'95 % CI':<18}{'n':>6}  published")
    for m in results["metrics"]:
        published = "–"
        if m["published"] is not None:
            published = f"{m['published']:g} ({m['published_setting']})"
        bounds = ", ".join(_number(bound, 3) for bound in m["ci95"] or ())
        interval = f"[{bounds}]" if bounds else "–"
        value = _number(m["value"], 4)
        lines.append(f"{m['name']:<28}{value:>9}  {interval:<18}{m['n']:>6}  {published}")
    return "\n".join(lines)


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if abs(value) < 1e5 else f"{value:.3g}"


def _lab(args: argparse.Namespace) -> int:
    from workbench.paths import notebook_folder

    command = [sys.executable, "-m", "jupyterlab", str(notebook_folder()), *args.arguments]
    os.execv(command[0], command)  # signals are JupyterLab's own


def _data(args: argparse.Namespace) -> int:
    from workbench.arguments import seed_number
    from workbench.papers.parameters import MOST_SEED
    from workbench.papers.registry import PAPERS
    from workbench.paths import as_written

    logging.getLogger("workbench").setLevel(logging.INFO)
    seed_number(args.seed, MOST_SEED, WorkbenchError)
    out = None if args.out is None else as_written(args.out)
    rebuild = next(p for p in PAPERS if args.name in p.models).rebuilder()
    print(rebuild(out, seed=args.seed))
    return 0


def _samples(args: argparse.Namespace) -> int:
    from workbench.generation.sample_store import SampleStore

    if not Path(args.file).is_file():
        raise WorkbenchError(f"{args.file} is no file")
    with SampleStore(args.file) as store:
        if args.repair:
            print(f"{store.repair()} damaged samples dropped")
        if args.import_from is not None:
            print(f"{store.import_jsonl(args.import_from)} samples added")
        if args.export_to is not None:
            print(f"{store.export_jsonl(args.export_to)} samples exported")
        print(f"{len(store)} samples, {store.written} ever written")
        for stage, (count, tokens) in store.stages().items():
            print(f"  {stage or '-':<16}{count:>9} samples{tokens:>12} tokens")
    return 0


def _doctor(_: argparse.Namespace) -> int:
    from workbench.hub import SMALL, place_of
    from workbench.papers.parameters import require_small_memory
    from workbench.paths import data_folder, notebook_folder, require_cache
    from workbench.runs.record import LIBRARIES

    good = True
    print(f"python {sys.version.split()[0]}")
    for name in LIBRARIES:
        try:
            print(f"{name} {version(name)}")
        except PackageNotFoundError:
            good = False
            print(f"{name} MISSING: python -m pip install -c constraints.txt -e .")
    with contextlib.suppress(PackageNotFoundError):
        print(
            f"workbench {version('workbench')} IS ANOTHER PROJECT'S, of the same import name; the "
            "one installed last wins. Remove it (pip uninstall workbench), then install again"
        )
    if importlib.util.find_spec("torch"):
        import torch

        if torch.cuda.is_available():
            free, total = torch.cuda.mem_get_info()
            name = torch.cuda.get_device_name()
            print(f"device: {name}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free")
        else:
            print(f"device: cpu, {torch.get_num_threads()} threads; no GPU: preset=paper is slow")
    for label, folder in (("embedded data", data_folder()), ("notebooks", notebook_folder())):
        there = folder.is_dir() and any(folder.iterdir())
        good &= there
        print(f"{label}: {folder if there else f'MISSING at {folder}'}")
    print(f"disk here: {shutil.disk_usage('.').free / 2**30:.0f} GiB free")
    print(f"hub: {_hub()}")
    real = good
    for name in SMALL:
        try:
            print(f"{name}: {place_of(name)[1]}")
        except WorkbenchError as error:
            real &= name != "smollm2"
            print(f"{name}: NOT HERE: {error}")
    try:
        print(f"cache: {require_cache()}")
        require_small_memory()
    except WorkbenchError as error:
        real = False
        print(f"NOT ENOUGH: {error}")
    print("preset=tiny will work" if good else "preset=tiny will NOT work; see MISSING above")
    print("preset=small will work" if real else "preset=small will NOT work; see above")
    return 0 if good else 1


def _hub() -> str:
    from huggingface_hub import constants, get_token

    from workbench.hub import reachable

    if constants.is_offline_mode():
        return "offline by HF_HUB_OFFLINE; preset=paper needs local folders"
    if not reachable():
        return "not reachable; preset=paper needs local folders"
    return "reachable" + ("" if get_token() else ", not logged in: gated models need HF_TOKEN")


if __name__ == "__main__":
    sys.exit(main())
