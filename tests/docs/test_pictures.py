"""The pictures of the terminal show what the program says now, and need no other server."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest


@pytest.fixture(scope="module")
def pictures(root: Path) -> ModuleType:
    """The painter, which is a program and no part of the package."""
    spec = importlib.util.spec_from_file_location("docs_pictures", root / "docs" / "pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def drawn(pictures: ModuleType) -> dict[str, str]:
    return pictures.pictures()


@pytest.mark.parametrize("name", ["pass.svg", "twin.svg", "block.svg"])
def test_pictures_are_up_to_date(pictures: ModuleType, drawn: dict[str, str], docs: Path, name: str) -> None:
    kept = (docs / "static" / name).read_text("utf-8")

    assert pictures.words(kept) == pictures.words(drawn[name]), "run: python docs/pictures.py"


def test_every_picture_is_kept_and_every_kept_picture_is_drawn(drawn: dict[str, str], docs: Path) -> None:
    assert {path.name for path in (docs / "static").glob("*.svg")} == set(drawn)


def test_every_picture_is_shown_on_a_page(drawn: dict[str, str], pages: dict[str, str]) -> None:
    for name in drawn:
        assert any(f"static/{name})" in text for text in pages.values()), name


def test_a_picture_is_drawn_from_what_it_holds(drawn: dict[str, str]) -> None:
    for svg in drawn.values():
        elements = list(ElementTree.fromstring(svg).iter())
        assert not {element.tag.partition("}")[2] for element in elements} & {"script", "image", "foreignObject", "a"}
        assert not re.search(r"url\((?!#)|@import|font-face", svg)
        assert not any("href" in attribute for element in elements for attribute in element.attrib)
