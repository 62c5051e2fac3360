"""lm-evaluation-harness against the service, and its own hf model on the same weights: what each makes of small tasks.

    with_lm_eval.py ADDRESS MODEL FOLDER CONTEXT

The last line is JSON: by name of a run, the answers of each task's samples in order.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import lm_eval
from lm_eval.tasks import TaskManager

WORDS = ["Mia", "Tom", "apples", "books", "7", "3 + 4 = 7", "so many", "Step 1:", "buys", "\u00e9t\u00e9"]
ROWS = [
    {
        "question": f"Mia has {first} apples and buys {second} more. How many apples does Mia have?",
        "choices": [f"{first + second}", f"{first + second + 1}", WORDS[first + second], "Step 1:"],
        "gold": 0,
        "text": f"Mia has {first} apples.\nStep 1: Mia has {first} + {second} = {first + second}\nAnswer: {first}\n",
    }
    for first in range(1, 5)
    for second in range(1, 3)
]
CHOICES = """
task: rjepa_choices
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
target_delimiter: "\\n"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: gold
num_fewshot: {shots}
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""
WRITTEN = """
task: rjepa_written
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}\\n"
doc_to_target: "{{{{choices[0]}}}}"
generation_kwargs: {{until: ["Answer", "\\n\\n"], do_sample: false, temperature: 0.0, max_gen_toks: 40}}
metric_list: [{{metric: exact_match}}]
"""
ROLLING = """
task: rjepa_rolling
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list: [{{metric: bits_per_byte}}]
"""


def main() -> None:
    """Run all, and print what came."""
    address, model, folder, context = sys.argv[1:]
    tasks = Path(tempfile.mkdtemp())
    (tasks / "rows.json").write_text("\n".join(json.dumps(row) for row in ROWS) + "\n")
    for name, text in (("choices", CHOICES), ("written", WRITTEN), ("rolling", ROLLING)):
        (tasks / f"{name}.yaml").write_text(text.format(data=tasks / "rows.json", shots=0))
    manager = TaskManager(include_path=str(tasks), include_defaults=False)

    def run(kind: str, names: list[str], arguments: dict[str, Any], **options: Any) -> dict[str, Any]:
        found = lm_eval.simple_evaluate(
            model=kind,
            model_args=arguments,
            tasks=names,
            task_manager=manager,
            log_samples=True,
            bootstrap_iters=0,
            **options,
        )
        assert found is not None
        samples = {
            task: [one["resps"] for one in sorted(rows, key=lambda one: one["doc_id"])]
            for task, rows in found["samples"].items()
        }
        return samples | {"results": found["results"]}

    ours = {
        "base_url": f"{address}/v1/completions",
        "model": model,
        "tokenizer": folder,
        "max_length": int(context),
        "num_concurrent": 2,
        "max_retries": 1,
    }
    both = ["rjepa_choices", "rjepa_rolling"]
    chat = ours | {"base_url": f"{address}/v1/chat/completions", "tokenizer_backend": None, "tokenized_requests": False}
    hf = {"pretrained": folder, "device": "cpu", "dtype": "float32", "max_length": int(context)}
    runs = {
        "hf": run("hf", [*both, "rjepa_written"], hf, batch_size=4),
        "ids": run("local-completions", [*both, "rjepa_written"], ours | {"tokenized_requests": True}, batch_size=4),
        "strings": run("local-completions", both, ours | {"tokenized_requests": False}, batch_size=1),
        "chat": run("local-chat-completions", ["rjepa_written"], chat, apply_chat_template=True),
    }
    print(json.dumps(runs, default=str))


if __name__ == "__main__":
    main()
