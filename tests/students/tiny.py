"""Tiny random students in Hugging Face layout, with a byte-level tokenizer trained on a few lines."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from rjepa.home import Home
from rjepa.students.catalog import Sampling, StudentRecord
from rjepa.students.loading import Student, load_student, resolve_student

EOS = "<|end|>"
LINES = [
    "Mia has 3 apples and buys 4 more. How many apples does Mia have?\n",
    "Step 1: Mia has 3 + 4 = 7\nStep 2: so 7 apples\nAnswer: 7\n",
    "x = 2\ny = x * 5\nprint(y)\nStep 1: y = 10\nAnswer: 10\n",
]
STATEMENTS = [
    "Mia has 3 apples and buys 4 more. How many apples does Mia have?",
    "x = 2",
    "x = 2\ny = x * 5\nprint(y)",
    "Mia buys 4 apples.",
    "How many more?",
]


def tokenizer(vocab_size: int = 400, pad: bool = True) -> PreTrainedTokenizerFast:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(LINES * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=EOS, pad_token=EOS if pad else None)


def model(kind: str, vocab_size: int, layers: int = 3, head_dim: int = 8) -> PreTrainedModel:
    """head_dim: of a Qwen3."""
    torch.manual_seed(7)
    shape = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "num_hidden_layers": layers,
        "intermediate_size": 48,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.15,
        "bos_token_id": None,
        "eos_token_id": 0,
        "pad_token_id": None,
    }
    if kind == "qwen3":
        return Qwen3ForCausalLM(Qwen3Config(**shape, head_dim=head_dim, tie_word_embeddings=True))
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(**shape))
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocab_size,
            n_embd=32,
            n_layer=layers,
            n_head=4,
            n_positions=256,
            initializer_range=0.15,
            bos_token_id=None,
            eos_token_id=0,
        )
    )


def write_student(folder: Path, kind: str = "qwen3", pad: bool = True) -> Path:
    words = tokenizer(pad=pad)
    words.save_pretrained(folder)
    model(kind, len(words)).save_pretrained(folder)
    return folder


def record(folder: Path, **changes: object) -> StudentRecord:
    values: dict[str, object] = {
        "llm_tag": "tiny-test",
        "model": str(folder),
        "sampling": Sampling(temperature=1.0, max_new_tokens=40, batch_size=64),
    }
    return StudentRecord.model_validate(values | changes)


def open_tiny(home: Home, folder: Path, **changes: object) -> Student:
    return load_student(resolve_student(home, record(folder, **changes)), device="cpu")


def teach(folder: Path, replies: dict[str, str], updates: int = 60) -> Path:
    """A student that has learnt by heart what to reply to each prompt, and then to stop."""
    words = tokenizer()
    taught = model("llama", len(words))
    rows = [(words(prompt)["input_ids"], words(reply)["input_ids"] + [0]) for prompt, reply in replies.items()]
    ids = torch.zeros(len(rows), max(len(prompt) + len(reply) for prompt, reply in rows), dtype=torch.long)
    labels = torch.full_like(ids, -100)
    for row, (prompt, reply) in enumerate(rows):
        ids[row, : len(prompt) + len(reply)] = torch.tensor(prompt + reply)
        labels[row, len(prompt) : len(prompt) + len(reply)] = torch.tensor(reply)
    optimizer = torch.optim.AdamW(taught.parameters(), lr=1e-2)
    for _ in range(updates):
        taught(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    words.save_pretrained(folder)
    taught.save_pretrained(folder)
    return folder


def taught_pairs() -> list[tuple[str, str, str]]:
    """Statement, step and answer of every sum of two digits."""
    digits = range(10)
    return [(f"Mia has {a} and buys {b}.", f"Mia has {a} + {b} = {a + b}", str(a + b)) for a in digits for b in digits]


def taught_folder(run: Path, updates: int = 90) -> Path:
    """A student that has learnt to answer in steps, rightly or not; trained once in a run's folder."""
    folder = run / "taught"
    if folder.exists():
        return folder
    words = tokenizer(360)
    taught = model("qwen3", len(words), layers=3)
    rows = []
    for statement, step, answer in taught_pairs():
        prompt = words(f"{statement}\n")["input_ids"]
        chain = words(f"Step 1: {step}\nStep 2: so {answer}\nAnswer: {answer}\n")["input_ids"]
        rows.append((prompt, [*chain, words.eos_token_id]))
    longest = max(len(prompt) + len(chain) for prompt, chain in rows)
    ids = torch.tensor([prompt + chain + [0] * (longest - len(prompt) - len(chain)) for prompt, chain in rows])
    labels = torch.tensor(
        [[-100] * len(prompt) + chain + [-100] * (longest - len(prompt) - len(chain)) for prompt, chain in rows]
    )
    optimizer = torch.optim.AdamW(taught.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(updates):
        batch = torch.randint(len(rows), (16,), generator=generator)
        loss = taught(input_ids=ids[batch], labels=labels[batch]).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    words.save_pretrained(folder)
    taught.save_pretrained(folder)
    return folder
