"""Import DGL 2.1.0 with today's torch: its unmaintained parts are stubbed, the rest works on the CPU.

Usable: graphs, message passing, dgl.nn, samplers. Not usable: dgl.graphbolt, dgl.sparse, DistDGL, GPU graphs.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import types
import warnings


class _Stub(types.ModuleType):
    """A module whose every public attribute is an empty class, enough for DGL's own imports to pass."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def load() -> types.ModuleType | None:
    """DGL as a module, or None where it is not installed.

    DGL's graphbolt is compiled for torch 2.0 to 2.2 and fails to load with any other; nothing in this book
    needs it, so an empty module takes its place before DGL looks for it.
    """
    if importlib.util.find_spec("dgl") is None:
        return None
    if "dgl" not in sys.modules:
        os.environ.setdefault("DGLBACKEND", "pytorch")
        sys.modules["dgl.graphbolt"] = _Stub("dgl.graphbolt")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import dgl

        dgl.graphbolt = sys.modules["dgl.graphbolt"]
    return sys.modules["dgl"]
