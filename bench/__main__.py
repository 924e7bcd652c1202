"""The command line of the bench."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import machine
from bench.errors import BenchError
from bench.figures import FIGURES, title_of
from bench.report import table
from bench.run import Run


def main() -> int:
    """Measure what was asked for."""
    asked = _arguments()
    _forget_settings()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="twofold-bench-", dir=asked.data_dir) as folder:
        Path(folder).chmod(0o711)  # PostgreSQL runs as somebody else where this is root
        run = Run(folder=Path(folder), rounds=asked.rounds, seconds=asked.seconds, full=asked.full)
        try:
            _measure(run, asked.figures or list(FIGURES), asked.json)
        except BenchError as error:
            sys.stderr.write(f"bench: {error}\n")
            return 1
    return 0


def _measure(run: Run, names: Sequence[str], json_file: Path | None) -> None:
    about = machine.describe(run.folder)
    told: dict[str, Any] = {"machine": about, "rounds": run.rounds, "seconds": run.seconds, "figures": {}}
    print("\n".join(f"{name}: {value}" for name, value in about.items()))
    print(f"rounds: {run.rounds}, of {run.seconds:g} s each\n")
    for name in names:
        run.say(name)
        lines = FIGURES[name](run)
        print(table(f"{name}: {title_of(FIGURES[name])}", lines), flush=True)
        told["figures"][name] = [line.as_json() for line in lines]
        if json_file is not None:
            json_file.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n")


def _arguments() -> argparse.Namespace:
    figures = "\n".join(f"  {name:<12} {title_of(measure)}" for name, measure in FIGURES.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure Twofold with real processes on this machine.",
        epilog=f"figures:\n{figures}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("figures", nargs="*", choices=[*FIGURES, []], metavar="FIGURE", help="all, if none")
    parser.add_argument("--rounds", type=int, default=5, help="how often each thing is measured (5)")
    parser.add_argument("--seconds", type=float, default=5, help="how long, each time (5)")
    parser.add_argument("--full", action="store_true", help="the whole amount of data; takes hours")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write everything that was measured there too"
    )
    parser.add_argument(
        "--data-dir", type=Path, metavar="FOLDER", help="where data is kept meanwhile; on a disk"
    )
    return parser.parse_args()


def _forget_settings() -> None:
    """No setting of a real installation may lead the bench to its data."""
    for name in [name for name in os.environ if name.startswith("TWOFOLD_")]:
        del os.environ[name]


if __name__ == "__main__":
    sys.exit(main())
