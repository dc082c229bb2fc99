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

# ARC's rows with strings kept as dictionaries, which pandas' categories and datasets become; and with a column that JSON has
# no form for.
table = pyarrow.parquet.read_table(out / "arc_easy.parquet")
text = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
choices = pyarrow.struct([("text", pyarrow.list_(pyarrow.string())), ("label", pyarrow.list_(text))])
kept = {"id": text, "question": pyarrow.dictionary(pyarrow.int8(), pyarrow.large_string()), "choices": choices, "answerKey": text}
schema = pyarrow.schema([(name, kept[name]) for name in table.column_names])
pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table.to_pylist(), schema), out / "dictionaries.parquet", row_group_size=2)
day = pyarrow.array([0] * len(table), pyarrow.date32())
pyarrow.parquet.write_table(table.append_column("day", day), out / "dates.parquet")
