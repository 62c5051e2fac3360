"""A server that loads and unloads LoRAs as vLLM does: its routes, its words, its errors, read in vLLM's source
(vllm/entrypoints/openai/models/serving.py, .../serve/lora/api_router.py). It really runs the students.
"""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rjepa.students.loading import Student
from rjepa.students.lora.beside import put_beside
from rjepa.students.lora.files import read_lora
from tests.patience import PATIENCE

from .servers import Served


def error(message: str, kind: str, code: int) -> tuple[int, dict[str, Any]]:
    """vLLM's body of an error."""
    return code, {"error": {"message": message, "type": kind, "param": None, "code": code}}


@dataclass
class Vllm(Served):
    """`updates`: whether it was started with VLLM_ALLOW_RUNTIME_LORA_UPDATING; `refuses_loras`: what the engine says to
    any LoRA; `writes`: chains are written as soon as it is set.
    """

    updates: bool = True
    refuses_loras: str = ""
    loras: dict[str, Student] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)
    writes: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.writes.set()

    @property
    def listed(self) -> tuple[str, ...]:
        return (*self.models, *self.loras)

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any] | str]:
        if path in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter"):
            with self.lock:
                self.asked.append(body | {"path": path})
                if not self.updates:
                    return 404, {"detail": "Not Found"}
                return self.load(**body) if path == "/v1/load_lora_adapter" else self.unload(**body)
        assert self.writes.wait(PATIENCE)
        if body["model"] not in {*self.models, *self.loras}:
            return error(f"The model `{body['model']}` does not exist.", "NotFoundError", 404)
        return super().answer(path, body)

    def choices(self, statement: str, body: dict[str, Any], chat: bool) -> list[dict[str, Any]]:
        base, self.student = self.student, self.loras.get(body["model"], self.student)
        try:
            return super().choices(statement, body, chat)
        finally:
            self.student = base

    def load(self, lora_name: str, lora_path: str) -> tuple[int, dict[str, Any] | str]:
        if lora_name in self.loras:
            words = (
                f"The lora adapter '{lora_name}' has already been loaded. If you want to load the adapter in place, "
                "set 'load_inplace' to True."
            )
            return error(words, "InvalidUserInput", 400)
        if not (Path(lora_path) / "adapter_config.json").is_file():
            words = f"Loading lora {lora_name} failed: No adapter found for {lora_path}"
            return error(words, "NotFoundError", 404)
        if self.refuses_loras:
            return error(self.refuses_loras, "InternalServerError", 500)
        lora = read_lora(Path(lora_path))
        self.loras[lora_name] = put_beside(self.student, lora, self.student.record, "0" * 64)
        self.paths[lora_name] = lora_path
        return 200, f"Success: LoRA adapter '{lora_name}' added successfully."

    def unload(self, lora_name: str) -> tuple[int, dict[str, Any] | str]:
        if self.loras.pop(lora_name, None) is None:
            return error(f"The lora adapter '{lora_name}' cannot be found.", "NotFoundError", 404)
        return 200, f"Success: LoRA adapter '{lora_name}' removed successfully."
