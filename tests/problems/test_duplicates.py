import tracemalloc

from rjepa.problems.duplicates import SeenKeys


def test_repeats_are_found_with_their_first_row_in_memory_and_on_disk() -> None:
    with SeenKeys() as seen:
        for number in range(100_000):
            seen.add(f"key {number % 99_990}", number + 1)
        assert seen.repeated().tolist() == [[99_991 + n, n + 1] for n in range(10)]


def test_no_rows_and_no_repeats_give_none() -> None:
    with SeenKeys() as seen:
        assert seen.repeated().tolist() == []
        seen.add("a", 1)
        assert seen.repeated().tolist() == []
        seen.add("a", 2)
        seen.add("a", 3)
        assert seen.repeated().tolist() == [[2, 1], [3, 1]]


def test_memory_does_not_grow_with_the_number_of_keys() -> None:
    tracemalloc.start()
    with SeenKeys() as seen:
        for number in range(200_000):
            seen.add(str(number), number)
        assert len(seen.repeated()) == 0
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20
