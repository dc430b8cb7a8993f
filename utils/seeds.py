"""Training once per seed: in this process, in several or on a cluster, and never twice for one recorded run.

A chapter writes `errors = seeds.each(train, range(10), depth)` for `[train(depth, seed) for seed in range(10)]`.
In a notebook that is all it does. A full run, started by `make run`, keeps every finished result on disk, so that
a run which was stopped goes on where it was.
"""

from __future__ import annotations

import copyreg
import hashlib
import importlib
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from utils import results, run


def each(function: Callable[..., Any], seeds: Iterable[int], *arguments: Any, label: str = "") -> list[Any]:
    """`[function(*arguments, seed) for seed in seeds]`, with all generators seeded before each call.

    A call depends on its arguments alone and gives its result back: what it changes elsewhere is lost where it runs
    in another process or ran before. Three variables of the environment say how calls are made: WALKTHROUGHS_JOBS,
    in how many processes of one thread; DASK_SCHEDULER_ADDRESS, on which cluster; WALKTHROUGHS_KEPT, in which folder
    results are kept. Without them the calls are made here, one after the other. All ways give the same results, but
    for the generator of Python's `random` on a cluster, from which the worker's own threads draw too: use torch's,
    numpy's or one of your own there.

    Args:
        function: defined with `def`, at the top of the chapter.
        seeds: seeds, folds or splits: whole numbers.
        arguments: numbers, texts, functions, classes, or lists, tuples and dicts of them.
        label: for the progress line; the function's name if empty.

    Raises:
        TypeError: results are kept, and the function or an argument has no name to keep them under.
        ValueError: a worker of the cluster has several threads; they would draw from one generator.
    """
    seeds, label, folder = list(seeds), label or function.__name__, os.environ.get("WALKTHROUGHS_KEPT")
    jobs, cluster = int(os.environ.get("WALKTHROUGHS_JOBS", "1")), os.environ.get("DASK_SCHEDULER_ADDRESS")
    if not (folder or cluster or jobs > 1):
        return [_call(function, arguments, seed) for seed in run.progress(seeds, label)]
    places = {seed: Path(folder) / f"{_key(function, arguments)}-{seed}.pickle" for seed in seeds} if folder else {}
    found = {seed: pickle.loads(place.read_bytes()) for seed, place in places.items() if place.exists()}
    left = [seed for seed in dict.fromkeys(seeds) if seed not in found]
    print(f"{label}: {len(found)} done before, {len(left)} left", flush=True)
    began = time.time()
    for count, (seed, result) in enumerate(_made(function, arguments, left, jobs, cluster), 1):
        found[seed] = result
        if folder:
            results.write_whole(places[seed], pickle.dumps(result))
        end = time.localtime(time.time() + (time.time() - began) / count * (len(left) - count))
        print(f"{label}: {len(found)} done, {len(left) - count} left, end at {time.strftime('%H:%M', end)}", flush=True)
    return [found[seed] for seed in seeds]


def _made(
    function: Callable[..., Any], arguments: tuple[Any, ...], seeds: list[int], jobs: int, cluster: str | None
) -> Iterator[tuple[int, Any]]:
    """Each seed with its result, as soon as it is there."""
    if not seeds or (jobs < 2 and not cluster):
        for seed in seeds:
            yield seed, _call(function, arguments, seed)
        return
    import joblib

    if "torch" in sys.modules:  # whose two make-believe modules travel with any function that says `.classes` or `.ops`
        for module in (sys.modules["torch"].classes, sys.modules["torch"].ops):
            copyreg.pickle(type(module), lambda module: (importlib.import_module, (module.__name__,)))
    calls = [joblib.delayed(_alone)(function, arguments, seed) for seed in seeds]
    if not cluster:
        with joblib.parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1):
            yield from joblib.Parallel(return_as="generator_unordered")(calls)
        joblib.externals.loky.get_reusable_executor().shutdown(wait=True)  # their data go with them
        return
    from distributed import Client

    with Client(cluster) as client, joblib.parallel_config("dask"):
        if set(client.nthreads().values()) - {1}:
            raise ValueError(f"every worker of {cluster} needs one thread: dask worker --nthreads 1")
        yield from joblib.Parallel(return_as="generator_unordered")(calls)


def _call(function: Callable[..., Any], arguments: tuple[Any, ...], seed: int) -> Any:
    run.seed_everything(seed)
    return function(*arguments, seed)


def _alone(function: Callable[..., Any], arguments: tuple[Any, ...], seed: int) -> tuple[int, Any]:
    """One call in a process of its own, on one thread."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    return seed, _call(function, arguments, seed)


def _key(function: Callable[..., Any], arguments: tuple[Any, ...]) -> str:
    """A file name for the results of a function called with these arguments."""
    text = repr([_plain(function), *map(_plain, arguments)])
    return f"{function.__name__}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _plain(value: Any) -> Any:
    """The value in a form whose text is the same in every process."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *map(_plain, value)]
    if isinstance(value, dict):
        return {_plain(key): _plain(entry) for key, entry in value.items()}
    name = getattr(value, "__qualname__", "")
    if not name or "<" in name:
        raise TypeError(f"{value!r} has no name to keep results under: pass a function defined by def, or its name")
    return f"{value.__module__}.{name}"
