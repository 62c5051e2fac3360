"""Packing: each distinct beginning is read once, and every sequence finds its way back."""

import torch

from rjepa.students.packing import pack

SEQUENCES = [[5, 6, 7], [5, 6, 7], [5, 6, 7, 8, 9], [5, 6, 1], [2, 2]]


def test_each_distinct_beginning_is_packed_once() -> None:
    packed = pack(SEQUENCES, torch.device("cpu"))
    assert packed.input_ids.tolist() == [[5, 6, 7, 8, 9, 1, 2, 2]]
    assert packed.positions.tolist() == [[0, 1, 2, 3, 4, 2, 0, 1]]


def test_a_path_leads_to_the_tokens_of_its_sequence_in_order() -> None:
    packed = pack(SEQUENCES, torch.device("cpu"))
    for path, sequence in zip(packed.paths, SEQUENCES, strict=True):
        assert packed.input_ids[0, torch.from_numpy(path)].tolist() == sequence


def test_a_token_sees_its_own_sequence_up_to_itself_and_nothing_else() -> None:
    packed = pack(SEQUENCES, torch.device("cpu"))
    seen: list[set[int]] = []
    for rows in packed.groups:
        count, _, queries, keys = rows.mask.shape
        for row in range(count):
            for query in range(queries):
                places = rows.keys.view(count, keys)[row][rows.mask[row, 0, query]]
                seen.append(set(places.tolist()))
    found = [seen[place] for place in packed.back.tolist()]
    expected = [set(path[: place + 1].tolist()) for path in packed.paths for place in range(len(path))]
    ends = [int(path[place]) for path in packed.paths for place in range(len(path))]
    assert all(found[end] == places for end, places in zip(ends, expected, strict=True))
