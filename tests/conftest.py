"""What all tests share: the corpora, and the rule that on CI nothing is skipped."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

REQUIRE_ALL = os.environ.get("EDGE_SER_REQUIRE_ALL") == "1"


def skip_or_fail(reason: str) -> None:
    """Skip a test for want of something; where everything is required, fail instead."""
    if REQUIRE_ALL:
        pytest.fail(f"EDGE_SER_REQUIRE_ALL=1, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def need() -> Callable[[str], None]:
    """`need("why")` skips the running test, or fails it where everything is required."""
    return skip_or_fail


@pytest.fixture(scope="session")
def corpora_dir() -> Path:
    """The folder that holds the corpora, one folder each (EDGE_SER_CORPORA)."""
    folder = os.environ.get("EDGE_SER_CORPORA")
    if not folder or not Path(folder).is_dir():
        skip_or_fail("EDGE_SER_CORPORA does not name a folder of corpora")
    assert folder is not None
    return Path(folder)
