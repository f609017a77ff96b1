"""Compiles the modules that verify commits, with mypyc: the same sources, a third faster.

python deploy/compile.py            # beside the sources, where Python prefers them
python deploy/compile.py FOLDER     # the whole package, compiled, in another folder
python deploy/compile.py --remove   # back to plain Python

Nothing needs this: everything works the same without. A C compiler and setuptools must be there.
A changed source is not seen before it is compiled again, so the compiled files name the sources
that they were made from, and a test refuses those that are behind.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "firehose" / "atdex_firehose"
OTHERS = (ROOT / "lexicons" / "atdex_lexicons", ROOT / "xrpc" / "atdex_xrpc")
MODULES = (
    "car",
    "commit",
    "crypto",
    "events",
    "evidence",
    "frames",
    "handover",
    "items",
    "jetstream_upstream",
    "lanes",
    "ledger",
    "mst_invert",
    "mst_nodes",
    "patterns",
    "pipeline",
    "repo",
    "upstream",
    "verify",
    "watermark",
)
"""What every commit goes through. What waits for the network gains nothing."""
MADE_FROM = "compiled_from.txt"
"""Beside compiled modules: the digest of the sources that they were made from."""


def digest() -> str:
    """Of the sources of the package: they are compiled together."""
    sources = hashlib.sha256(sys.version.encode())
    for path in sorted(PACKAGE.glob("*.py")):
        sources.update(path.name.encode() + path.read_bytes())
    return sources.hexdigest()


def compile_into(folder: Path) -> None:
    """The packages that the firehose needs, in `folder`, its own one compiled."""
    folder.mkdir(parents=True, exist_ok=True)
    made_from = folder / PACKAGE.name / MADE_FROM
    if made_from.is_file() and made_from.read_text() == digest():
        return
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        for package in (PACKAGE, *OTHERS):
            shutil.copytree(
                package, work / package.name, ignore=shutil.ignore_patterns("*.so", "__pycache__")
            )
        command = [str(Path(sys.executable).with_name("mypyc"))]
        command += ["--ignore-missing-imports", "--follow-imports=silent"]
        command += [f"{PACKAGE.name}/{module}.py" for module in MODULES]
        subprocess.run(command, cwd=work, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        (work / PACKAGE.name / MADE_FROM).write_text(digest())
        shutil.rmtree(work / "build")
        for found in work.iterdir():
            target = folder / found.name
            if target.is_dir():
                shutil.rmtree(target)
            shutil.move(found, target)


def compile_here() -> None:
    """The compiled modules beside their sources."""
    with tempfile.TemporaryDirectory() as temporary:
        compile_into(Path(temporary))
        remove()
        for found in Path(temporary).glob("*.so"):
            shutil.move(found, PACKAGE.parent / found.name)
        for found in (Path(temporary) / PACKAGE.name).glob("*.so"):
            shutil.move(found, PACKAGE / found.name)
        shutil.move(Path(temporary) / PACKAGE.name / MADE_FROM, PACKAGE / MADE_FROM)


def remove() -> None:
    """Take compiled modules away."""
    for found in (*PACKAGE.glob("*.so"), *PACKAGE.parent.glob("*.so"), PACKAGE / MADE_FROM):
        found.unlink(missing_ok=True)


def main(arguments: list[str]) -> None:
    if arguments == ["--remove"]:
        remove()
    elif arguments:
        compile_into(Path(arguments[0]).resolve())
    else:
        compile_here()


if __name__ == "__main__":
    main(sys.argv[1:])
