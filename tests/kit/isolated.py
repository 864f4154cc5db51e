"""A plugin whose jobs run in child processes, and what they leave to be looked at."""

from pathlib import Path
from typing import Final

from kit.hosts import until
from kit.sites import plugin

SOURCE: Final = plugin(
    """
    import asyncio
    import contextvars
    import ctypes
    import functools
    import os
    import pathlib
    import signal
    import subprocess
    import sys
    import threading
    import time
    from datetime import timedelta

    from horae.errors import HostError

    isolated = functools.partial(events.register, executor="process")
    kept = []


    def note(file, pid):
        with open(file, "a") as notes:
            notes.write(f"{pid}\\n")


    @isolated("acme.pid")
    def pid(context):
        return os.getpid()


    @isolated("acme.sum", version=2)
    @attrs.frozen
    class Sum(ScheduledEventJob):
        terms: list[int]

        def run(self, context):
            return sum(self.terms)

        @classmethod
        def upgrade(cls, arguments, version):
            return {"terms": [arguments["a"], arguments["b"]]}


    @isolated("acme.fail")
    def fail(context):
        raise ValueError("the tide is out")


    @isolated("acme.odd")
    def odd(context, what: str):
        return {"set": {1}, "long": "x" * 70_000, "nan": float("nan")}[what]


    @isolated("acme.picky", retry=Retry(attempts=2, on=(OSError,), never=(TimeoutError,)))
    def picky(context, kind: str):
        raise {"os": OSError, "timeout": TimeoutError, "value": ValueError}[kind]("no")


    @isolated("acme.later")
    def later(context):
        raise RetryLater(timedelta(minutes=5), "the tide is out")


    @isolated("acme.never")
    def never(context):
        raise CancelEvent("there is no tide")


    @isolated("acme.async")
    async def asynchronous(context):
        await asyncio.sleep(0)
        return os.getpid()


    @isolated("acme.tell")
    def tell(context):
        return {
            "event_id": context.event_id,
            "attempt": context.attempt,
            "occurrence": context.occurrence.isoformat(),
            "key": context.idempotency_key,
            "resource": context.resource,
            "origin": context.origin,
            "user": context.user,
            "description": context.description,
            "deadline": context.deadline and context.deadline.isoformat(),
        }


    @isolated("acme.reach")
    def reach(context):
        return context.host.name


    @isolated("acme.log")
    def log(context):
        context.log.warning("tide.low", metres=0.3, place=pathlib.Path("quay"))
        try:
            1 / 0
        except ZeroDivisionError:
            context.log.exception("tide.odd")


    @isolated("acme.print")
    def speak(context):
        print('["done", {}, null]')
        sys.stderr.write("and aloud\\n")
        os.write(1, b'["done", {}, null]\\n')
        subprocess.run(["echo", "from a child of the child"])
        return "said"


    @isolated("acme.progress")
    def progress(context):
        context.progress(0.5, "half")


    @isolated("acme.plan")
    def plan(context, end: str = "well"):
        context.schedule("acme.sum", {"terms": [1, 2]}, timedelta(minutes=1), key="first")
        context.schedule(Sum(terms=[3]), None, "in 1h", priority=0)
        if end != "well":
            raise ValueError(end)


    @isolated("acme.plan_wrongly")
    def plan_wrongly(context):
        errors = []
        for event_type, arguments, schedule in [
            ("acme.sum", {"terms": "1"}, None),
            ("acme.no_such", {}, None),
            ("acme.sum", {"terms": []}, "when the tide is in"),
            ("acme.sum", {"terms": {1}}, None),
            ("acme.sum", {"terms": []}, object()),
            (object(), None, None),
        ]:
            try:
                context.schedule(event_type, arguments, schedule)
            except Exception as error:
                errors.append(type(error).__name__)
        return errors


    @isolated("acme.each", retry=Retry(attempts=2, first=timedelta(seconds=10), jitter=0))
    @attrs.frozen
    class Each(MultiResourceScheduledEventJob):
        how: str = "raise"

        def run_resource(self, context, resource):
            context.schedule("acme.pid", resource=resource)
            if resource == "bad" and context.attempt == 1:
                if self.how == "crash":
                    os._exit(3)
                raise {"raise": ValueError, "cancel": CancelEvent}[self.how]("the tide is out")
            return [context.resource, context.idempotency_key.rpartition("-")[2]]


    @isolated("acme.each_async")
    class EachAsync(MultiResourceScheduledEventJob):
        async def run_resource(self, context, resource):
            await asyncio.sleep(0)
            return resource.upper()


    @isolated("acme.each_left")
    class EachLeft(MultiResourceScheduledEventJob):
        async def run(self, context):
            try:
                await asyncio.wait_for(context.each(self.run_resource), 0.05)
            except TimeoutError:
                return "left"

        async def run_resource(self, context, resource):
            await asyncio.sleep(30)


    @isolated("acme.interrupted")
    def interrupted(context, how_often: int):
        def ring(*_):
            raise TimeoutError

        signal.signal(signal.SIGALRM, ring)
        rung = 0
        for number in range(how_often):
            signal.setitimer(signal.ITIMER_REAL, 0.0002)
            try:
                while True:
                    context.progress(0.5)
            except TimeoutError:
                rung += 1
        try:
            context.schedule("acme.no_such")
        except Exception as error:
            return [rung, type(error).__name__]


    variable = contextvars.ContextVar("variable", default="unset")


    @isolated("acme.set")
    def set_variable(context):
        found = variable.get()
        variable.set("set")
        return found


    @isolated("acme.track")
    def track(context, end: str = "well"):
        with context.tracker("night") as tracker:
            tracker.schedule("acme.pid", schedule="in 1h", description="first")
            tracker.schedule_bot_event(
                bot="otter",
                resource="quay",
                description="second",
                event_type="acme.pid",
                schedule_data=timedelta(hours=1),
            )
        try:
            with ScheduledEventTracker("night") as tracker:
                tracker.schedule("acme.pid", schedule="in 1h", description="third")
                raise KeyError
        except KeyError:
            pass
        try:
            tracker.schedule("acme.pid", description="fourth")
        except HostError:
            return "over"


    @isolated("acme.leave")
    def leave(context):
        kept.append(context)


    @isolated("acme.late")
    def late(context):
        errors = []
        for call in (lambda: kept[0].progress(1.0), lambda: kept[0].schedule("acme.pid")):
            try:
                call()
            except OutsideRunError as error:
                errors.append(str(error))
        return errors


    @isolated("acme.fork")
    def fork(context):
        child = os.fork()
        if child:
            os.waitpid(child, 0)
        return child


    @isolated("acme.spin", timeout=30)
    def spin(context, notes: str):
        note(notes, os.getpid())
        while True:
            pass


    @isolated("acme.stubborn", timeout=30)
    def stubborn(context, notes: str):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        note(notes, os.getpid())
        while True:
            try:
                time.sleep(60)
            except BaseException:
                pass


    @isolated("acme.busy_in_c", timeout=30)
    def busy_in_c(context, notes: str):
        note(notes, os.getpid())
        sum(range(10**12))


    @isolated("acme.family", timeout=30)
    def family(context, notes: str):
        ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
        sleep = f"import signal, time; {ignore}; time.sleep(600)"
        for options in ({}, {"start_new_session": True}):
            note(notes, subprocess.Popen([sys.executable, "-c", sleep], **options).pid)
        child = os.fork()
        if not child:
            grandchild = os.fork()
            if grandchild:
                note(notes, grandchild)
                os._exit(0)
            time.sleep(600)
        os.waitpid(child, 0)
        note(notes, os.getpid())
        time.sleep(600)


    @isolated("acme.tidy", timeout=30)
    def tidy(context, notes: str):
        try:
            note(notes, os.getpid())
            time.sleep(600)
        finally:
            note(notes + ".tidied", os.getpid())


    @isolated("acme.crash")
    def crash(context, how: str):
        if how == "exit":
            os._exit(3)
        if how == "segfault":
            ctypes.string_at(0)
        os.kill(os.getpid() if how == "kill" else os.getppid(), signal.SIGKILL)
        time.sleep(600)


    @isolated("acme.hold", interrupted="fail")
    def hold(context, gate: str):
        note(gate + ".notes", os.getpid())
        while not pathlib.Path(gate).exists():
            if context.cancelled:
                return "cancelled"
            time.sleep(0.005)
        return "opened"
    """
)
"""The types that the tests use; those that take ``notes`` write down their processes there."""


def noted(file: Path | str, count: int = 1) -> list[int]:
    """The process ids that a job has written down, once there are so many."""
    lines = until(lambda: len(found := _lines(Path(file))) >= count and found)
    return [int(line) for line in lines]


def _lines(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []


def running(pids: list[int]) -> list[int]:
    """Those of the processes that have not ended."""
    return [pid for pid in pids if _runs(pid)]


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
