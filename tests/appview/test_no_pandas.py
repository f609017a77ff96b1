"""A node does not import pandas, which the tests' own environment has."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

SCRIPT = """
import sys
import pyarrow as pa
from atdex_appview.no_pandas import leave_pandas_out
before = list(sys.meta_path)
if {left_out}:
    leave_pandas_out()
assert sys.meta_path == before
assert pa.array(["a", None]).to_pylist() == ["a", None]
print("pandas" in sys.modules)
import pandas
"""


@pytest.mark.skipif(find_spec("pandas") is None, reason="pandas is not installed")
@pytest.mark.parametrize("left_out", [True, False])
def test_pyarrow_imports_pandas_unless_it_is_left_out(left_out: bool) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(left_out=left_out)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ran.stdout.split() == [str(not left_out)]
