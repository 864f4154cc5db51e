"""How the ``horae`` command logs. An application that embeds a host keeps its own configuration."""

import logging
import sys

import structlog


def configure(*, level: int = logging.INFO) -> None:
    """Log from ``level`` on to standard error: readable on a terminal, JSON lines elsewhere."""
    interactive = sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer()
        if interactive
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def get() -> structlog.typing.FilteringBoundLogger:
    """The logger of the host's own modules."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger("horae")
    return logger
