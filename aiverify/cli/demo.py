"""``aiverify demo``: the whole main job on four small repositories, served by a local Hub."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import typer

from aiverify.cli import options

# The demo talks to a server on this machine: what the environment says about the real Hub does not apply to it.
_HUB_ENVIRONMENT = (
    *("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_ENDPOINT", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),
)

_OUTRO = """
Next, your own model:

  aiverify verify org/name                          a repository on the Hub, pinned to its commit
  aiverify verify path/to/folder                    files that you already have
  aiverify verify org/name --convert-to converted   safetensors twins of its checkpoints
  aiverify explain AIV301                           what a finding means
"""


def demo(verbose: options.Verbose = 0) -> None:
    """Run the whole main job on four sample repositories, served by a local Hub. Needs no network."""
    from aiverify.cli.printing import say, tell
    from aiverify.cli.session import errors_said

    with errors_said():
        for name in _HUB_ENVIRONMENT:
            os.environ.pop(name, None)
        os.environ |= {"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        with tempfile.TemporaryDirectory(prefix="aiverify-demo-") as work:
            surprises = _tell(Path(work), verbose)
        for surprise in surprises:
            say(f"error: {surprise}")
        tell(_OUTRO)
        raise typer.Exit(2 if surprises else 0)


def _tell(work: Path, verbosity: int) -> list[str]:
    """Tell every story; what did not come out as it should."""
    from aiverify.cli.printing import tell
    from aiverify.cli.progress import progress_on
    from aiverify.demo.stories import local_hub, stories
    from aiverify.pipeline import run
    from aiverify.reporters.human import HumanReporter

    reporter = HumanReporter.for_stream(sys.stdout, verbosity=verbosity)
    outcomes: list[tuple[str, str, str]] = []
    surprises: list[str] = []
    with local_hub() as (hub, trust):
        for number, story in enumerate(stories(hub, trust, work), 1):
            tell(f"── {number}. {story.repo}: {story.title}\n\n")
            with progress_on(sys.stderr, verbosity=verbosity) as progress:
                report = run(story.repo, story.options, progress)
            tell(reporter.render([report]) + "\n")
            outcome = report.verdict.outcome
            outcomes.append((story.repo, outcome, report.verdict.variant or "none"))
            if outcome is not story.expected:
                surprises.append(f"{story.repo} came out as {outcome}, not {story.expected}")
    tell("── The four verdicts\n\n")
    for repo, verdict, variant in outcomes:
        tell(f"  {repo:<16} {verdict:<7} {variant}")
    return surprises
