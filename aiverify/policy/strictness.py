"""What "stricter" means, for each setting of a policy.

Two ways to bring a setting together with one that stands above it: ``joined`` is what the lower one asks for, a list
being an addition to the list above; ``stricter`` is what it comes to if nothing above may be weakened. Where the two
differ, the lower one weakens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

_WILDCARD = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Strictness:
    """How one setting comes together with the same setting above it. Both functions take the upper value first."""

    joined: Callable[[Any, Any], Any]
    stricter: Callable[[Any, Any], Any]

    def weakens(self, above: object, value: object) -> bool:
        """Whether ``value`` asks for something that ``above`` does not allow."""
        return bool(self.joined(above, value) != self.stricter(above, value))


def _replaced(_: Any, value: Any) -> Any:
    return value


def _both(above: Any, value: Any) -> Any:
    """All of two lists, in their order, each once; or all of two sets."""
    return above | value if isinstance(above, frozenset) else tuple(dict.fromkeys((*above, *value)))


def _unchanged(above: Any, _: Any) -> Any:
    return above


def _lower(above: Any, value: Any) -> Any:
    return min(above, value, key=lambda item: item.rank)


def _higher(above: Any, value: Any) -> Any:
    return max(above, value, key=lambda item: item.rank)


def _common(above: Any, value: Any) -> Any:
    """What both name; ``None`` names everything."""
    return value if above is None else above if value is None else above & value


def _elsewhere(above: Any, value: Any) -> Any:
    """The signers above, and of the others those who are about other repositories: any one signer is enough."""
    taken = [pattern for rule in above for pattern in rule.repositories]
    others = (
        rule for rule in value if not any(may_meet(mine, theirs) for mine in rule.repositories for theirs in taken)
    )
    return _both(above, tuple(others))


def may_meet(first: str, second: str) -> bool:
    """Whether a name may match two shell patterns at once. Where that is hard to tell, it is said that it may."""
    first, second = first.lower(), second.lower()  # as when it is asked whether a rule applies
    for name, pattern in ((first, second), (second, first)):
        if not _WILDCARD.search(name):
            return fnmatchcase(name, pattern)
    head, other = (_WILDCARD.split(pattern, maxsplit=1)[0] for pattern in (first, second))
    return head.startswith(other) or other.startswith(head)


_Trusting = Strictness(joined=_both, stricter=_unchanged)
_Demanding = Strictness(joined=_both, stricter=_both)
_Severity = Strictness(joined=_replaced, stricter=_lower)

#: By the name of the field of ``Policy``.
STRICTNESS: Mapping[str, Strictness] = {
    "require_signature": Strictness(joined=_replaced, stricter=lambda above, value: above or value),
    "review_at": _Severity,
    "block_at": _Severity,
    "remote_code": Strictness(joined=_replaced, stricter=_higher),
    "formats": Strictness(joined=_replaced, stricter=_common),
    "accept_unexamined": _Trusting,
    "twin_of_blocked": Strictness(joined=_replaced, stricter=lambda above, value: above and value),
    "trusted_globals": _Trusting,
    "signers": Strictness(joined=_both, stricter=_elsewhere),
    "attestors": _Trusting,
    "waivers": _Trusting,
    "known_bad": _Demanding,
    "known_repositories": _Demanding,
}
