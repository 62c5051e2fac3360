"""inspect-ai's openai-api provider: an evaluation of two problems. Prints its status and figures as JSON."""

import json
import sys

from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import includes
from inspect_ai.solver import generate, system_message

model, statement, logs = sys.argv[1:]
task = Task(
    dataset=[Sample(input=statement, target="7"), Sample(input=statement, target="8")],
    solver=[system_message("Solve it step by step."), generate()],
    scorer=includes(),
)
config = GenerateConfig(
    temperature=0.8, top_p=0.95, seed=3, max_tokens=4000, presence_penalty=0.1, frequency_penalty=0.1
)
(log,) = eval(
    task, model=f"openai-api/rjepa/{model}:rerank", log_dir=logs, display="none", **config.model_dump(exclude_none=True)
)
error = None if log.error is None else log.error.message
outputs = [sample.output.completion for sample in log.samples or []]
print(
    json.dumps(
        {
            "status": log.status,
            "error": error,
            "outputs": outputs,
            "scored": log.results.scores[0].metrics["accuracy"].value if log.results else None,
        }
    )
)
