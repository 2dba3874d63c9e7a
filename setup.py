"""Package metadata; ``./run.sh`` installs the pinned versions of conf/requirements.txt.

``pip install`` of this folder resolves without backtracking, because espnet is not among the
requirements: it asks for setuptools<74 and torch for setuptools>=77, between which pip would
settle on an older torch, and for a hundred packages that are not used here. So it takes two
steps, the first one for the CPU build of torch where there is no GPU (docs/install.md):

    pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu
    pip install . && pip install --no-deps espnet==202511

utils/, conf/, egs/TEMPLATE and path.sh are copied into the package as ``cascade_asr/share``;
``cascade_asr.files.toolkit_folder`` finds them there and in a clone.
"""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

root = Path(__file__).parent
version = re.search(r'__version__ = "(.+)"', (root / "cascade_asr/version.py").read_text())[1]
tested = {
    name.lower().replace("_", "-"): number
    for file in ("conf/requirements.txt", "tests/requirements.txt")
    for name, number in re.findall(r"(?m)^([\w.-]+)==(\S+)", (root / file).read_text())
}


class BuildWithShare(build_py):
    """Adds what recipes need of the clone: scripts, configurations, the environment."""

    def run(self):
        super().run()
        if self.editable_mode:
            return  # they are found in the clone
        share = Path(self.build_lib) / "cascade_asr/share"
        shutil.rmtree(share, ignore_errors=True)
        for name in ("utils", "conf", "egs/TEMPLATE"):
            ignored = shutil.ignore_patterns("data", "dump", "exp", "downloads", "__pycache__")
            shutil.copytree(root / name, share / name, ignore=ignored)
        shutil.copy2(root / "path.sh", share / "path.sh")


def pinned(*names):
    """Requirements in the tested version."""
    return [f"{name}=={tested[name]}" for name in names]


setup(
    name="cascade_asr",
    version=version,
    description="Speech recipe toolkit for top-down cascade training",
    long_description=(root / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    package_data={"cascade_asr.results": ["assets/*"]},
    python_requires=">=3.11,<3.13",
    packages=find_packages(include=["cascade_asr", "cascade_asr.*"]),
    cmdclass={"build_py": BuildWithShare},
    entry_points={"console_scripts": ["cascade-asr = cascade_asr.cli.main:main"]},
    # exact where a version can change a number or a file, else at least the major one tested
    install_requires=[
        "torch==2.13.0",
        *pinned(
            "kaldi-native-fbank", "kaldiio", "lightning-fabric", "numpy", "scipy",
            "sentencepiece", "soundfile", "typeguard",
        ),
        "jiwer>=4,<5",
        "pyyaml>=6,<7",
        "tensorboard>=2,<3",
        "tqdm>=4,<5",
    ],
    extras_require={
        # what espnet2.bin.asr_inference imports, beside espnet itself
        "espnet-inference": [
            "configargparse>=1.2.1",
            "editdistance",
            "h5py>=3",
            "humanfriendly",
            "librosa>=0.10.2",
            "nltk>=3.4.5",
            "torch-complex",
        ],
        "dev": pinned(
            "hypothesis", "pytest", "pytest-xdist", "import-linter", "ruff", "selenium", "mkdocs",
            "mkdocstrings", "mkdocstrings-python",
        ),
        "docs": pinned("mkdocs", "mkdocstrings", "mkdocstrings-python"),
    },
)
