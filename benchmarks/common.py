"""What the benchmarks share: where data is, how a command is run and shown."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def data(name: str) -> Path:
    """A file of a data set under ``$ELMAN_DATA``."""
    path = Path(os.environ.get("ELMAN_DATA", ROOT.parent / "shared" / "data")) / name
    if not path.exists():
        sys.exit(f"{path}: not found; set ELMAN_DATA to the folder that holds {Path(name).parts[0]}/")
    return path


def elman(*arguments: str | Path) -> dict[str, Any]:
    """Run ``elman ... --json`` as a user would, its progress on stderr; the JSON it printed."""
    words = [str(argument) for argument in arguments]
    print(f"$ elman {' '.join(words)}", flush=True)
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", "from elman.cli.main import main; main()", *words, "--json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        sys.exit(done.returncode)
    result: dict[str, Any] = json.loads(done.stdout)
    print(f"  {time.perf_counter() - begin:.0f} s", flush=True)
    return result
