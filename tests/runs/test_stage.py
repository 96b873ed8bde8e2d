"""A plan's smaller pool of candidates: everything that answers a query, and a number of others."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from xstilts.runs.stage import smaller_pool


def written(path: Path, rows: list[tuple[str, list[str]]]) -> Path:
    pq.write_table(
        pa.table(
            {"candidate": [name for name, _ in rows], "relevant": [right for _, right in rows]}
        ),
        path,
    )
    return path


def test_a_smaller_pool_keeps_every_answer_and_the_plans_number_of_others(tmp_path: Path) -> None:
    names = [f"Q{number}" for number in range(100)]
    pool = written(tmp_path / "pool.parquet", [(name, []) for name in names])
    queries = [
        written(tmp_path / "en.parquet", [("", ["Q7"]), ("", ["Q93"])]),
        written(tmp_path / "de.parquet", [("", ["Q7"]), ("", ["Q50"])]),
    ]
    kept = [name for name, keep in zip(names, smaller_pool(pool, queries, 10), strict=True) if keep]
    assert len(kept) == 13
    assert {"Q7", "Q50", "Q93"} <= set(kept)
    assert smaller_pool(pool, queries, 10) == smaller_pool(pool, queries, 10)
    assert all(smaller_pool(pool, queries, 1000))
