"""Plugins that do one thing each that keeps code alive, or that only looks as if it did."""

from typing import Final

import attrs

KEEPER: Final = """
import asyncio, concurrent.futures, contextvars, functools, threading, weakref

kept, by_name, weak_keys = [], {}, weakref.WeakKeyDictionary()
variable = contextvars.ContextVar("journal.variable", default=None)
context = contextvars.Context()
stop, future, loop = threading.Event(), concurrent.futures.Future(), asyncio.new_event_loop()
weakly = weakref.ref

class Keeper:
    known = []

def keeping():
    value = None
    def keep(new):
        nonlocal value
        value = new
    return keep, lambda: value

keep, getter = keeping()

@functools.lru_cache
def cached(value): pass

def renew_dispatch():
    global dispatch
    dispatch = functools.singledispatch(lambda value: None)

renew_dispatch()

def calling(something): something()

async def idle(): await asyncio.sleep(0)
"""
"""The module ``journal`` that the plugins import: the application's code, so to say."""


@attrs.frozen
class Scenario:
    """A plugin that leaks by its ``source``, what its report says of who holds it (``held``), and
    how that is made to let go (``free``).
    """

    source: str
    held: str
    free: str


CLASS = "class Held:\n    def method(self): return Held\n"
FUNCTION = "def held(*_, **__): pass\n"

