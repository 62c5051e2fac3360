from collections import Counter

from rjepa.problems.splitting import normalise_statement, split_by_hash


def test_a_statement_keeps_its_split_however_it_is_spelled() -> None:
    assert split_by_hash("How many  apples?\n") == split_by_hash("how many apples?")
    assert normalise_statement("\uff28ow  many\tapples?") == "how many apples?"


def test_about_a_tenth_of_all_statements_is_kept_for_tests_and_for_validation() -> None:
    found = Counter(split_by_hash(f"problem {number}") for number in range(5000))
    assert 400 < found["test"] < 600
    assert 400 < found["validation"] < 600
