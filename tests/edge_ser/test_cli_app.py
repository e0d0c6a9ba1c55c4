"""How a command ends when something is missing: one sentence that says what brings it."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "command", "extra"),
    [
        ("torch", ["train", "--corpus", "RAVDESS"], "edge-ser[train]"),
        ("safetensors", ["convert"], "edge-ser[convert]"),
    ],
)
def test_a_missing_extra_is_named_with_the_command(
    module: str, command: list[str], extra: str
) -> None:
    without = f"import sys; sys.modules[{module!r}] = None; sys.argv[1:] = {command!r}; "
    done = subprocess.run(
        [sys.executable, "-c", without + "from edge_ser.cli import main; main()"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert extra in done.stderr and len(done.stderr.strip().splitlines()) == 1
