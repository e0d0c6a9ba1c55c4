"""How a command ends when something is missing: one sentence that says what brings it."""

import pytest
from without_module import edge_ser_without


@pytest.mark.parametrize(
    ("module", "command", "extra"),
    [
        ("torch", ["train", "--corpus", "RAVDESS"], "edge-ser[train]"),
        ("safetensors", ["convert"], "edge-ser[convert]"),
        ("torch", ["evaluate", "--corpus", "RAVDESS"], "edge-ser[train]"),
        (
            "distributed",
            ["evaluate", "--corpus", "RAVDESS", "--scheduler", "tcp://127.0.0.1:9"],
            "edge-ser[cluster]",
        ),
    ],
)
def test_a_missing_extra_is_named_with_the_command(
    module: str, command: list[str], extra: str
) -> None:
    done = edge_ser_without(module, *command)
    assert (done.returncode, done.stdout) == (2, "")
    assert extra in done.stderr and len(done.stderr.strip().splitlines()) == 1
