"""Writes tests/reference/parquet/: the rows of `rows/` as Parquet files like those of the hub.

`rows/` is in the form that the registry's SHA-256 counts, Python's json.dumps, so `prepare` has to give back its bytes.

    pip install pyarrow==26.0.1
    python tests/reference/parquet.py
"""

import json
import pathlib

import pyarrow
import pyarrow.parquet

HERE = pathlib.Path(__file__).parent
# One of each layout: lists in a struct, a list, integers.
SETS = ["arc_easy", "logiqa", "piqa"]

out = HERE / "parquet"
out.mkdir(exist_ok=True)
for name in SETS:
    lines = (HERE / "rows" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert lines == [json.dumps(row, ensure_ascii=False) for row in rows]
    # Row groups of two rows: readers have to go through several.
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), out / f"{name}.parquet", row_group_size=2)
