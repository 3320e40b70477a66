"""Hyperparameters in a checkpoint of Lightning: texts that it imports and calls, behind any ``weights_only``.

Before 2.6.6 ``LightningModule.load_from_checkpoint`` calls whatever ``_instantiator`` names (CVE-2026-58659), and the
function that it is to name imports what ``_class_path`` names. The pickle holds nothing but texts: the values count.

Source: lightning 2.6, ``pytorch/core/saving.py`` (``_load_state``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from aiverify.finding import Finding, Severity
from aiverify.formats.dotted_names import judge_name
from aiverify.pickles.graph import Call, Dictionary, Graph, Value
from aiverify.rules import finding

_OWN = frozenset(("lightning.pytorch.cli.instantiate_module", "pytorch_lightning.cli.instantiate_module"))


def judge_hyperparameters(graph: Graph, path: str, member: str | None) -> Iterator[Finding]:
    """AIV501 for what a checkpoint has imported or called: its root is a table, one of whose values is the table."""
    for _, table in _pairs(graph.root):
        for key, value in _pairs(table):
            if key == "_instantiator" and not (isinstance(value, str) and value in _OWN):
                named = value[:200] if isinstance(value, str) else "what is no text"
                text = f"the hyperparameters have {named} called when Lightning loads the checkpoint"
                yield finding("AIV501", text, file=path, member=member, severity=Severity.HIGH)
            elif key == "_class_path" and isinstance(value, str):
                yield from judge_name("the hyperparameter _class_path", value, path, called=False)


def _pairs(value: Value) -> Iterable[tuple[Value, Value]]:
    if isinstance(value, Dictionary):
        return value.pairs
    return value.items if isinstance(value, Call) else ()
