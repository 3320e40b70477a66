from __future__ import annotations

from pathlib import Path

import pytest
from end_to_end import Machine


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(tmp_path_factory.mktemp("machine"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the Hub of a test serves."""
    return tmp_path_factory.mktemp("served")
