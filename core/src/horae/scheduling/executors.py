"""The executors that every host has: threads, one event loop, and the engine's own thread."""

import asyncio
import threading
from queue import SimpleQueue
from typing import Any

from horae_hookspecs import Executor, Work


class ThreadExecutor(Executor):
    """A fixed number of threads, and a quarter as many for types that would find them all taken.

    Python cannot end a thread, so one that is stuck in a given-up run is replaced: another takes
    its place at once, and it ends by itself when the run does.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._spare = max(1, workers // 4) if workers > 1 else 0
        # Two queues: behind what waits for the other threads, spare ones would be of no use.
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._spare_queue: SimpleQueue[Work | None] = SimpleQueue()
        self._threads: dict[threading.Thread, SimpleQueue[Work | None]] = {}

    def start(self) -> None:
        """Start the threads; they are daemons, so that a stuck one cannot hold up the exit."""
        for _ in range(self._workers):
            self._add_thread(self._queue)
        for _ in range(self._spare):
            self._add_thread(self._spare_queue)

    def _add_thread(self, queue: SimpleQueue[Work | None]) -> None:
        thread = threading.Thread(
            target=self._serve, args=(queue,), name="horae-worker", daemon=True
        )
        self._threads[thread] = queue
        thread.start()

    def capacity(self) -> int:
        """As many as there are threads, but for the spare ones."""
        return self._workers

    def spare(self) -> int:
        """A quarter of the workers, at least one; none where a single worker is asked for."""
        return self._spare

    def submit(self, work: Work) -> None:
        """Whichever thread is free takes it."""
        self._queue_of(work).put(work)

    def replace(self, work: Work) -> None:
        """One more thread; the stuck one learns from ``run`` that it was replaced."""
        self._add_thread(self._queue_of(work))

    def stop(self) -> None:
        """Let every thread end once it is free."""
        for queue in list(self._threads.values()):
            queue.put(None)

    def _queue_of(self, work: Work) -> SimpleQueue[Work | None]:
        return self._spare_queue if work.spare else self._queue

    def _serve(self, queue: SimpleQueue[Work | None]) -> None:
        while (work := queue.get()) is not None:
            if not work.run():
                del self._threads[threading.current_thread()]
                return
            del work  # else this frame would hold the plugin's code until the next run


class AsyncExecutor(Executor):
    """One event loop in a thread of its own, for jobs with ``async def run``."""

    def __init__(self, capacity: int = 1000) -> None:
        self._capacity = capacity
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: dict[Work, asyncio.Task[Any]] = {}

    def start(self) -> None:
        """Start the loop."""
        self._loop = asyncio.new_event_loop()
        serve = threading.Thread(target=self._serve, args=(self._loop,), name="horae-async")
        serve.daemon = True
        serve.start()

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.run_forever()
        loop.close()

    def capacity(self) -> int:
        """Tasks are cheap; this only bounds what one host takes at a time."""
        return self._capacity

    def spare(self) -> int:
        """A quarter, as for threads."""
        return self._capacity // 4

    def submit(self, work: Work) -> None:
        """A task of its own for each run."""
        self._call(self._begin, work)

    def _begin(self, work: Work) -> None:
        task = asyncio.get_running_loop().create_task(work.run_async())
        self._tasks[work] = task
        task.add_done_callback(lambda _: self._tasks.pop(work, None))

    def replace(self, work: Work) -> None:
        """Cancel the task: unlike a thread, it can be ended."""
        self._call(self._cancel, work)

    def _cancel(self, work: Work) -> None:
        if work in self._tasks:
            self._tasks[work].cancel()

    def stop(self) -> None:
        """Cancel what is left and end the loop."""
        self._call(self._end)

    def _end(self) -> None:
        loop = asyncio.get_running_loop()
        for task in self._tasks.values():
            task.cancel()
        loop.call_soon(loop.stop)

    def _call(self, function: Any, *arguments: Any) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)


class InlineExecutor(Executor):
    """The engine's own thread: no hand-over, and nothing else moves meanwhile. For tiny jobs."""

    def start(self) -> None:
        """Nothing to start."""

    def capacity(self) -> int:
        """One after the other."""
        return 1

    def submit(self, work: Work) -> None:
        """Run it here and now."""
        work.run()

    def stop(self) -> None:
        """Nothing to stop."""
