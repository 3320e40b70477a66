"""The policy by which the guard judges a file: the one it was given, or the one that the command line would find."""

from __future__ import annotations

from pathlib import Path

from aiverify.configuration import load_policy, named_policy
from aiverify.errors import AiverifyError
from aiverify.guard.deciding import Settings
from aiverify.guard.interface import refusal
from aiverify.policy import Policy


def policy_for(path: Path, settings: Settings) -> Policy:
    """The policy for the file at ``path``; never one that lies where files of models do. Raises LoadRefused."""
    chosen = settings.policy
    if isinstance(chosen, Policy):
        return chosen
    sealed = [] if settings.store is None else [Path(settings.store)]
    try:
        if chosen is not None:
            return named_policy(Path(chosen), str(path), sealed)
        here = Path(settings.working_directory or ".").absolute()
        return load_policy([str(path)], working_directory=here, downloads=sealed)
    except AiverifyError as error:
        raise refusal(path, "error", (f"there is no policy to judge it by: {error}",)) from error
