"""A fixture for pytest: tests that load a model load what was verified.

It is there for a test suite that asks for it, with ``pytest_plugins = ["aiverify.testing"]`` in its topmost
``conftest.py`` or with ``-p aiverify.testing``. A model that does not pass fails the test: it is never skipped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import pytest

from aiverify.api import ensure
from aiverify.errors import AiverifyError


class VerifiedModel(Protocol):
    """What the fixture gives."""

    def __call__(self, target: str | Path, **options: Any) -> Path:
        """The sealed copy of ``target``, to be loaded instead of it. The options are those of ``aiverify.ensure``."""


@pytest.fixture(scope="session")
def verified_model() -> VerifiedModel:
    """``verified_model("org/name", revision=…)`` is the folder to load. Anything but a pass fails the test."""

    def verified(target: str | Path, **options: Any) -> Path:
        __tracebackhide__ = True
        try:
            return ensure(target, **options)
        except AiverifyError as error:
            complaint = error.diagnostics()
        pytest.fail(complaint, pytrace=False)

    return verified
