"""Training once per seed: in this process, in several or on a cluster, and never twice for one recorded run.

A chapter writes `errors = seeds.each(train, range(10), depth)` for `[train(depth, seed) for seed in range(10)]`.
In a notebook that is all it does. A full run, started by `make run`, keeps every finished result on disk, so that
a run which was stopped goes on where it was.
"""

from __future__ import annotations

import copyreg
import functools
import hashlib
import importlib
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from utils.notebook import profiles
from utils.records import runs

_kept: list[float] = []  # processor seconds of each result that was found on disk


def kept_seconds() -> float:
    """Processor seconds that went into the results which this run found on disk."""
    return sum(_kept)


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
        TypeError: in every profile: the function or an argument has no name to keep results under.
        ValueError: a worker of the cluster has several threads; they would draw from one generator. Or
            WALKTHROUGHS_JOBS is not a whole number above 0, or a kept result is damaged; the message names the file.
    """
    seeds, label, folder = list(seeds), label or function.__name__, os.environ.get("WALKTHROUGHS_KEPT")
    key, jobs, cluster = _key(function, arguments), _jobs(), os.environ.get("DASK_SCHEDULER_ADDRESS")
    if not (folder or cluster or jobs > 1):
        return [_call(function, arguments, seed) for seed in profiles.progress(seeds, label)]
    places = {seed: Path(folder) / f"{key}-{seed}.pickle" for seed in seeds} if folder else {}
    found = {seed: _kept_result(place) for seed, place in places.items() if place.exists()}
    left = [seed for seed in dict.fromkeys(seeds) if seed not in found]
    print(f"{label}: {len(found)} done before, {len(left)} left", flush=True)
    began = time.time()
    for count, (seed, result, seconds) in enumerate(_made(function, arguments, left, jobs, cluster), 1):
        found[seed] = result
        if folder:
            runs.write_whole(places[seed], pickle.dumps({"result": result, "seconds": seconds}))
        end = time.localtime(time.time() + (time.time() - began) / count * (len(left) - count))
        print(f"{label}: {len(found)} done, {len(left) - count} left, end at {time.strftime('%H:%M', end)}", flush=True)
    return [found[seed] for seed in seeds]


def _jobs() -> int:
    text = os.environ.get("WALKTHROUGHS_JOBS") or "1"
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"WALKTHROUGHS_JOBS is {text!r}; it must be a whole number above 0")
    return int(text)


def _kept_result(place: Path) -> Any:
    """A result from disk; its cost is added to that of this run."""
    try:
        kept = pickle.loads(place.read_bytes())
        result, seconds = kept["result"], kept["seconds"]
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{place} is not a whole result ({error!r}): delete it and start the run again") from error
    _kept.append(seconds)
    return result


def _made(
    function: Callable[..., Any], arguments: tuple[Any, ...], seeds: list[int], jobs: int, cluster: str | None
) -> Iterator[tuple[int, Any, float]]:
    """Each seed with its result and its processor seconds, as soon as they are there."""
    if not seeds or (jobs < 2 and not cluster):
        for seed in seeds:
            began = time.process_time()
            result = _call(function, arguments, seed)
            yield seed, result, time.process_time() - began
        return
    import joblib

    copyreg.pickle(functools._lru_cache_wrapper, _fresh_cache)  # else looked up by name, which workers do not know
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


def _fresh_cache(cached: Any) -> tuple[Callable[..., Any], tuple[dict[str, Any], Callable[..., Any]]]:
    """How a function under functools.cache travels: as the function, with an empty cache."""
    return _cached, (cached.cache_parameters(), cached.__wrapped__)


def _cached(parameters: dict[str, Any], function: Callable[..., Any]) -> Any:
    return functools.lru_cache(**parameters)(function)


def _call(function: Callable[..., Any], arguments: tuple[Any, ...], seed: int) -> Any:
    profiles.seed_everything(seed)
    return function(*arguments, seed)


def _alone(function: Callable[..., Any], arguments: tuple[Any, ...], seed: int) -> tuple[int, Any, float]:
    """One call in a process of its own, on one thread."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    profiles.shift_seeds()
    began = time.process_time()
    result = _call(function, arguments, seed)
    return seed, result, time.process_time() - began


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
