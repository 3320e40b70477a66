"""Draw what the program says in a terminal: pictures for the pages, from the sample repositories of the demo.

``python docs/pictures.py`` writes them; ``pictures()`` gives them as values, so that a test can tell when they are
stale. They are drawn by rich, and need nothing of the network.
"""

from __future__ import annotations

import inspect
import io
import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from aiverify.demo.stories import local_hub, stories
from aiverify.pipeline import run
from aiverify.progress import Silent
from aiverify.report import Report
from aiverify.reporters.human import HumanReporter

STATIC = Path(__file__).parent / "static"
WIDTH = 100
NAMES: Mapping[str, str] = {"demo/signed": "pass", "demo/payload": "block", "demo/checkpoint": "twin"}

# Rich's own form of a picture, without the fonts that it would fetch from another server.
_DEFAULT = inspect.signature(Console.export_svg).parameters["code_format"].default
FORM = re.sub(r"@font-face \{\{.*?\}\}\s*", "", _DEFAULT, flags=re.DOTALL)


def pictures() -> dict[str, str]:
    """Every picture: its name in the folder ``static`` and its SVG."""
    made: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as work, local_hub() as (hub, trust):
        for story in stories(hub, trust, Path(work)):
            if story.repo in NAMES:
                # A run takes as long as it takes; a picture must not change with it.
                report = replace(run(story.repo, story.options, Silent()), duration_s=0.8)
                made[f"{NAMES[story.repo]}.svg"] = picture(report)
    return made


def picture(report: Report) -> str:
    """The report on ``report`` as a terminal shows it."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="standard")
    console.print(Text.from_ansi(HumanReporter(width=WIDTH, colour=True).render([report])), soft_wrap=True)
    title = f"aiverify verify {report.target}"
    svg = console.export_svg(title=title, code_format=FORM, unique_id="aiverify")
    return re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE)


def words(svg: str) -> list[str]:
    """The text of a picture, without where and how it is drawn: that may change with the version of rich."""
    return re.findall(r"<text [^>]*>(.*?)</text>", svg)


def main() -> None:
    """Write what differs."""
    for name, svg in pictures().items():
        path = STATIC / name
        if not path.exists() or words(path.read_text("utf-8")) != words(svg):
            path.write_text(svg, "utf-8")


if __name__ == "__main__":
    main()
