"""The client protocol of sigstore-conformance, on material of the local Sigstore, and the specification's vectors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.conformance import table
from tests.conformance.cases import make_cases

CLIENT = Path(__file__).with_name("client.py")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str, str]]:
    return table.results(tmp_path_factory.mktemp("cases"))


def test_every_case_comes_out_as_it_must(rows: list[tuple[str, str, str]]) -> None:
    assert [row for row in rows if row[1] != row[2]] == []
    assert len(rows) == len({name for name, _, _ in rows})
    assert sum(must == "accepted" for _, must, _ in rows) >= 10  # what fails for the wrong reason proves nothing
    assert len(rows) > 70


def test_the_table_in_the_docs_is_what_comes_out(rows: list[tuple[str, str, str]]) -> None:
    text = table.PAGE.read_text("utf-8")
    assert table.page(text, rows) == text, "python -m tests.conformance.table brings it up to date"


def test_the_client_is_a_program_with_an_exit_code(tmp_path: Path) -> None:
    cases = {case.name: case for case in make_cases(tmp_path)}
    for name, code in (("rekor1", 0), ("managed-key-rekor1", 0), ("rekor1-invalid-signature_fail", 1)):
        case = cases[name]
        ran = subprocess.run([sys.executable, CLIENT, *case.arguments, case.artifact], check=False, capture_output=True)
        assert ran.returncode == code, ran.stderr
        assert b"Traceback" not in ran.stderr
    ran = subprocess.run([sys.executable, CLIENT, "verify-bundle"], check=False, capture_output=True)
    assert ran.returncode == 2
