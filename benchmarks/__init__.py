"""What horae does in a second, each figure beside bare sqlite3 in the same run: see README.md."""

import logging

import structlog


def quiet() -> None:
    """Log errors only: the log of a run under measurement is no part of it."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
