"""C extensions, built where there is a compiler."""

import importlib.machinery
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Final

COMPILER: Final = shutil.which("gcc") or shutil.which("cc")

SOURCE: Final = """
#include <Python.h>
static PyObject *value(PyObject *self, PyObject *none) { return PyLong_FromLong(VALUE); }
static PyMethodDef methods[] = {{"value", value, METH_NOARGS, ""}, {0, 0, 0, 0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "native", "", -1, methods};
PyMODINIT_FUNC PyInit_native(void) { return PyModule_Create(&module); }
"""

FILE: Final = f"native{importlib.machinery.EXTENSION_SUFFIXES[0]}"
"""What the compiled module ``native`` is called."""


def build_extension(folder: Path, value: int) -> bytes:
    """A compiled module ``native``, whose function ``value`` gives ``value``."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / f"native_{value}.c"
    source.write_text(SOURCE.replace("VALUE", str(value)))
    out = source.with_suffix(".so")
    include = sysconfig.get_path("include")
    command = [
        str(COMPILER),
        "-shared",
        "-fPIC",
        "-O0",
        f"-I{include}",
        str(source),
        "-o",
        str(out),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return out.read_bytes()
