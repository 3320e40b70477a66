"""Property tests try the same examples in every run, so that a change is judged and not the weather.

With ``FUZZ_FACTOR`` set (see ``fuzzing.py``) they look for new ones.
"""

import os
import signal

from hypothesis import settings

settings.register_profile("steady", derandomize="FUZZ_FACTOR" not in os.environ, deadline=None)
settings.load_profile("steady")

# A shell that starts the tests in the background has Ctrl-C ignored, and so would every program that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
