"""Whether a repository is the one that was meant: what its name, its age and the Hub give away.

All of it is information, never proof.

A name is compared with those that the user keeps (``known_repositories`` of the policy): one that reads alike, or is a
few keystrokes away, and is not on the list, is worth a look. Names on a Hub are ASCII, so what reads alike is folded
within ASCII; a name from elsewhere is brought there first.
"""

from __future__ import annotations

import datetime
import unicodedata
from collections.abc import Iterator, Sequence

from aiverify.finding import Finding, Severity
from aiverify.rules import finding

YOUNG = datetime.timedelta(days=30)

_MAX_DISTANCE = 2
_SHORT = 6  # of so few letters, two keystrokes make any other word
_PAIRS = (("rn", "m"), ("vv", "w"), ("cl", "d"))
_ALIKE = str.maketrans(
    {"0": "o", "1": "l", "i": "l", "|": "l", "5": "s", "8": "b", "2": "z", "_": "", "-": "", ".": ""}
)


def lookalikes(repo: str, known: Sequence[str]) -> Iterator[Finding]:
    """What is said of ``repo`` when it is like one of the ``known`` names (``org/name``, or ``org/*``) and is none."""
    for name in known:
        if _covers(name, repo):
            return
    for name in known:
        theirs, ours = _compared(name, repo)
        if ours != theirs and _is_like(ours, theirs):
            yield finding(
                "AIV611",
                f"{repo} is named like {name}, which you know, and is another repository",
                evidence={"known": name, "found": repo},
            )


def renamed(repo: str, name: str | None, *, severity: Severity | None = None) -> Iterator[Finding]:
    """What is said when the Hub calls ``repo`` by another name."""
    if name is not None and name.lower() != repo.lower():
        text = f"the Hub calls {repo} by another name: {name}"
        yield finding("AIV608", text, severity=severity, evidence={"asked": repo, "found": name})


def young(created: str | None, now: datetime.datetime) -> Iterator[Finding]:
    """What is said of a repository that was ``created`` (RFC 3339, in UTC) shortly before ``now``."""
    if created is None:
        return
    try:
        since = datetime.datetime.fromisoformat(created)
    except ValueError:
        return
    age = now - since
    if age < YOUNG:
        days = max(age.days, 0)
        yield finding("AIV612", f"the repository was made {days} days ago", evidence={"created": created})


def _covers(known: str, repo: str) -> bool:
    known, repo = known.lower(), repo.lower()  # to the Hub they are one name
    return repo.startswith(known.removesuffix("*")) if known.endswith("/*") else known == repo


def _compared(known: str, repo: str) -> tuple[str, str]:
    """The known name, and the part of ``repo`` that it speaks of."""
    return (known.removesuffix("/*"), repo.partition("/")[0]) if known.endswith("/*") else (known, repo)


def _is_like(one: str, other: str) -> bool:
    if "/" in one and one.partition("/")[0] == other.partition("/")[0]:
        return False  # the same owner: another of its models, not somebody else's
    if _folded(one) == _folded(other):
        return True
    one, other = one.lower(), other.lower()
    if min(len(one), len(other)) < _SHORT or abs(len(one) - len(other)) > _MAX_DISTANCE:
        return False
    return _distance(one, other) <= _MAX_DISTANCE


def _folded(name: str) -> str:
    """The name as it reads at a glance."""
    text = "".join(char for char in unicodedata.normalize("NFKD", name) if not unicodedata.combining(char)).lower()
    for pair, single in _PAIRS:
        text = text.replace(pair, single)
    return text.translate(_ALIKE)


def _distance(one: str, other: str) -> int:
    """Insertions, deletions, substitutions and swaps of neighbours that lead from one to the other."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        row, previous = [i], row
        for j, right in enumerate(other, 1):
            cost = min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (left != right))
            if i > 1 and j > 1 and left == other[j - 2] and one[i - 2] == right:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before = previous
    return row[-1]
