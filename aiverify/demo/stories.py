"""The four stories of ``aiverify demo``: what each repository is, how it is verified, and what must come of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from aiverify.demo.hub import LocalHub
from aiverify.options import Options
from aiverify.policy import DEFAULT_POLICY, SignerRule
from aiverify.report import Outcome
from aiverify.signers import KeylessSigner, KeySigner
from aiverify.sources.interface import HubOptions

IDENTITY = "https://github.com/demo/models/.github/workflows/release.yml@refs/tags/v1"
ISSUER = "https://token.actions.githubusercontent.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One repository of the local Hub, with the sentence that introduces it and the options it is verified with."""

    repo: str
    title: str
    options: Options
    expected: Outcome


@contextmanager
def local_hub() -> Iterator[tuple[LocalHub, Path]]:
    """The local Hub with the sample repositories, and the folder with the keys that the stories trust."""
    with resources.as_file(resources.files("aiverify.demo")) as here, LocalHub(here / "repositories") as hub:
        yield hub, here / "trust"


def stories(hub: LocalHub, trust: Path, work: Path) -> tuple[Story, ...]:
    """The stories, to be run against ``hub`` with caches and output under ``work``."""
    common = Options(hub=HubOptions(endpoint=hub.endpoint, cache_dir=work / "hub"))
    workflow = SignerRule(expected=KeylessSigner(IDENTITY, ISSUER))
    keyless = DEFAULT_POLICY.with_signer(workflow, "demo: identity and issuer")
    publisher = SignerRule(expected=KeySigner((trust / "publisher.pub").read_bytes(), "publisher.pub"))
    return (
        Story(
            repo="demo/signed",
            title="safetensors, signed by the publisher's release workflow",
            options=replace(common, policy=keyless, trusted_root=trust / "trusted_root.json"),
            expected=Outcome.PASS,
        ),
        Story(
            repo="demo/checkpoint",
            title="a PyTorch checkpoint in two shards: scanned, found clean, converted to safetensors",
            options=replace(common, convert_to=work / "converted"),
            expected=Outcome.PASS,
        ),
        Story(
            repo="demo/payload",
            title="a checkpoint whose pickle would run a command",
            options=common,
            expected=Outcome.BLOCK,
        ),
        Story(
            repo="demo/tampered",
            title="a signed repository with one byte changed after signing",
            options=replace(common, policy=DEFAULT_POLICY.with_signer(publisher, "demo: publisher.pub")),
            expected=Outcome.BLOCK,
        ),
    )
