"""Package metadata; ``./run.sh`` installs the pinned versions of conf/requirements.txt."""

import re
from pathlib import Path

from setuptools import find_packages, setup

root = Path(__file__).parent
version = re.search(r'__version__ = "(.+)"', (root / "cascade_asr/version.py").read_text())[1]

setup(
    name="cascade_asr",
    version=version,
    description="Speech recipe toolkit for top-down cascade training",
    long_description=(root / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.13",
    entry_points={"console_scripts": ["cascade-asr = cascade_asr.cli.main:main"]},
    packages=find_packages(include=["cascade_asr", "cascade_asr.*"]),
    install_requires=[
        "torch>=2.11",
        "espnet>=202511",
        "kaldi-native-fbank",
        "kaldiio",
        "lightning-fabric",
        "numpy",
        "jiwer",
        "pyyaml",
        "sentencepiece",
        "soundfile",
        "tensorboard",
        "tqdm",
    ],
)
