# SPDX-License-Identifier: Apache-2.0
"""``releases.py DIRECTORY``: the wheelhouses that the scenarios roll out, and the archive of the tests' writer.

base.tar is the agent of this tree. upgrade.tar is one whose state has a column more. broken.tar is one that changes the
state so that older ones cannot read it, leaves a copy of before, and never becomes ready. corrupt.tar is base.tar with
one byte of a wheel changed.
"""

import hashlib
import re
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from scripts import wheelhouse  # noqa: E402

DATABASE = "logagent/state/database.py"
OPENED = "                self._connection.execute(_SCHEMA)\n"


def version_of(tree: Path) -> str:
    """As the package says it."""
    return (tree / "logagent" / "__init__.py").read_text().split('__version__ = "')[1].split('"')[0]


def edit(path: Path, old: str, new: str) -> None:
    """Replace exactly one place; AssertionError when the source has moved on."""
    text = path.read_text()
    assert text.count(old) == 1, f"{path}: expected once: {old.strip()}"
    path.write_text(text.replace(old, new))


def rename(tree: Path, suffix: str) -> None:
    """Give the release a version of its own."""
    version = version_of(tree)
    edit(tree / "logagent/__init__.py", f'"{version}"', f'"{version}{suffix}"')


def add_column(tree: Path) -> None:
    """A change of the schema that older releases do not mind."""
    rename(tree, ".post1")
    more = """                columns = [row[1] for row in self._connection.execute("PRAGMA table_info(positions)")]
                if "seen_s" not in columns:
                    self._connection.execute("ALTER TABLE positions ADD COLUMN seen_s INTEGER NOT NULL DEFAULT 0")
"""
    edit(tree / DATABASE, OPENED, OPENED + more)
    found = re.search(r"^SCHEMA_VERSION = (\d+)$", (tree / DATABASE).read_text(), re.MULTILINE)
    assert found, f"{DATABASE} names no version of its schema"
    edit(tree / DATABASE, f"{found[0]}\n", f"SCHEMA_VERSION = {int(found[1]) + 1}\n")


def spoil(tree: Path) -> None:
    """A change that they would mind, and an end before ready."""
    rename(tree, ".post2")
    more = """                copy = path.with_name("state.db.bak")
                if not copy.exists():
                    self._connection.execute(f"VACUUM INTO '{copy}'")
                    self._connection.execute("ALTER TABLE positions RENAME TO places")
                raise StateError("this release never becomes ready")
"""
    edit(tree / DATABASE, OPENED, OPENED + more)


def dependencies() -> Path:
    """A wheelhouse with everything but the agent, made once."""
    what = (ROOT / "setup.py").read_bytes() + (ROOT / "scripts" / "wheelhouse.py").read_bytes()
    out = wheelhouse.cache_dir() / "wheelhouse" / f"dependencies-{hashlib.sha256(what).hexdigest()[:12]}.tar"
    if not out.exists():
        with tempfile.TemporaryDirectory() as place:
            work = Path(place)
            wheel = wheelhouse.build(wheelhouse.copy_source(ROOT, work / "source"), work / "agent")
            wheelhouse.pack(wheelhouse.collect(wheel, wheelhouse.PYTHONS, "x86_64", work), out)
    return out


def make(out: Path, change: Callable[[Path], None] | None, others: dict[str, list[Path]], work: Path) -> None:
    """One release with the dependencies that are there already."""
    tree = wheelhouse.copy_source(ROOT, work / "source")
    if change:
        change(tree)
    wheel = wheelhouse.build(tree, work / "agent", "--no-build-isolation")
    wheelhouse.pack({python: [*wheels, wheel] for python, wheels in others.items()}, out)


def unpack(archive: Path, work: Path) -> dict[str, list[Path]]:
    """The wheels of the archive but the agent's own, per Python."""
    (work / "wheels").mkdir(parents=True)
    with tarfile.open(archive) as file:
        for member in file.getnames():
            (work / member).write_bytes(file.extractfile(member).read())
    found = {}
    for listing in work.glob("requirements-*.txt"):
        python = listing.stem.removeprefix("requirements-")
        tags = ("-none-any", "-cp" + python.replace(".", "") + "-", "-abi3-")
        wheels = [one for one in sorted((work / "wheels").iterdir()) if any(tag in one.name for tag in tags)]
        found[python] = [one for one in wheels if not one.name.startswith("logagent-")]
    return found


def main() -> None:
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        others = unpack(dependencies(), work / "dependencies")
        for name, change in (("base", None), ("upgrade", add_column), ("broken", spoil)):
            make(out / f"{name}.tar", change, others, work / name)
    data = bytearray((out / "base.tar").read_bytes())
    data[data.index(b"PK\x03\x04", len(data) // 2) + 4] ^= 1
    (out / "corrupt.tar").write_bytes(data)
    with tarfile.open(out / "kit.tar", "w") as kit:
        for directory in ("logagent", "tests/support"):
            kit.add(
                ROOT / directory,
                f"kit/{directory}",
                filter=lambda one: None if "__pycache__" in one.name else one,
            )
        kit.add(ROOT / "tests/__init__.py", "kit/tests/__init__.py")
    (out / "version").write_text(version_of(ROOT))
    print(f"made for {version_of(ROOT)}")


if __name__ == "__main__":
    main()
