"""The user's rules: a value that exists only if it is valid, and how it is read.

``values`` has the policy itself; ``keys`` and ``file`` know what a file may say, ``reading`` puts files together, and
``strictness`` and ``inheritance`` say what one that extends another may change. Who has no policy file does not pay for
reading one: what is of ``reading`` is loaded when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiverify.policy.values import DEFAULT_POLICY, Override, Policy, PolicyError, RemoteCode, SignerRule, Waiver

if TYPE_CHECKING:
    from aiverify.policy.reading import PROFILES, read_policy

__all__ = [
    "DEFAULT_POLICY",
    "PROFILES",
    "Override",
    "Policy",
    "PolicyError",
    "RemoteCode",
    "SignerRule",
    "Waiver",
    "read_policy",
]


def __getattr__(name: str) -> object:
    if name in ("PROFILES", "read_policy"):
        from aiverify.policy import reading

        return getattr(reading, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
