"""The ``horae`` command, also as ``python -m horae``."""

from horae.cli import main

if __name__ == "__main__":
    main()
