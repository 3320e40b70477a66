"""A MkDocs hook: the site's pages are the Markdown files below the folder of ``mkdocs.yml``."""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and the schema of the report to what lies in ``docs_dir``."""
    docs = Path(__file__).parent
    site = Path(config.site_dir)
    pages = (page for page in sorted(docs.rglob("*.md")) if not page.is_relative_to(site))
    for path in (*pages, docs / "report.schema.json"):
        files.append(File.generated(config, path.relative_to(docs).as_posix(), abs_src_path=str(path)))
    return files
