"""The child process that parses Python source: one JSON line with a source in, one JSON line with its summary out.

CPython's parser is C and meets hostile text here, under limits on memory, time, files and processes. A source that ends
the process ends no verification.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import warnings


def main(seconds: int, memory: int) -> None:
    """Answer until the input ends. The process may take ``seconds`` of processor time and ``memory`` bytes."""
    from aiverify.repository.summary import summarise

    warnings.simplefilter("ignore")  # of odd escapes in what others wrote
    for limit, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 16),
    ):
        hard = resource.getrlimit(limit)[1]
        value = value if hard < 0 else min(value, hard)
        resource.setrlimit(limit, (value, value))
    for line in sys.stdin.buffer:
        answer: dict[str, object]
        try:
            answer = summarise(json.loads(line))
        except SyntaxError as error:
            answer = {"error": f"line {error.lineno}: {error.msg}"[:200]}
        except (ValueError, RecursionError, MemoryError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:200]}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    os._exit(0)
