"""The program of a child process, in which ``process_executor`` has a plugin's jobs run.

It is two processes: the worker, which imports the plugin and runs one job at a time, and its
keeper, which sees that nothing the worker ever started is left when it ends.
"""

from horae.child.keeper import keep


def main(requests: int, answers: int) -> None:
    """Serve the host at the other ends of two pipes, given as file descriptors, to the end."""
    keep(requests, answers)
    # Only now, so that the keeper stays small.
    from horae.child.worker import Worker

    Worker(requests, answers).serve()