COLLECTED: Final = {
    "nothing": "",
    "alias in sys.modules": "import sys\nsys.modules['acme_alias'] = sys.modules[__name__]\n",
    "class": CLASS,
    "nested classes": "class A:\n    class B:\n        def m(self): pass\n",
    "metaclass": "class M(type): pass\nclass A(metaclass=M): pass\n",
    "init_subclass registry of its own": "class A:\n    seen = []\n"
    "    def __init_subclass__(cls): A.seen.append(cls)\nclass B(A): pass\n",
    "attrs class": "@attrs.define\nclass A:\n    x: int = 1\nattrs.fields(A); attrs.asdict(A())\n",
    "attrs frozen": "@attrs.frozen\nclass A:\n    x: int = 1\nattrs.evolve(A(), x=2); hash(A())\n",
    "attrs with a cached property": "import functools\n@attrs.define\nclass A:\n"
    "    @functools.cached_property\n    def x(self): return 1\nA().x\n",
    "attrs resolve_types": "@attrs.define\nclass A:\n    x: 'int' = 1\nattrs.resolve_types(A)\n",
    "dataclass": "import dataclasses\n@dataclasses.dataclass\nclass A:\n    x: int = 1\n"
    "dataclasses.asdict(A())\n",
    "dataclass with slots": "import dataclasses\n@dataclasses.dataclass(slots=True)\nclass A:\n"
    "    x: int = 1\n",
    "enum": "import enum\nclass E(enum.Enum):\n    A = 1\nE(1); E['A']\n",
    "named tuple": "import typing\n"
    "class N(typing.NamedTuple):\n    x: int = 1\nN()._replace(x=2)\n",
    "typed dict": "import typing\nclass T(typing.TypedDict):\n    x: int\n",
    "protocol and its checks": "import typing\n"
    "@typing.runtime_checkable\nclass P(typing.Protocol):\n"
    "    def m(self): ...\nclass A:\n    def m(self): pass\nisinstance(A(), P)\n",
    "abstract base and its caches": "import abc\nclass A(abc.ABC): pass\nclass B(A): pass\n"
    "isinstance(B(), A); A.register(int); isinstance(1, A)\n",
    "registered with an abstract base of others": "import collections.abc\n"
    + CLASS
    + "collections.abc.Sized.register(Held); isinstance(Held(), collections.abc.Sized)\n",
    "generic of typing": "import typing\n"
    "T = typing.TypeVar('T')\nclass G(typing.Generic[T]): pass\n"
    "class A: pass\nG[A]\n",
    "typing caches": "import typing\n" + CLASS + "def f(a: typing.List[Held], "
    "b: typing.Optional[Held], c: typing.Annotated[Held, 1]) -> typing.Dict[str, Held]: ...\n"
    "typing.get_type_hints(f); typing.Union[Held, int]; typing.Callable[[Held], Held]\n",
    "builtin generics": CLASS + "list[Held]; Held | None; dict[str, Held]\n",
    "lru_cache of its own": "import functools\n@functools.lru_cache\ndef f(x): return x\nf(f)\n",
    "singledispatch of its own": "import functools\n@functools.singledispatch\ndef f(x): pass\n"
    "class A: pass\n@f.register\ndef _(x: A): pass\nf(A())\n",
    "partial": "import functools\n" + FUNCTION + "p = functools.partial(held, held)\n",
    "cycle with a finalizer": "class A:\n    def __del__(self): pass\na = A(); a.a = a\n",
    "weak references of others": "import weakref, journal\n"
    + CLASS
    + "journal.weak = weakref.WeakSet([Held]); weakref.finalize(Held, print).atexit = False\n",
    "caught error": "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    caught = e\n",
    "own error class": "class E(Exception): pass\ntry:\n    raise E\nexcept E:\n    pass\n",
    "suspended generator": "def g():\n    yield g\nstill = g(); next(still)\n",
    "suspended coroutine": "async def c(): pass\nstill = c()\nstill.close()\n",
    "async run to its end": "import asyncio\nasync def c(): await asyncio.sleep(0)\n"
    "loop = asyncio.new_event_loop(); loop.run_until_complete(c()); loop.close()\n",
    "cancelled timer of a loop": "import asyncio\nloop = asyncio.new_event_loop()\n"
    + FUNCTION
    + "loop.call_later(60, held).cancel(); loop.close()\n",
    "thread that ended": "import threading\n"
    + FUNCTION
    + "t = threading.Thread(target=held); t.start(); t.join()\n",
    "idle thread pool": "from concurrent.futures import ThreadPoolExecutor\n"
    + FUNCTION
    + "pool = ThreadPoolExecutor(1); pool.submit(held).result()\n",
    "timer that was cancelled": "import threading\n"
    + FUNCTION
    + "t = threading.Timer(60, held); t.start(); t.cancel(); t.join()\n",
    "thread local": "import threading\nlocal = threading.local(); local.x = events\n",
    "context variable set at import": "import contextvars\n"
    + CLASS
    + "v = contextvars.ContextVar('v'); v.set(Held)\n",
    "context variable of others set at import": "import journal\n"
    + CLASS
    + "journal.variable.set(Held)\n",
    "context variable of others set in activate": "import journal\n"
    + CLASS
    + "@hookimpl\ndef horae_activate(context): journal.variable.set(Held)\n",
    "structlog logger": "import structlog\nlog = structlog.get_logger(); log.info('loaded')\n",
    "bound structlog logger": "import structlog\n"
    + CLASS
    + "log = structlog.get_logger().bind(held=Held); log.info('loaded')\n",
    "stdlib logger": "import logging\nlogging.getLogger(__name__).info('loaded')\n",
    "handler taken off in deactivate": "import logging\nclass H(logging.Handler): pass\n"
    "h = H(); logging.root.addHandler(h)\n"
    "@hookimpl\ndef horae_deactivate(context): logging.root.removeHandler(h)\n",
    "atexit function undone": "import atexit\n" + FUNCTION + "atexit.register(held)\n"
    "@hookimpl\ndef horae_activate(context): context.undo(lambda: atexit.unregister(held))\n",
    "pickle and copy": "import pickle, copy\nclass A: pass\ncopy.deepcopy(A())\npickle.dumps(A)\n",
    "json": "import json\nclass E(json.JSONEncoder): pass\njson.dumps([1], cls=E)\n",
    "re": "import re\np = re.compile('[a-z]+x')\ndef r(m): return ''\np.sub(r, 'abcx')\n",
    "inspect": "import inspect\n"
    + FUNCTION
    + "inspect.signature(held); inspect.getmembers(held)\n",
    "mock": "import unittest.mock\n" + CLASS + "unittest.mock.create_autospec(Held)\n",
    "traceback as text": "import traceback\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n"
    "    text = traceback.format_exc()\n",
    "sqlite function": "import sqlite3\n"
    + FUNCTION
    + "c = sqlite3.connect(':memory:'); c.create_function('f', 0, held); c.close()\n",
    "context manager entered": "import contextlib\n"
    "@contextlib.contextmanager\ndef cm():\n    yield\n"
    "@hookimpl\ndef horae_activate(context): context.enter(cm())\n",
    "observer hooks": "@hookimpl\ndef horae_run_finished(run): pass\n"
    "@hookimpl(wrapper=True)\ndef horae_run(run): return (yield)\n",
    "decimal context": "import decimal\nwith decimal.localcontext() as c:\n    c.prec = 3\n",
    "subprocess": "import subprocess, sys\nsubprocess.run([sys.executable, '-S', '-c', ''])\n",
}

