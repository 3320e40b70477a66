"""aiverify: know what a checkpoint would do before anything loads it."""

__version__ = "0.1.0"
