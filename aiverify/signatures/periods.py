"""Which services of a trusted root were in use when something was signed.

Source: trustroot.proto of https://github.com/sigstore/protobuf-specs. A service may have a period (``validFor``), and
both of its ends belong to it. An authority or a log whose period had ended, or had not begun, vouches for nothing then:
that is how the operator of an instance takes a stolen key out of use. sigstore-python compares the periods of timestamp
authorities only, and leaves their last moment out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

_MOMENT = timedelta(microseconds=1)
_WORD = re.compile(r"_([a-z])")


def parsed_root(content: bytes) -> dict[str, Any]:
    """The root in the JSON of a trusted_root.json, with its keys in one spelling. Raises ValueError.

    The end of the period of a timestamp authority is put off by the smallest time there is, so that it belongs to it.
    """
    root = _spelled(json.loads(content))
    if not isinstance(root, dict):
        raise ValueError("not a JSON object")
    for authority in root.get("timestampAuthorities") or ():
        period = authority.get("validFor") or {}
        if period.get("end"):
            period["end"] = (datetime.fromisoformat(period["end"]) + _MOMENT).isoformat()
    return root


def in_use(root: Mapping[str, Any], signed: Sequence[datetime], promised: Sequence[datetime]) -> dict[str, Any]:
    """The root without the authorities and logs that were out of use at one of the times.

    ``signed`` are the times at which the signature is proven to have existed, ``promised`` those at which a log
    promised to publish the certificate.
    """
    kept = {
        "certificateAuthorities": [
            one for one in root["certificateAuthorities"] if _covers(one.get("validFor"), signed)
        ],
        "tlogs": [one for one in root["tlogs"] if _covers(one["publicKey"].get("validFor"), signed)],
        "ctlogs": [one for one in root["ctlogs"] if _covers(one["publicKey"].get("validFor"), promised)],
    }
    return {**root, **kept}


def _covers(period: Mapping[str, str] | None, times: Sequence[datetime]) -> bool:
    if not period:
        return True
    start, end = datetime.fromisoformat(period["start"]), period.get("end")
    return all(start <= time and (not end or time <= datetime.fromisoformat(end)) for time in times)


def _spelled(value: Any) -> Any:
    """Both spellings that JSON of protocol buffers may have (``validFor``, ``valid_for``) as the first."""
    if isinstance(value, list):
        return [_spelled(one) for one in value]
    if isinstance(value, dict):
        return {_WORD.sub(lambda found: found[1].upper(), key): _spelled(one) for key, one in value.items()}
    return value
