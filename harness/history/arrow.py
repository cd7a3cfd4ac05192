"""pyarrow, loaded without pandas."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["pyarrow"]


class _NoPandas:
    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("not now")


def pyarrow() -> Any:
    """The module `pyarrow`, kept from importing pandas: at its first array it does, to know a Series when it sees one, and
    that costs more than a second of processor in every process of a run, where nothing is a Series.

    Who asks for a DataFrame still gets one: `to_pandas` tries the import again. A process that has pandas keeps it.
    """
    import pyarrow as pa

    if "pandas" not in sys.modules:
        sys.meta_path.insert(0, _NoPandas)
        try:
            pa.array([0])
        finally:
            sys.meta_path.remove(_NoPandas)
    return pa
