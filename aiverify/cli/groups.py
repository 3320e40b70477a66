"""Groups of options that several commands share: a command takes the group, the command line shows its options.

    class Hub(NamedTuple):                 @grouped
        token: Token = None                def verify(targets: …, hub: Hub) -> None: ...
        offline: Offline = False

typer reads a function's signature, one parameter for each option. ``grouped`` gives it one in which each parameter
whose type is a NamedTuple is replaced by the fields of that.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` as typer shall see it."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        kind = hints[parameter.name]
        if not (isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")):
            parameters.append(parameter.replace(annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        groups[parameter.name] = kind
        defaults: dict[str, object] = vars(kind)["_field_defaults"]
        for name, annotation in get_type_hints(kind, include_extras=True).items():
            default = defaults.get(name, inspect.Parameter.empty)
            parameters.append(
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            )

    @functools.wraps(command)
    def called(**given: Any) -> None:
        for name, kind in groups.items():
            given[name] = kind(**{field: given.pop(field) for field in kind._fields})
        command(**given)

    vars(called)["__signature__"] = inspect.Signature(parameters)
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters} | {"return": None}
    del vars(called)["__wrapped__"]  # whoever looks for annotations would follow it to those of the command itself
    return called
