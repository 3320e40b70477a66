"""Commands whose arguments are converted here, in microseconds.

typer 0.29 converts every argument with pydantic, whose import alone takes longer than the scan of a checkpoint. Text,
paths, counts, flags and choices need no such help. Everything else, and every value that is not right, is left to
typer, which has the words for it; so is everything where a version of typer has no such converter to replace.
"""

from __future__ import annotations

import contextlib
import enum
from pathlib import Path
from typing import Any

from typer.core import TyperCommand, TyperGroup


class _Helpful:
    """Something with a help text. A reader that has seen enough of it is no error."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help text."""
        # On a pipe that broke, rich leads stdout nowhere and ends the program with 1, which here means a verdict.
        with contextlib.suppress(SystemExit):
            super().format_help(ctx, formatter)  # type: ignore[misc]


class QuickCommand(_Helpful, TyperCommand):
    """A command that does not import pydantic unless it has to."""

    def get_params(self, ctx: Any) -> Any:
        """The parameters, each with its converter."""
        return _quickened(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words of the usage line. An argument that says how it is written is written so."""
        words = [self.options_metavar or ""]
        for parameter in self.get_params(ctx):
            written = parameter.metavar if parameter.param_type_name == "argument" else None
            words += [written] if written else parameter.get_usage_pieces(ctx)
        return words


class QuickGroup(_Helpful, TyperGroup):
    """A group of commands that does not import pydantic unless it has to."""

    def get_params(self, ctx: Any) -> Any:
        """The parameters, each with its converter."""
        return _quickened(super().get_params(ctx))


def _quickened(parameters: Any) -> Any:
    for parameter in parameters:
        if getattr(parameter, "_runtime_param", parameter) is None and hasattr(parameter, "type_descriptor"):
            vars(parameter)["_runtime_param"] = _Converter(parameter.type_descriptor.annotation)
    return parameters


class _Converter:
    """Stands where typer keeps the converter of one parameter."""

    def __init__(self, annotation: object) -> None:
        self._annotation = annotation

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value as the command takes it. The signature is typer's."""
        kind = self._annotation
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        if kind in (str, int, bool) and type(value) is kind:
            return value
        if kind is Path and isinstance(value, str | Path):
            return Path(value)
        if isinstance(value, list | tuple) and all(type(item) is str for item in value):
            if kind == list[str]:
                return list(value)
            if kind == list[Path]:
                return [Path(item) for item in value]
        if isinstance(kind, type) and issubclass(kind, enum.StrEnum) and value in list(kind):
            return kind(value)
        vars(param)["_runtime_param"] = None
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)