_REGISTERS = "import {module}\n" + FUNCTION + "{call}\n"

LEAKING: Final = {
    "class in a list of others": Scenario(
        "import journal\n" + CLASS + "journal.kept.append(Held)\n",
        "list <- kept in module journal",
        "journal.kept.clear()",
    ),
    "instance in a dict of others": Scenario(
        "import journal\n" + CLASS + "journal.by_name = {'one': Held()}\n",
        "by_name in module journal",
        "del journal.by_name",
    ),
    "bound method of others": Scenario(
        "import journal\n" + CLASS + "journal.callback = Held().method\n",
        "callback in module journal",
        "del journal.callback",
    ),
    "lambda of others": Scenario(
        "import journal\n" + FUNCTION + "journal.callback = lambda: held\n",
        "callback in module journal",
        "del journal.callback",
    ),
    "partial in a queue": Scenario(
        "import journal, queue, functools\n"
        + FUNCTION
        + "journal.queue = queue.Queue(); journal.queue.put(functools.partial(held))\n",
        "queue in module journal",
        "del journal.queue",
    ),
    "instances in a heap": Scenario(
        "import journal, heapq\n" + CLASS + "journal.heap = []\n"
        "heapq.heappush(journal.heap, (1, Held()))\n",
        "heap in module journal",
        "del journal.heap",
    ),
    "closure cell of others": Scenario(
        "import journal\n" + CLASS + "journal.keep(Held)\n",
        "keep in module journal",
        "journal.keep(None)",
    ),
    "default argument of others": Scenario(
        "import journal\n" + CLASS + "journal.keep.__defaults__ = (Held,)\n",
        "keep in module journal",
        "journal.keep.__defaults__ = None",
    ),
    "class attribute of others": Scenario(
        "import journal\n" + CLASS + "journal.Keeper.slot = Held\n",
        "Keeper in module journal",
        "del journal.Keeper.slot",
    ),
    "subclass known to others": Scenario(
        "import journal\nclass Held(journal.Keeper): pass\njournal.Keeper.known.append(Held)\n",
        "Keeper in module journal",
        "journal.Keeper.known.clear()",
    ),
    "lru_cache of others": Scenario(
        "import journal\n" + CLASS + "journal.cached(Held)\n",
        "lru_cache of journal.cached",
        "journal.cached.cache_clear()",
    ),
    "singledispatch of others": Scenario(
        "import journal\n" + CLASS + "journal.dispatch.register(Held, lambda x: 1)\n",
        "in module journal",
        "journal.renew_dispatch()",
    ),
    "monkeypatch": Scenario(
        "import journal\n" + FUNCTION + "journal.patched = held\n",
        "patched in module journal",
        "del journal.patched",
    ),
    "monkeypatch of a builtin": Scenario(
        "import builtins\n" + FUNCTION + "builtins.horae_held = held\n",
        "builtins: horae_held",
        "import builtins; del builtins.horae_held",
    ),
    "fake module in sys.modules": Scenario(
        "import sys, types\n" + FUNCTION + "m = types.ModuleType('acme_fake'); m.held = held\n"
        "sys.modules['acme_fake'] = m\n",
        "acme_fake",
        "import sys; del sys.modules['acme_fake']",
    ),
    "attribute on a package of others": Scenario(
        "import journal, sys\n" + FUNCTION + "journal.acme = sys.modules[__name__]\n",
        "acme in module journal",
        "del journal.acme",
    ),
    "atexit": Scenario(
        _REGISTERS.format(
            module="atexit, journal", call="journal.f = journal.weakly(held)\natexit.register(held)"
        ),
        "atexit: acme_plugin.held",
        "import atexit; atexit.unregister(journal.f())",
    ),
    "atexit with a bound method": Scenario(
        "import atexit, journal\n" + CLASS + "it = Held(); journal.f = journal.weakly(it)\n"
        "atexit.register(it.method)\n",
        "atexit: acme_plugin.Held.method",
        "import atexit; atexit.unregister(journal.f().method)",
    ),
    "signal handler": Scenario(
        _REGISTERS.format(module="signal", call="signal.signal(signal.SIGUSR2, held)"),
        "signal: SIGUSR2",
        "import signal; signal.signal(signal.SIGUSR2, signal.SIG_DFL)",
    ),
    "sys.excepthook": Scenario(
        _REGISTERS.format(module="sys", call="sys.excepthook = held"),
        "sys: excepthook",
        "import sys; sys.excepthook = sys.__excepthook__",
    ),
    "sys.unraisablehook": Scenario(
        _REGISTERS.format(
            module="sys, journal",
            call="journal.hook = sys.unraisablehook\nsys.unraisablehook = held",
        ),
        "sys: unraisablehook",
        "import sys; sys.unraisablehook = journal.hook",
    ),
    "threading.excepthook": Scenario(
        _REGISTERS.format(
            module="threading, journal",
            call="journal.hook = threading.excepthook\nthreading.excepthook = held",
        ),
        "threading: excepthook",
        "import threading; threading.excepthook = journal.hook",
    ),
    "sys.stdout": Scenario(
        "import sys, journal, io\njournal.out = sys.stdout\nclass Out(io.StringIO): pass\n"
        "sys.stdout = Out()\n",
        "sys: stdout",
        "import sys; sys.stdout = journal.out",
    ),
    "sys.meta_path": Scenario(
        "import sys\nclass Finder:\n    @staticmethod\n    def find_spec(*_): return None\n"
        "sys.meta_path.append(Finder)\n",
        "sys.meta_path: acme_plugin.Finder",
        "import sys; sys.meta_path.pop()",
    ),
    "sys.path_hooks": Scenario(
        "import sys\ndef hook(path): raise ImportError\nsys.path_hooks.append(hook)\n",
        "sys.path_hooks: acme_plugin.hook",
        "import sys; sys.path_hooks.pop(); sys.path_importer_cache.clear()",
    ),
    "gc.callbacks": Scenario(
        _REGISTERS.format(module="gc", call="gc.callbacks.append(held)"),
        "gc.callbacks: acme_plugin.held",
        "import gc; gc.callbacks.pop()",
    ),
    "codecs.register": Scenario(
        "import codecs, journal\ndef search(name): return None\ncodecs.register(search)\n"
        "journal.f = journal.weakly(search)\n",
        "codecs.register",
        "import codecs; codecs.unregister(journal.f())",
    ),
    "codecs.register_error": Scenario(
        _REGISTERS.format(module="codecs", call="codecs.register_error('acme', held)"),
        "codecs.register_error",
        "import codecs; codecs.register_error('acme', codecs.strict_errors)",
    ),
    "copyreg": Scenario(
        "import copyreg\nclass Held: pass\ncopyreg.pickle(Held, repr)\n",
        "copyreg: acme_plugin.Held",
        "import copyreg; copyreg.dispatch_table.popitem()",
    ),
    "sqlite3 adapter": Scenario(
        "import sqlite3\nclass Held: pass\nsqlite3.register_adapter(Held, repr)\n",
        "sqlite3",
        "import sqlite3; sqlite3.adapters.popitem()",
    ),
    "warnings filter": Scenario(
        "import warnings\nclass W(Warning): pass\nwarnings.simplefilter('ignore', W)\n",
        "warnings.filters: ignore W",
        "import warnings; warnings.filters.pop(0)",
    ),
    "structlog processor": Scenario(
        "import structlog\ndef add(logger, name, event): return event\n"
        "structlog.get_config()['processors'].insert(0, add)\n",
        "structlog processors: acme_plugin.add",
        "import structlog; structlog.get_config()['processors'].pop(0)",
    ),
    "handler on the root logger": Scenario(
        "import logging\nclass H(logging.Handler):\n    def emit(self, r): pass\n"
        "logging.root.addHandler(H())\n",
        "logger 'root': handler acme_plugin.H",
        "import logging; logging.root.removeHandler(logging.root.handlers[-1])",
    ),
    "handler on a logger of others": Scenario(
        "import logging\nclass H(logging.Handler):\n    def emit(self, r): pass\n"
        "logging.getLogger('journal').addHandler(H())\n",
        "logger 'journal': handler acme_plugin.H",
        "import logging; logging.getLogger('journal').handlers.clear()",
    ),
    "handler on the plugin's own logger": Scenario(
        "import logging\nclass H(logging.Handler):\n    def emit(self, r): pass\n"
        "logging.getLogger(__name__).addHandler(H())\n",
        "logger 'acme_plugin': handler acme_plugin.H",
        "import logging; logging.getLogger('acme_plugin').handlers.clear()",
    ),
    "filter on a logger": Scenario(
        "import logging\ndef keep(record): return True\n"
        "logging.getLogger('journal').addFilter(keep)\n",
        "logger 'journal': filter acme_plugin.keep",
        "import logging; logging.getLogger('journal').filters.clear()",
    ),
    "class of loggers": Scenario(
        "import logging\nclass L(logging.Logger): pass\nlogging.setLoggerClass(L)\n",
        "logging: class of loggers",
        "import logging; logging.setLoggerClass(logging.Logger)",
    ),
    "exception kept by others": Scenario(
        "import journal\ndef fail(): 1 / 0\ntry:\n    fail()\nexcept ZeroDivisionError as e:\n"
        "    journal.error = e\n",
        "exception builtins.ZeroDivisionError <- error in module journal",
        "del journal.error",
    ),
    "sys.last_value": Scenario(
        "import sys\ndef fail(): 1 / 0\ntry:\n    fail()\nexcept ZeroDivisionError as e:\n"
        "    sys.last_value = e\n",
        "last_value in module sys",
        "import sys; del sys.last_value",
    ),
    "instance of its own exception": Scenario(
        "import journal\nclass E(Exception): pass\njournal.error = E()\n",
        "error in module journal",
        "del journal.error",
    ),
    "suspended generator of others": Scenario(
        "import journal\ndef g():\n    yield 1\njournal.still = g(); next(journal.still)\n",
        "generator g <- still in module journal",
        "del journal.still",
    ),
    "thread": Scenario(
        "import threading, journal\ndef forever(): journal.stop.wait(60)\n"
        "threading.Thread(target=forever, daemon=True, name='tide').start()\n",
        "thread 'tide'",
        "journal.stop.set()",
    ),
    "thread of others, called from it": Scenario(
        "import threading, journal\nclass Held:\n    def __call__(self): journal.stop.wait(60)\n"
        "threading.Thread(target=journal.calling, args=(Held(),), daemon=True, name='t').start()\n",
        "thread 't'",
        "journal.stop.set()",
    ),
    "timer": Scenario(
        "import threading, journal\n"
        + FUNCTION
        + "journal.timer = threading.Timer(60, held); journal.timer.start()\n",
        "thread 'Thread-",
        "journal.timer.cancel(); journal.timer.join(); del journal.timer",
    ),
    "busy thread pool": Scenario(
        "from concurrent.futures import ThreadPoolExecutor\nimport journal\n"
        "def forever(): journal.stop.wait(60)\npool = ThreadPoolExecutor(1, 'busy')\n"
        "pool.submit(forever)\n",
        "thread 'busy_0'",
        "journal.stop.set()",
    ),
    "callback of a future of others": Scenario(
        "import journal\n" + FUNCTION + "journal.future.add_done_callback(held)\n",
        "future in module journal",
        "del journal.future",
    ),
    "timer of a loop of others": Scenario(
        "import journal\n" + FUNCTION + "journal.timer = journal.loop.call_later(60, held)\n",
        "in module journal",
        "journal.timer.cancel(); del journal.timer",
    ),
    "task of a loop of others": Scenario(
        "import asyncio, journal\nasync def c(): await asyncio.sleep(60)\n"
        "journal.task = journal.loop.create_task(c())\n",
        "in module journal",
        "journal.task.cancel(); journal.loop.run_until_complete(journal.idle()); del journal.task",
    ),
    "context variable of the process": Scenario(
        "import journal\n" + CLASS + "journal.context.run(journal.variable.set, Held)\n",
        "one of its variables journal.variable",
        "journal.context.run(journal.variable.set, None)",
    ),
    "weak key held by its value": Scenario(
        "import journal\nclass Held: pass\njournal.weak_keys[Held] = Held()\n",
        "weak_keys in module journal",
        "journal.weak_keys.clear()",
    ),
    "finalizer of an object of others": Scenario(
        "import weakref, journal\n"
        + FUNCTION
        + "journal.finalizer = weakref.finalize(journal.Keeper, held)\n",
        "module weakref",
        "journal.finalizer.detach(); del journal.finalizer",
    ),
    "error in the registry of mimetypes": Scenario(
        "import mimetypes\nclass T(dict): pass\nmimetypes.types_map['.acme'] = T()\n",
        "types_map in module mimetypes",
        "import mimetypes; del mimetypes.types_map['.acme']",
    ),
}
