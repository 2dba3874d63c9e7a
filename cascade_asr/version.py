"""The version of the package, and the versions it was tested with."""

__version__ = "0.1.0"

TORCH = "2.13.0"  # utils/setup_env.sh installs it
PIP_LINE = f"pip install torch=={TORCH} . && pip install --no-deps espnet==202511"
