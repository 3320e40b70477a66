"""Secrets in texts: tokens and keys whose form is known, and that are not made up for an example.

Rules it keeps:

1. A form counts only with what speaks for a real one: its checksum where it has one, and randomness that words and
   placeholders lack.
2. Nothing of a secret is shown but its kind, its place and the first characters that every one of its kind has.

Sources of the forms: the issuers' documentation; GitHub and npm end a token in the CRC-32 of what comes before it, in
base 62.
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from aiverify.finding import Finding
from aiverify.repository.subject import Repository
from aiverify.rules import finding

MAX_REPORTED = 20
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_MADE_UP = re.compile(r"example|placeholder|dummy|sample|changeme|insert|redacted|test|fake|x{4}|0{5}|1234|abcd", re.I)


def _random(secret: str) -> bool:
    """Whether the characters of ``secret`` are spread as those of a random one are."""
    counts = Counter(secret)
    bits = -sum(count / len(secret) * math.log2(count / len(secret)) for count in counts.values())
    return bits >= min(3.0, 0.75 * math.log2(len(secret))) and not _MADE_UP.search(secret)


def _checked(secret: str) -> bool:
    """Whether the last six characters are the checksum of the 30 before them."""
    body, stated = secret[:-6], secret[-6:]
    number, digits = zlib.crc32(body.encode()), ""
    while number:
        number, digit = divmod(number, 62)
        digits = _DIGITS[digit] + digits
    return digits.rjust(6, "0") == stated and _random(body)


@dataclass(frozen=True, slots=True)
class _Form:
    """One kind of secret: what it is called, how it looks (its group 1 is the random part), and what proves it."""

    kind: str
    pattern: re.Pattern[str]
    proof: Callable[[str], bool] = _random


def _token(kind: str, prefix: str, body: str, proof: Callable[[str], bool] = _random) -> _Form:
    return _Form(kind, re.compile(rf"(?<![A-Za-z0-9_-]){prefix}({body})(?![A-Za-z0-9_-])"), proof)


_FORMS = (
    _token("a Hugging Face token", "hf_", "[A-Za-z]{34}"),
    _token("a GitHub token", "gh[pousr]_", "[A-Za-z0-9]{36}", _checked),
    _token("a GitHub token", "github_pat_", "[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),
    _token("an npm token", "npm_", "[A-Za-z0-9]{36}", _checked),
    _token("a PyPI token", "pypi-AgEIcHlwaS5vcmc", "[A-Za-z0-9_-]{50,200}"),
    _token("a GitLab token", "glpat-", "[A-Za-z0-9_-]{20}"),
    _token("an AWS access key", "(?:AKIA|ASIA)", "[A-Z2-7]{16}"),
    _token("an Anthropic key", "sk-ant-api03-", "[A-Za-z0-9_-]{93}AA"),
    _token("an OpenAI key", "sk-(?:proj-|svcacct-)?", "[A-Za-z0-9_-]{20,80}T3BlbkFJ[A-Za-z0-9_-]{20,80}"),
    _token("a Slack token", "xox[bpars]-[0-9]{10,13}-", "[0-9]{10,13}-[A-Za-z0-9-]{20,80}"),
    _token("a Google key", "AIza", "[A-Za-z0-9_-]{35}"),
    _Form(
        "a private key",
        re.compile(
            r"-----BEGIN (?:RSA |EC |OPENSSH |DSA )?PRIVATE KEY-----(?:\r?\n|\\n)"
            r"((?:[A-Za-z0-9+/=]{20,76}(?:\r?\n|\\n)){2})"
        ),
    ),
)


def secrets(repository: Repository) -> Iterator[Finding]:
    """AIV508 for each secret in the texts of the artifact."""
    said = 0
    for part, text in repository.texts:
        for kind, offset in found_in(text):
            said += 1
            if said > MAX_REPORTED:
                return
            line = text.count("\n", 0, offset) + 1
            yield finding("AIV508", f"{kind} in line {line}", file=part.path, evidence={"kind": kind, "line": line})


def found_in(text: str) -> Iterator[tuple[str, int]]:
    """The kind of each secret in ``text``, and where it begins."""
    for form in _FORMS:
        for match in form.pattern.finditer(text):
            if form.proof(match[1]):
                yield form.kind, match.start()
