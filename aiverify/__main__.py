"""``python -m aiverify`` is the same as ``aiverify``."""

from aiverify.cli import main

if __name__ == "__main__":
    main()
