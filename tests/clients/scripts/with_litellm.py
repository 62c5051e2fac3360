"""litellm's openai provider: whole, streamed, several choices, and /v1/responses. Prints what it got as JSON."""

import json
import sys

import litellm

address, model, statement = sys.argv[1:]
litellm.drop_params = False
known = {"api_base": f"{address}/v1", "api_key": "x", "max_retries": 0, "timeout": 120}
messages = [{"role": "user", "content": statement}]
whole = litellm.completion(model=f"openai/{model}:rerank", messages=messages, n=2, seed=3, temperature=0.9, **known)
turn = [*messages, whole.choices[0].message.model_dump(), {"role": "user", "content": "And two more?"}]
second = litellm.completion(model=f"openai/{model}", messages=turn, top_p=0.9, stop=["Answer:"], **known)
chunks = litellm.completion(
    model=f"openai/{model}:rerank", messages=messages, seed=3, temperature=0.9, stream=True,
    stream_options={"include_usage": True}, **known,
)  # fmt: skip
streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
answered = litellm.responses(model=f"openai/{model}:rerank", input=statement, **known)
try:
    litellm.completion(model=f"openai/{model}", messages=[{"role": "user", "content": "word " * 5000}], **known)
    too_long = ""
except litellm.ContextWindowExceededError as error:
    too_long = type(error).__name__
texts = [choice.message.content for choice in whole.choices]
responded = answered.output[0].content[0].text
print(
    json.dumps(
        {
            "texts": texts,
            "second": second.choices[0].message.content,
            "streamed": streamed,
            "responded": responded,
            "too_long": too_long,
        }
    )
)
