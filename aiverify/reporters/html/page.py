"""The page around the reports: one file that needs nothing else, and may do nothing else.

Its Content-Security-Policy forbids everything but the style and the script that stand in it, which it names by their
digests. So even markup that got into the page against all rules could load nothing, send nothing and run nothing.

Source: Content Security Policy Level 3, W3C (hash sources, delivery by a ``meta`` element).
"""

from __future__ import annotations

import base64
import functools
import hashlib
import string
from importlib import resources

from aiverify.reporters.html.elements import Markup, joined


def page(title: str, body: Markup) -> str:
    """The document."""
    style, script = _part("style.css"), _part("script.js")
    return string.Template(_part("page.html")).substitute(
        policy=_policy(style, script), title=joined([title]).html, style=style, script=script, body=body.html
    )


def _policy(style: str, script: str) -> str:
    # A page can be embedded and navigated whatever its meta element says; those directives count in headers only.
    return "; ".join(
        (
            "default-src 'none'",
            f"style-src '{_digest(style)}'",
            f"script-src '{_digest(script)}'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@functools.cache
def _part(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")
