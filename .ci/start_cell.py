# Makes the book's helper code importable, wherever this notebook runs.
import subprocess
import sys
import zipfile
from pathlib import Path

REPOSITORY = ""

here = Path.cwd()
fetched = here / "paper-walkthroughs"
folders = [here, *here.parents, fetched]
found = (f for f in folders if (f / "utils" / "claims.py").is_file())
root = next(found, fetched)
if not root.exists():
    if Path("paper-walkthroughs.zip").is_file():
        zipfile.ZipFile("paper-walkthroughs.zip").extractall(root)
    elif REPOSITORY:
        address = f"https://github.com/{REPOSITORY}"
        clone = ["git", "clone", "--quiet", "--depth", "1", address, str(root)]
        done = subprocess.run(clone, capture_output=True, text=True)
        if done.returncode:
            message = f"git could not fetch {REPOSITORY}: {done.stderr.strip()}"
            raise RuntimeError(message)
    else:
        raise RuntimeError(
            "The book's helper files are not here. Put paper-walkthroughs.zip beside this notebook (the page "
            "'How to run a chapter' of the book has it), or open the notebook inside a clone of the book."
        )
if str(root) not in sys.path:
    sys.path.insert(0, str(root))
if "google.colab" in sys.modules:
    from utils import colab

    colab.install_missing()
