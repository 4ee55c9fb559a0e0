# SPDX-License-Identifier: Apache-2.0
"""What the package is: metadata, requirements, the command. Settings of the tools are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent
VERSION = re.search(r'^__version__ = "(.+)"$', (HERE / "logagent" / "__init__.py").read_text(), re.MULTILINE)
assert VERSION, "logagent/__init__.py names no version"
README = HERE / "README.md"

DEMO = ["confluent-kafka>=2.5"]
TEST = [*DEMO, "hypothesis>=6.100", "pytest>=8.2", "pytest-timeout>=2.3", "pyyaml>=6", "trustme>=1.1"]
FLEET = ["ansible-core>=2.16.19,!=2.17.*"]
MACHINES = ["ansible-lint>=25.1", "molecule>=26.4", "pytest-testinfra>=10.2", "setuptools>=70.1,<82"]
LINT = ["import-linter>=2.1", "mypy>=1.13", "ruff>=0.9"]

setup(
    name="logagent",
    version=VERSION[1],
    description="Ships log files to Kafka: every line once, in order, at the rate you allow.",
    long_description=README.read_text() if README.exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: No Input/Output (Daemon)",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: System :: Logging",
    ],
    python_requires=">=3.11",
    packages=find_packages(include=["logagent", "logagent.*"]),
    data_files=[("share/man/man1", ["man/logagent.1"])],
    install_requires=[
        "click>=8.1",
        "configobj>=5.0.8",
        "crc32c>=2.7",
        "gevent>=24.2",
        "inotify_simple>=1.3.5",
        "prometheus_client>=0.20",
        "pykafka==2.8.0",
        "python-etcd==0.4.5",  # the last one released; its transport is wrapped, so another one needs a look
        "rich>=13.7",
        "setuptools<82",  # pykafka imports pkg_resources, which newer ones no longer have
        "urllib3>=2.2,!=2.6.0,<3",  # 2.6.0 lacks getheader, without which python-etcd fails on every request
    ],
    extras_require={
        "demo": DEMO,
        "test": TEST,
        "lint": LINT,
        "dev": TEST + LINT,
        "fleet": FLEET,  # rolls out
        "molecule": TEST + FLEET + MACHINES,  # proves that on machines
    },
    entry_points={"console_scripts": ["logagent = logagent.__main__:main"]},
    zip_safe=False,
)
