"""The `edge-ser` program on a machine that lacks one of the modules that it may use."""

import subprocess
import sys


def edge_ser_without(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, in which the module cannot be imported."""
    without = f"import sys; sys.modules[{module!r}] = None; sys.argv[1:] = {list(arguments)!r}; "
    return subprocess.run(
        [sys.executable, "-c", without + "from edge_ser.cli import main; main()"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
