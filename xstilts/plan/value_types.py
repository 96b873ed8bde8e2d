"""Types of single values in plan files, which several parts of the schema use."""

from typing import Annotated

from pydantic import Field, StringConstraints

#: Names are used in S3 keys and in ids that pass between components.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
#: Documents of a store have integers of at most 64 bits (xstilts/input_files.py).
Count = Annotated[int, Field(ge=1, lt=2**63)]
#: Workers, threads, processors: more than any group has, so that mistyped numbers are refused.
MOST_PROCESSES = 4096
Processes = Annotated[int, Field(ge=1, le=MOST_PROCESSES)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
