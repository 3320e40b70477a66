"""MkDocs hooks: the site's pages are the Markdown files below the folder of ``mkdocs.yml``; commands can be copied."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

OTHERS = ("*.schema.json", "report-example.*")
_CONSOLE = re.compile(r'(?<=<code class="language-console">).*?(?=</code>)', re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, and the files that they link to, to what lies in ``docs_dir``."""
    docs = Path(__file__).parent
    site = Path(config.site_dir)
    pages = (page for page in sorted(docs.rglob("*.md")) if not page.is_relative_to(site))
    # Pages name pictures as they lie in the checkout: below docs_dir, whose name is no part of the site's addresses.
    pictures = sorted(Path(config.docs_dir).glob("*.svg"))
    others = sorted(path for pattern in OTHERS for path in docs.glob(pattern))
    for path in (*pages, *pictures, *others):
        files.append(File.generated(config, path.relative_to(docs).as_posix(), abs_src_path=str(path)))
    return files


def on_page_content(html: str, **_: object) -> str:
    """Draw the prompts of commands (``static/style.css``): the button that copies a block takes its text alone."""
    return _CONSOLE.sub(
        lambda block: re.sub(r"^\$ ", '<span class="prompt"></span>', block[0], flags=re.MULTILINE), html
    )
