"""Write the Markdown report into a comment of the pull request: a new one, or the one that an earlier run made.

An earlier comment is one that a bot wrote and that begins with the mark of this workflow and job. A comment of a person
is never taken for it: its author could change the verdict in it later.
"""

from __future__ import annotations

import hashlib
import json
import os
import urllib.request
from pathlib import Path
from typing import Any

PATIENCE = 30.0  # seconds
PAGE = 100
MOST_PAGES = 50


def main() -> None:
    """Find the comment, and write it."""
    event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text("utf-8"))
    number = int(event["pull_request"]["number"])
    repository = f"{os.environ['GITHUB_API_URL']}/repos/{os.environ['GITHUB_REPOSITORY']}"
    place = f"{os.environ.get('GITHUB_WORKFLOW')}/{os.environ.get('GITHUB_JOB')}"
    mark = f"<!-- aiverify {hashlib.sha256(place.encode()).hexdigest()[:16]} -->"
    body = f"{mark}\n{Path(os.environ['MARKDOWN']).read_text('utf-8')}"

    comments = f"{repository}/issues/{number}/comments"
    earlier = _earlier(comments, mark)
    if earlier is None:
        _ask("POST", comments, {"body": body})
    else:
        _ask("PATCH", f"{repository}/issues/comments/{earlier}", {"body": body})


def _earlier(comments: str, mark: str) -> int | None:
    for page in range(1, MOST_PAGES + 1):
        found = _ask("GET", f"{comments}?per_page={PAGE}&page={page}")
        for comment in found:
            if (comment.get("user") or {}).get("type") == "Bot" and str(comment.get("body")).startswith(mark):
                return int(comment["id"])
        if len(found) < PAGE:
            break
    return None


def _ask(method: str, address: str, content: dict[str, str] | None = None) -> Any:
    request = urllib.request.Request(  # noqa: S310 - the address is the runner's own
        address,
        method=method,
        data=None if content is None else json.dumps(content).encode(),
        headers={
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {os.environ['TOKEN']}",
            "Content-Type": "application/json",
            "X-GitHub-Api-Version": "2022-11-28",
        },
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
        return json.load(answer)


if __name__ == "__main__":
    main()
