"""Rows of a run as a data frame."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, Literal


def read_rows(path: str | PathLike[str], to: Literal["pandas", "polars", "arrow"] = "pandas") -> Any:
    """Reads the rows that `splitbench run` wrote: one per cell, a missing number empty.

    Args:
        path: a run's folder, such as `results/codecs/pocket`, or its `rows.parquet`.
        to: what is returned, a `pandas.DataFrame`, a `polars.DataFrame` or a `pyarrow.Table`; that package is imported then,
            and pandas needs pyarrow beside it.

    Raises:
        FileNotFoundError: there are no rows.
        ValueError: `to` is another word.
    """
    file = Path(path)
    if file.is_dir():
        file /= "rows.parquet"
    if not file.is_file():
        raise FileNotFoundError(f"no rows at {file}: give the folder of a run, such as results/EXPERIMENT/RUN")
    if to == "pandas":
        import pandas

        return pandas.read_parquet(file)
    if to == "polars":
        import polars

        return polars.read_parquet(file)
    if to == "arrow":
        import pyarrow.parquet

        return pyarrow.parquet.read_table(file)
    raise ValueError(f'to={to!r}: expected "pandas", "polars" or "arrow"')
