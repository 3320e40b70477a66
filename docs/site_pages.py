"""A MkDocs hook: the site's pages are the Markdown files below the folder of ``mkdocs.yml``."""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

OTHERS = ("policy.schema.json", "report.schema.json", "report-example.html", "report-example.json")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, and the files that they link to, to what lies in ``docs_dir``."""
    docs = Path(__file__).parent
    site = Path(config.site_dir)
    pages = (page for page in sorted(docs.rglob("*.md")) if not page.is_relative_to(site))
    # Pages name pictures as they lie in the checkout: below docs_dir, whose name is no part of the site's addresses.
    pictures = sorted(Path(config.docs_dir).glob("*.svg"))
    for path in (*pages, *pictures, *(docs / name for name in OTHERS)):
        files.append(File.generated(config, path.relative_to(docs).as_posix(), abs_src_path=str(path)))
    return files
