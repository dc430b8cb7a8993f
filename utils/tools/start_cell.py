# Makes the book's helper code importable, wherever this notebook runs.
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

REPOSITORY = ""

here = Path.cwd()
fetched = here / "paper-walkthroughs"
folders = [here, *here.parents, fetched]
found = (f for f in folders if (f / "utils" / "records" / "claims.py").is_file())
root = next(found, None)
if root is None:
    unpacked = here / "paper-walkthroughs.part"  # renamed when it is whole
    shutil.rmtree(unpacked, ignore_errors=True)
    if fetched.exists():  # what an earlier try has left: put aside, not deleted
        spare = (here / f"paper-walkthroughs.old{n}" for n in range(100))
        fetched.rename(next(path for path in spare if not path.exists()))
    if Path("paper-walkthroughs.zip").is_file():
        with zipfile.ZipFile("paper-walkthroughs.zip") as archive:
            archive.extractall(unpacked)
    elif REPOSITORY:
        address = f"https://github.com/{REPOSITORY}"
        clone = ["git", "clone", "--quiet", "--depth", "1", address, str(unpacked)]
        done = subprocess.run(clone, capture_output=True, text=True)
        if done.returncode:
            message = f"git could not fetch {REPOSITORY}: {done.stderr.strip()}"
            raise RuntimeError(message)
    else:
        raise RuntimeError(
            "The book's helper files are not here. Put paper-walkthroughs.zip beside this notebook (the page "
            "'How to run a chapter' of the book has it), or open the notebook inside a clone of the book."
        )
    root = unpacked.rename(fetched)
if str(root) not in sys.path:
    sys.path.insert(0, str(root))
if "google.colab" in sys.modules:
    from utils.notebook import colab

    colab.install_missing()
