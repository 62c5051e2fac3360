"""What every stage of the pipeline hands back: the identity of what it made, and numbers worth showing."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class StageReport:
    """The result of one stage.

    `data_version` is a hex SHA-256 of the content made: equal inputs and code give an equal version, so that what lies
    below need not be made again. `metadata` holds counts, rates and short texts for people to read.
    """

    data_version: str
    metadata: dict[str, int | float | str] = field(default_factory=dict)
