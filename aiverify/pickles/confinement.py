"""What a child process gives up before it reads bytes that nobody has checked, with the library of somebody else.

1. The kernel holds it to its limits: memory, processor time, no file can grow, no core is dumped, few files can be
   open, and no process can be started unless it runs as root.
2. An audit hook, which cannot be taken out again, ends the process when Python code is about to open a connection, to
   start or signal a process, to load a native library, or to write, remove or rename a file.

The first is a guarantee. The second holds for whatever goes through Python; machine code that runs inside of the
process does not ask.
"""

from __future__ import annotations

import os
import resource
import sys

#: The status of a process that tried what it must not.
ENDED = 70

_FILES = 32
_FORBIDDEN = (
    "subprocess.",
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "socket.",
    "ctypes.",
    "pty.",
    "shutil.",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "os.chown",
    "os.kill",
)
_CHANGING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def close_doors(memory: int) -> None:
    """Give up what is not needed, for good; the process may use ``memory`` bytes."""
    for limit, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, _FILES),
    ):
        hard = resource.getrlimit(limit)[1]
        value = value if hard < 0 else min(value, hard)
        resource.setrlimit(limit, (value, value))

    def refuse(event: str, args: tuple[object, ...]) -> None:
        # The flags tell what the mode of open() does not: os.open() has no mode.
        if event.startswith(_FORBIDDEN) or (event == "open" and isinstance(args[2], int) and args[2] & _CHANGING):
            os._exit(ENDED)

    sys.addaudithook(refuse)


def allow(seconds: int) -> None:
    """So much more processor time; the kernel ends the process that takes more."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    spent = int(usage.ru_utime + usage.ru_stime) + 1
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    wanted = spent + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (wanted if hard < 0 else min(wanted, hard), hard))
