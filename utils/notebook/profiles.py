"""How a run is set up: its profile, its device, its seeds.

Three profiles: *smoke* runs every cell with tiny settings in seconds and judges nothing; *quick*, the default, is what
the stored outputs show; *full* is the paper's protocol, as far as it runs.
"""

from __future__ import annotations

import os
import random
import sys
from typing import Any

PROFILES = ("smoke", "quick", "full")


def profile() -> str:
    """The profile named by WALKTHROUGHS_PROFILE; quick where that is not set or empty.

    Raises:
        ValueError: any other name.
    """
    name = os.environ.get("WALKTHROUGHS_PROFILE") or "quick"
    if name not in PROFILES:
        raise ValueError(f"WALKTHROUGHS_PROFILE is {name!r}; it must be one of {', '.join(PROFILES)}")
    return name


def device() -> str:
    """The device of this run: cuda where there is one, except in the quick profile, whose results must repeat.

    WALKTHROUGHS_DEVICE (cpu or cuda) decides otherwise.
    """
    if chosen := os.environ.get("WALKTHROUGHS_DEVICE"):
        if chosen not in ("cpu", "cuda"):
            raise ValueError(f"WALKTHROUGHS_DEVICE is {chosen!r}; it must be cpu or cuda")
        return chosen
    if profile() == "quick":
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def seed_shift() -> int:
    """What WALKTHROUGHS_SEED_SHIFT adds to every seed of a run: other draws, as on another processor.

    Raises:
        ValueError: not a whole number.
    """
    text = os.environ.get("WALKTHROUGHS_SEED_SHIFT") or "0"
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"WALKTHROUGHS_SEED_SHIFT is {text!r}; it must be a whole number") from None


def seed_everything(seed: int) -> None:
    """Seed Python's generator and those of numpy, torch and tensorflow, as far as they are loaded."""
    random.seed(seed + seed_shift())
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].random.set_seed(seed)


def shift_seeds() -> None:
    """Add the shift to what numpy, torch and tensorflow are seeded with from now on; nothing where it is 0.

    It is done in the libraries, so that a chapter's own `default_rng(3)` is shifted as well, and numbers that are no
    seeds, of folds and splits, stay as they are.
    """
    shift = seed_shift()
    if not shift:
        return
    if "numpy" in sys.modules:
        numpy = sys.modules["numpy"]
        _replace(numpy.random, "seed", lambda original: lambda seed=None: original(_moved(seed, shift)))
        _replace(numpy.random, "default_rng", lambda original: lambda seed=None: original(_moved(seed, shift)))
        _replace(numpy.random, "SFC64", lambda original: lambda seed=None: original(_moved(seed, shift)))
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        _replace(torch, "manual_seed", lambda original: lambda seed: original(int(seed) + shift))
        _replace(torch, "Generator", lambda original: _shifted_generator(original, shift))
    if "tensorflow" in sys.modules:
        tensorflow = sys.modules["tensorflow"]
        _replace(tensorflow.random, "set_seed", lambda original: lambda seed: original(int(seed) + shift))


def _replace(owner: Any, name: str, made: Any) -> None:
    """Put made(original) in the place of an attribute, once."""
    original = getattr(owner, name)
    if not getattr(original, "shifted", False):
        changed = made(original)
        changed.shifted = True
        setattr(owner, name, changed)


def _moved(seed: Any, shift: int) -> Any:
    """A seed of numpy with the shift: whole numbers, and lists of them."""
    if isinstance(seed, (list, tuple)):
        return [*seed, shift]
    return seed if seed is None or not hasattr(seed, "__index__") else int(seed) + shift


def _shifted_generator(original: Any, shift: int) -> Any:
    class Generator(original):
        def manual_seed(self, seed: int) -> Any:
            super().manual_seed(int(seed) + shift)
            return self

    return Generator


def progress(iterable: Any, label: str) -> Any:
    """The iterable with a progress bar; without one where outputs are stored or compared."""
    if "WALKTHROUGHS_QUIET" in os.environ:
        return iterable
    from tqdm.auto import tqdm

    return tqdm(iterable, desc=label, leave=False)
