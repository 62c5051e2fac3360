"""One small tokenizer of each kind that LLMs come with, trained on a few lines."""

import json

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from tests.students.tiny import LINES, tokenizer

KINDS = ("byte-level", "metaspace", "replaced-spaces")
_MORE = "So 3 + 4 = 7, because she buys more. Then, finally, she has 7.\n\nTherefore the answer is 7.\n"
LINES_AND_MORE = [*LINES, _MORE]
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def of_kind(kind: str, bos: bool = False) -> PreTrainedTokenizerFast:
    """byte-level: GPT-2, Llama 3, Qwen. metaspace: SentencePiece's unigram as converted, T5 and Phi-3 alike.
    replaced-spaces: SentencePiece's BPE with byte fallback, Gemma and Mistral. With `bos`, one is put first."""
    if kind == "byte-level":
        made = tokenizer().backend_tokenizer
        special = {"eos_token": "<|end|>", "bos_token": "<|end|>"}
    elif kind == "metaspace":
        made = _unigram()
        special = {"eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}
    else:
        made = _byte_fallback()
        special = {"eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}
    if bos:
        first = special["bos_token"]
        made.post_processor = processors.TemplateProcessing(
            single=f"{first} $A", special_tokens=[(first, made.token_to_id(first))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=made, **special)


def _unigram() -> Tokenizer:
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    trainer = trainers.UnigramTrainer(
        vocab_size=700, special_tokens=["<unk>", "<s>", "</s>", *_BYTES], unk_token="<unk>", show_progress=False
    )
    made.train_from_iterator(LINES_AND_MORE * 3, trainer)
    vocabulary = [tuple(entry) for entry in json.loads(made.to_str())["model"]["vocab"]]
    whole = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=True))
    whole.pre_tokenizer = made.pre_tokenizer
    whole.add_special_tokens(["<unk>", "<s>", "</s>"])
    whole.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return whole


def _byte_fallback() -> Tokenizer:
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    made.normalizer = normalizers.Replace(" ", "▁")
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<unk>", "<s>", "</s>", *_BYTES], max_token_length=12, show_progress=False
    )
    made.train_from_iterator(LINES_AND_MORE * 3, trainer)
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    state = json.loads(made.to_str())
    # Bytes are tokens of the model, not text to look out for.
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] in ("<unk>", "<s>", "</s>")]
    return Tokenizer.from_str(json.dumps(state))
