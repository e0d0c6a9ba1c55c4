"""The microcontroller's file as C: it compiles, and what it holds is the file and its contract."""

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from convert.build import build_graph
from convert.c_array import c_header, c_source
from convert.checkpoint import Checkpoint
from convert.pipeline import contract_of, encode
from convert.targets import MICRO
from firmware_host.contract import Contract
from firmware_host.normalisation import Normalisation

DIALECTS = {
    "C99": ("cc", "-std=c99"),
    "C11": ("cc", "-std=c11", "-pedantic"),
    "C++11": ("c++", "-x", "c++", "-std=c++11", "-pedantic"),
}
ODD_LABELS = ("neutral", "glücklich", 'sad "??/', "back\\slash", "fearful", "disgust", "surprised")
PROGRAM = r"""
#include <stdio.h>
#include "model.h"
int main(void) {
    size_t i;
    fwrite(edge_ser_model, 1, edge_ser_model_length, stdout);
    fprintf(stderr, "%d %d %d %d %d %d %d %d\n", EDGE_SER_SAMPLE_RATE, EDGE_SER_FRAME_LENGTH,
            EDGE_SER_HOP_LENGTH, EDGE_SER_WINDOW_FRAMES, EDGE_SER_N_FEATURES, EDGE_SER_N_MELS,
            EDGE_SER_N_MFCC, EDGE_SER_CONTRACT_VERSION);
    fprintf(stderr, "%.9g %.9g %.9g %.9g %.9g\n", EDGE_SER_FMIN, EDGE_SER_FMAX,
            EDGE_SER_LOG_FLOOR, EDGE_SER_TOP_DB, EDGE_SER_STD_FLOOR);
    fprintf(stderr, "%.9g %d %.9g %d\n", EDGE_SER_INPUT_SCALE, EDGE_SER_INPUT_ZERO_POINT,
            EDGE_SER_OUTPUT_SCALE, EDGE_SER_OUTPUT_ZERO_POINT);
    fprintf(stderr, "%d\n", (int)((size_t)edge_ser_model % 16));
    for (i = 0; i < EDGE_SER_N_LABELS; i++) fprintf(stderr, "%s\n", edge_ser_labels[i]);
    for (i = 0; i < EDGE_SER_N_FEATURES; i++)
        fprintf(stderr, "%.9g %.9g %d\n", edge_ser_mean[i], edge_ser_std[i],
                edge_ser_by_window[i]);
    return 0;
}
"""


@pytest.fixture(scope="module")
def contract_and_file(checkpoint: Checkpoint) -> tuple[Contract, bytes]:
    trained = replace(
        checkpoint,
        labels=ODD_LABELS,
        normalisation=Normalisation.of(
            checkpoint.features,
            mean=tuple(0.1 * i - 3 for i in range(64)),
            std=tuple(1 + i / 7 for i in range(64)),
        ),
    )
    graph = build_graph(trained, quantised=True, target=MICRO)
    contract = contract_of(trained, graph)
    return contract, encode(graph, contract, "tflite")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_program_that_includes_it_has_the_file_and_the_contract(
    dialect: str,
    checkpoint: Checkpoint,
    contract_and_file: tuple[Contract, bytes],
    tmp_path: Path,
    need: Callable[[str], None],
) -> None:
    compiler, *options = DIALECTS[dialect]
    if shutil.which(compiler) is None:
        need(f"there is no {compiler}")
    contract, data = contract_and_file
    graph = build_graph(checkpoint, quantised=True, target=MICRO)
    (tmp_path / "model.h").write_text(c_header(graph, contract, data))
    (tmp_path / "model.c").write_text(c_source("model.h", contract, data))
    (tmp_path / "main.c").write_text(PROGRAM)
    command = [compiler, *options, "-Wall", "-Wextra", "-Werror", "main.c", "model.c", "-o", "main"]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    ran = subprocess.run([tmp_path / "main"], capture_output=True, check=True)
    assert hashlib.sha256(ran.stdout).digest() == hashlib.sha256(data).digest()
    lines = ran.stderr.decode().splitlines()
    features, source, logits = contract.features, graph.inputs[0].grid, graph.output_grid
    assert source and logits
    assert lines[0] == "16000 400 160 320 64 40 22 2"
    floors = [features.log_floor, features.top_db, contract.normalisation.std_floor]
    assert [float(x) for x in lines[1].split()] == pytest.approx(
        [features.fmin, features.fmax, *floors]
    )
    grids = [source.scale, source.zero_point, logits.scale, logits.zero_point]
    assert [float(x) for x in lines[2].split()] == pytest.approx(grids, rel=1e-8)
    assert lines[3] == "0"  # aligned
    assert tuple(lines[4:11]) == ODD_LABELS
    how = contract.normalisation
    given = np.array([line.split() for line in lines[11:]], np.float64)
    np.testing.assert_allclose(given.T, [how.mean, how.std, how.by_window], rtol=1e-7)
