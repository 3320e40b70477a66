"""Archives of TorchServe (MAR): ``MAR-INF/MANIFEST.json`` names the Python file that the server runs.

Source: model_archiver/manifest_components (TorchServe 0.12).
"""

from __future__ import annotations

import json

from aiverify.formats.archives import Entry
from aiverify.formats.torch import Members

_MANIFEST = "MAR-INF/MANIFEST.json"
_CODE_KEYS = ("handler", "modelFile", "requirementsFile")


def judge_manifest(archive: Members) -> None:
    """Report the code that the manifest of ``archive`` asks a server to run, if it is an archive of TorchServe."""
    for entry in archive.entries:
        if entry.name == _MANIFEST:
            _judge(archive, entry)


def _judge(archive: Members, entry: Entry) -> None:
    try:
        manifest = json.loads(archive.content(entry) or b"")
    except (ValueError, RecursionError):
        archive.unexamined(entry, "a manifest that is not valid JSON")
        return
    model = manifest.get("model") if isinstance(manifest, dict) else None
    if not isinstance(model, dict):
        archive.unexamined(entry, "a manifest without a model")
        return
    for key in _CODE_KEYS:
        if model.get(key):
            text = f"TorchServe runs what {key} names when it serves this archive: {str(model[key])[:200]!r}"
            archive.found("AIV501", text, entry)
