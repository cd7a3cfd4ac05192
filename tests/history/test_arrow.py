"""pyarrow is used without pandas, which it would import by itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys
from pathlib import Path
from harness.history.table import OpTable
from harness.load.record import warm_up
warm_up()
OpTable.of(())
import pyarrow.parquet as pq
pq.write_table(OpTable.of(()).arrow, sys.argv[1] + "/part.parquet")
OpTable.read(Path(sys.argv[1]))
print("pandas" in sys.modules)
import pandas, pyarrow
print(pyarrow.table({"a": [1, 2]}).to_pandas()["a"].sum(), pyarrow.array(pandas.Series([1, 2])).to_pylist())
"""


@pytest.mark.slow
def test_a_history_is_written_and_read_without_pandas_and_a_frame_is_still_to_be_had(tmp_path: str) -> None:
    done = subprocess.run([sys.executable, "-c", CODE, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["False", "3 [1, 2]"], done.stderr
