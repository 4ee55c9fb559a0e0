# SPDX-License-Identifier: Apache-2.0
"""Packs one archive from which hosts install the agent without compiler, index or network.

It holds a directory wheels/ with logagent, everything it needs, and pip, for every target Python, and per Python a
requirements-X.Y.txt with the SHA-256 of each wheel. The same source and the same versions make the same bytes.
"""

import argparse
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
# What glibc 2.28 and newer can load; pip takes only the platforms that are named.
PLATFORMS = (
    "manylinux_2_28",
    "manylinux_2_27",
    "manylinux_2_24",
    "manylinux_2_17",
    "manylinux2014",
    "manylinux1",
)
# Wheels hold the times of their files: those of 1980, the first that a zip knows, are the same everywhere.
EPOCH_S = "315532800"


def run_pip(*arguments: str) -> None:
    """SystemExit with the end of what pip said when it fails."""
    argv = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    environment = os.environ | {"SOURCE_DATE_EPOCH": EPOCH_S}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"pip {arguments[0]} failed: {' '.join((done.stderr or done.stdout).split()[-80:])}")


def copy_source(tree: Path, out: Path) -> Path:
    """What the package is made of, and nothing that an earlier build left beside it."""
    shutil.copytree(tree / "logagent", out / "logagent", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(tree / "man", out / "man")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(tree / name, out)
    return out


def build(source: Path, out: Path, *options: str) -> Path:
    """The wheel of the agent itself."""
    run_pip("wheel", "--no-deps", *options, "--wheel-dir", str(out), str(source))
    return next(out.glob("logagent-*.whl"))


def collect(wheel: Path, pythons: Iterable[str], machine: str, work: Path) -> dict[str, list[Path]]:
    """The wheels that `wheel` needs, per target Python. Nothing of them comes from this machine's Python."""
    # Some packages come as source only: what builds to a wheel for any Python serves all targets.
    anywhere = work / "any"
    run_pip("wheel", "--wheel-dir", str(work / "built"), str(wheel))
    anywhere.mkdir()
    for built in (work / "built").glob("*-none-any.whl"):
        built.rename(anywhere / built.name)
    found = {}
    for python in pythons:
        target = work / python
        platforms = [f"--platform={name}_{machine}" for name in PLATFORMS]
        options = [
            "--only-binary=:all:",
            f"--python-version={python}",
            *platforms,
            f"--find-links={anywhere}",
        ]
        run_pip("download", "--dest", str(target), *options, str(wheel), "pip")
        found[python] = sorted(target.glob("*.whl"))
    return found


def requirements(wheels: Iterable[Path]) -> str:
    """One line per wheel, in the form that pip checks with --require-hashes."""
    lines = []
    for wheel in wheels:
        name, version = wheel.name.split("-")[:2]
        if name != "pip":
            digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
            lines.append(f"{name}=={version} --hash=sha256:{digest}\n")
    return "".join(lines)


def pack(found: dict[str, list[Path]], out: Path) -> str:
    """Write the archive and, beside it, its SHA-256 as sha256sum prints it; returns the digest."""
    files = {f"wheels/{wheel.name}": wheel.read_bytes() for wheels in found.values() for wheel in wheels}
    files |= {f"requirements-{python}.txt": requirements(wheels).encode() for python, wheels in found.items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(out.name + ".tmp")
    with tarfile.open(temporary, "w") as archive:
        for name, data in sorted(files.items()):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            archive.addfile(info, io.BytesIO(data))
    digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
    os.replace(temporary, out)
    out.with_name(out.name + ".sha256").write_text(f"{digest}  {out.name}\n")
    return digest


def cache_dir() -> Path:
    """Where everything goes that is made once; the same place as in the shell scripts."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "logagent"
    return Path(os.environ.get("LOGAGENT_CACHE") or default)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--source", type=Path, default=ROOT, help="source tree of the agent (default: this one)"
    )
    parser.add_argument("--pythons", default=",".join(PYTHONS), help="of the hosts (default: %(default)s)")
    parser.add_argument("--machine", default="x86_64", help="of the hosts (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="default: wheelhouse/logagent-VERSION.tar in the cache")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        wheel = build(copy_source(options.source, work / "source"), work / "agent")
        found = collect(wheel, options.pythons.split(","), options.machine, work)
        version = wheel.name.split("-")[1]
        out = options.output or cache_dir() / "wheelhouse" / f"logagent-{version}.tar"
        digest = pack(found, out)
    print(f"{out}\n{out.stat().st_size / 1e6:.1f} MB for Python {options.pythons}, sha256 {digest}")


if __name__ == "__main__":
    main()
