"""The device of small models where none is given. How a student is placed, by its size, is `rjepa.students.devices`."""

import torch


def best_device() -> torch.device:
    """The first CUDA device where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
