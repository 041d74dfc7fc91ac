"""Tailor's training beside its peers, in one run on one machine.

    make bench-training ARGUMENTS="--shape 135m --rows 40 --rounds 3"

Same base model (random weights), same tokens, same LoRA settings, same number of examples per
update. Each contender is a process of its own; the rounds interleave them, so that whatever else
the machine does meets all; medians count. Tokens are real ones, without filling, and seconds those
of training alone. Tokens per second of processor time say the same where the machine is shared.
MFU counts 4 N operations per token (a frozen base: forwards 2 N, backwards 2 N) against the fastest
products of a matrix of 1024 by 1024 in the same round, both per second of the clock. Those are bf16
where the processor multiplies it and float32 elsewhere, and peers as an expert sets them use the
same format.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
HERE_PYTHON = Path(sys.executable)
TRL_PYTHON = REPOSITORY / ".venv-bench" / "trl" / "bin" / "python"
FACTORY_PYTHON = REPOSITORY / ".venv-bench" / "llama-factory" / "bin" / "python"
CONTENDERS = {
    "trl": (TRL_PYTHON, "peers.py", "TRL, its defaults"),
    "trl_grouped": (TRL_PYTHON, "peers.py", "TRL, fastest format, length grouping"),
    "trl_packed": (TRL_PYTHON, "peers.py", "TRL, fastest format, packing"),
    "trainer": (HERE_PYTHON, "peers.py", "Trainer and peft, defaults"),
    "trainer_tuned": (HERE_PYTHON, "peers.py", "Trainer and peft, fastest format, length grouping"),
    "llama_factory": (FACTORY_PYTHON, "llama_factory.py", "LLaMA-Factory, its defaults"),
    "llama_factory_tuned": (
        *(FACTORY_PYTHON, "llama_factory.py"),
        "LLaMA-Factory, fastest format, length grouping, nothing calculated twice",
    ),
    "tailor": (HERE_PYTHON, "ours.py", "Tailor"),
}
Result = dict[str, float]


def main() -> None:
    sys.path[0] = str(HERE)
    from prepare import SHAPES, prepare

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=[*SHAPES], default="30m")
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", nargs="+", choices=[*CONTENDERS], default=[*CONTENDERS])
    parser.add_argument("--data", type=Path, default=Path("/work/shared/data/alpaca_en_demo.json"))
    arguments = parser.parse_args()
    results: dict[str, list[Result]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        parameters = prepare(Path(name), arguments.shape, arguments.rows, arguments.data)
        for _ in range(arguments.rounds):
            peak = _process(Path(sys.executable), "peak.py", threads=arguments.threads)
            fastest, most = max(
                ((name, float(found["gigaflops"])) for name, found in peak.items()),
                key=lambda item: item[1],
            )
            for kind in arguments.only:
                result = _measure(kind, Path(name), fastest, arguments.threads)
                if result is None:
                    print(f"{kind} was ended by the system: too little memory", file=sys.stderr)
                    continue
                per_second = result["tokens"] / result["seconds"]
                result["mfu"] = 4 * parameters * per_second / (most * 1e9)
                results[kind].append(result)
                line = {"contender": kind, "shape": arguments.shape, **result, "peak": peak}
                print(json.dumps(line), file=sys.stderr, flush=True)
    print(f"\n{arguments.shape}: {parameters / 1e6:.0f} M parameters, {arguments.rows} examples\n")
    show({kind: _medians(found) for kind, found in results.items()})


def _measure(kind: str, folder: Path, fastest: str, threads: int) -> Result | None:
    python, program, _ = CONTENDERS[kind]
    try:
        return _process(python, program, str(folder), kind, fastest, threads=threads)
    except MemoryError:
        return None


def _process(python: Path, program: str, *arguments: str, threads: int) -> Any:  # noqa: ANN401 (JSON)
    output = subprocess.run(
        [str(python), str(HERE / program), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "HF_HUB_OFFLINE": "1",
            "TQDM_DISABLE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        },
    )
    if output.returncode == -signal.SIGKILL:
        raise MemoryError(f"{program} was ended by the system")
    if output.returncode != 0:
        raise SystemExit(output.stderr[-3000:])
    return json.loads(output.stdout.splitlines()[-1])


def _medians(found: list[Result]) -> Result:
    medians = {name: statistics.median(entry[name] for entry in found) for name in found[0]}
    medians["speed"] = statistics.median(e["tokens"] / e["seconds"] for e in found)
    medians["per_processor"] = statistics.median(
        e["tokens"] / e["processor_seconds"] for e in found
    )
    return medians


def show(results: dict[str, Result]) -> None:
    """Print a table for docs/benchmarks.md."""
    print("| | tokens/s | Tailor is × as fast | the same per CPU second | MFU | loss | peak MB |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    ours = results.get("tailor")
    for kind, result in results.items():
        measures = ("speed", "per_processor")
        times = [f"{ours[name] / result[name]:.2f}" if ours else "" for name in measures]
        print(
            f"| {CONTENDERS[kind][2]} | {result['speed']:.0f} | {' | '.join(times)} "
            f"| {result['mfu']:.0%} | {result['loss']:.3f} "
            f"| {result['peak_megabytes']:.0f} |"
        )


if __name__ == "__main__":
    main()
