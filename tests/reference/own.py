"""Second opinion on data sets that a file defines: what lm-evaluation-harness asks where its task and our definition say the same.

    pip install -r tests/reference/requirements.txt
    python tests/reference/own.py            # writes own.json
    python tests/reference/own.py --check    # compares with what is there

The first case is the example of docs/add-a-data-set.md, its rows read by the harness from the example's file; the others are the
shapes of well-known tasks on rows of our own writing. Each has the harness's task beside our definition.
"""

import json
import pathlib
import sys
import tempfile

import lm_eval
import yaml
from lm_eval.api.task import ConfigurableTask

HERE = pathlib.Path(__file__).parent
CAPITALS = HERE.parent.parent / "examples" / "datasets" / "capitals.jsonl"

CASES = [
    {
        "name": "capitals",
        "task": r"""
doc_to_text: "Question: Which city is the capital of {{country}}?\nAnswer:"
doc_to_choice: "{{cities}}"
doc_to_target: "{{['A', 'B', 'C', 'D', 'E'].index(capital)}}"
""",
    },
    {
        # As MMLU's: fields of an array, the letter scored, gold by number.
        "name": "letters",
        "task": r"""
doc_to_text: "{{question.strip()}}\nA. {{choices[0]}}\nB. {{choices[1]}}\nC. {{choices[2]}}\nAnswer:"
doc_to_choice: ["A", "B", "C"]
doc_to_target: answer
""",
        "definition": r"""
prompt = "{{question.strip()}}\n{{listing}}Answer:"
choices = "choices"
scored = "letter"
gold = "answer"
""",
        "rows": [
            {"question": " Which of these floats?\n", "choices": ["a cork", "an anvil ", " a stone"], "answer": 0},
            {"question": "Qui chante ?\u3000", "choices": ["le merle", "la pierre", "l'eau {{x}}"], "answer": 2},
        ],
    },
    {
        # As BoolQ's: two choices for all rows.
        "name": "words",
        "task": r"""
doc_to_text: "{{passage}}\nQuestion: {{ question | trim }}?\nAnswer:"
doc_to_choice: ["no", "yes"]
doc_to_target: label
""",
        "definition": r"""
prompt = "{{passage}}\nQuestion: {{ question | trim }}?\nAnswer:"
choices = ["no", "yes"]
gold = "label"
""",
        "rows": [
            {"passage": "All cups are blue. ", "question": "\tis a cup red ", "label": 0},
            {"passage": "Line one.\nLine two.\n", "question": "are there two lines", "label": 1},
        ],
    },
    {
        # Choices made of two fields, labels among the row's.
        "name": "templates",
        "task": r"""
doc_to_text: "{{a.b}}: {{question}}"
doc_to_choice: "{{['the ' ~ x, y.strip() ~ '!']}}"
doc_to_target: "{{labels.index(gold)}}"
""",
        "definition": r"""
prompt = "{{a.b}}: {{question}}"
choices = ["the {{x}}", "{{y.strip()}}!"]
labels = "labels"
gold = "gold"
""",
        "rows": [{"a": {"b": "Say"}, "question": "which? ", "x": "cat ", "y": " dog ", "labels": ["p", "q"], "gold": "q"}],
    },
]


def ask(case, folder):
    path = CAPITALS
    if "rows" in case:
        path = pathlib.Path(folder) / f"{case['name']}.jsonl"
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in case["rows"]), encoding="utf-8")
    config = yaml.safe_load(case["task"]) | {
        "task": case["name"],
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(path)}, "cache_dir": folder},
        "output_type": "multiple_choice",
        "test_split": "test",
        "metric_list": [{"metric": m, "aggregation": "mean", "higher_is_better": True} for m in ("acc", "acc_norm")],
    }
    task = ConfigurableTask(config=config)
    questions = []
    for doc in task.test_docs():
        requests = task.construct_requests(doc, task.fewshot_context(doc, 0))
        # The right choice is the one that makes the harness's own accuracy 1.
        ones = [[float(i == right) for i in range(len(requests))] for right in range(len(requests))]
        right = [task.process_results(doc, [(value - 1, False) for value in one])["acc"] for one in ones]
        questions.append({"requests": [list(request.args) for request in requests], "gold": right.index(1.0)})
        assert sum(right) == 1.0
    return questions


def main():
    out = {"lm_eval": lm_eval.__version__, "cases": []}
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            kept = {key: case[key] for key in ("name", "definition", "rows") if key in case}
            out["cases"].append(kept | {"questions": ask(case, folder)})
    text, path = json.dumps(out, ensure_ascii=False) + "\n", HERE / "own.json"
    if "--check" not in sys.argv:
        path.write_text(text, encoding="utf-8")
        return
    same = path.read_text(encoding="utf-8") == text
    print(f"own.json: {'equal' if same else 'DIFFERS'}")
    if not same:
        sys.exit(1)


if __name__ == "__main__":
    main()
