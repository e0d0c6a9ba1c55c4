"""One fold of one corpus from audio to a table: train, convert, bench.

    python benchmarks/one_fold.py --data corpora --corpus RAVDESS --fold 1

Writes benchmarks/results/CORPUS-fold-N/ (bench.md, bench.json, bench.svg, bench.png). The
training's folder is runs/CORPUS-N-small; one that is there is gone on with, so that making
the table again after a training is quick.
"""

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def edge_ser(*arguments: object) -> str:
    """Run one command of edge-ser as a person would; return what it prints."""
    command = [sys.executable, "-m", "edge_ser", *map(str, arguments)]
    print("$ edge-ser", *arguments, flush=True)
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpora")
    parser.add_argument("--corpus", default="RAVDESS")
    parser.add_argument("--fold", type=int, default=1)
    given = parser.parse_args()
    name = f"{given.corpus.lower()}-{given.fold}-small"
    run = ROOT / "runs" / name
    data = ("--data", given.data)
    edge_ser("train", *data, "--corpus", given.corpus, "--fold", given.fold, "-o", run)
    edge_ser("convert", "--int8", run / f"{name}.safetensors", "-o", run / "models")
    out = ROOT / "benchmarks" / "results" / f"{given.corpus.lower()}-fold-{given.fold}"
    print(edge_ser("bench", *data, "--corpus", given.corpus, run / "models", "-o", out))


if __name__ == "__main__":
    main()
