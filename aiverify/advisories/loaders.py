"""Which vulnerabilities of the installed libraries matter for the files of an artifact.

Versions are read from the metadata of the environment that aiverify runs in; nothing is imported. A library matters if
it opens one of the files; what cannot be met with these files is left out.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from aiverify.advisories.osv import Advisory
from aiverify.finding import Finding, Severity
from aiverify.installed import versions_of
from aiverify.rules import finding


@functools.cache
def loaders() -> Mapping[str, Mapping[str, Sequence[str]]]:
    """The libraries that open files of models: the formats and the names of files that each opens."""
    return tomllib.loads((Path(__file__).parent / "data" / "loaders.toml").read_text("utf-8"))


def vulnerable(
    formats: Mapping[str, str],
    advisories: Sequence[Advisory],
    versions: Mapping[str, str] | None = None,
    *,
    names_code: bool = False,
) -> Iterator[Finding]:
    """AIV701 for each advisory that an installed library and a file of the artifact meet in.

    ``formats`` are those of the files by path, ``versions`` those of the installed packages (by default: of this
    environment). ``names_code`` tells that a configuration of the artifact names code.
    """
    met = [(item, _met(item, formats)) for item in advisories]
    wanted = sorted({item.package for item, files in met if files})
    present = versions_of(wanted) if versions is None else versions
    for item, files in met:
        version = present.get(item.package)
        if not files or version is None or not item.affects(version):
            continue
        fixed = item.fixed_after(version)
        way = f"{fixed} is fixed" if fixed else "no fixed version is known"
        text = f"{item.package} {version} is installed: {item.summary or 'a known vulnerability'} ({item.id}; {way})"
        severity = Severity.INFO if item.code and not names_code else item.severity
        evidence = {"id": item.id, "package": item.package, "installed": version, "fixed": fixed, "files": len(files)}
        yield finding("AIV701", text, severity=severity, evidence=evidence)


def _met(item: Advisory, formats: Mapping[str, str]) -> list[str]:
    """The files with which the vulnerability can be met."""
    loader = loaders().get(item.package, {})
    own = bool(item.formats or item.files)
    kinds = item.formats if own else tuple(loader.get("formats", ()))
    names = item.files if own else tuple(loader.get("files", ()))
    return [
        path
        for path, kind in formats.items()
        if _matches(kind, path, kinds, names, both=own and bool(kinds) and bool(names))
    ]


def _matches(kind: str, path: str, kinds: Sequence[str], names: Sequence[str], *, both: bool) -> bool:
    by_kind = kind in kinds
    own_name = path.rpartition("/")[2]
    by_name = any(fnmatchcase(own_name, name) for name in names)
    return (by_kind and by_name) if both else (by_kind or by_name)
