"""Property tests try the same examples in every run, so that a change is judged and not the weather.

With ``FUZZ_FACTOR`` set (see ``fuzzing.py``) they look for new ones.
"""

import os

from hypothesis import settings

settings.register_profile("steady", derandomize="FUZZ_FACTOR" not in os.environ, deadline=None)
settings.load_profile("steady")
