"""Nearest neighbors: by descending cosine, equals in the order of their index, exact where single
precision is not, and the same in chunks of any size.
"""

import pytest
import torch

from xstilts.scoring import nearest as nearest_module
from xstilts.scoring.nearest import largest, mutual_neighbors, nearest_candidates
from xstilts.scoring.vectors import Vectors


def unit(*values: float) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(values), dim=-1)


def nearest(queries: torch.Tensor, pool: torch.Tensor, size: int) -> torch.Tensor:
    """Places by falling cosine, the pool in chunks of a size."""
    return nearest_candidates(queries, pool.split(size), pool.__getitem__, 20)[0]


def test_the_nearest_come_first_and_equals_in_order_of_place() -> None:
    pool = torch.stack([unit(0.0, 1.0), unit(1.0, 0.0), unit(1.0, 1.0), unit(1.0, 0.0)])
    assert nearest(unit(1.0, 0.0)[None], pool, 4).tolist() == [[1, 3, 2, 0]]


def test_chunks_of_the_pool_change_nothing(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    queries, pool = torch.randn(5, 8), torch.randn(70, 8)
    whole = nearest(queries, pool, 70)
    monkeypatch.setattr(nearest_module, "_QUERIES", 2)
    assert torch.equal(nearest(queries, pool, 7), whole)
    assert whole.shape == (5, 20)


@pytest.mark.parametrize("width", [3, 64, 900, 1_024, 5_000])
@pytest.mark.parametrize("count", [1, 3])
def test_the_largest_values_are_those_of_a_stable_sort(width: int, count: int) -> None:
    """Few distinct values, so that most rows have equals at the boundary."""
    values = torch.randint(0, 40, (30, width), generator=torch.Generator().manual_seed(width))
    values = values.float() - 50
    expected = values.argsort(dim=1, descending=True, stable=True)[:, :count]
    assert torch.equal(largest(values, count), expected)


def close_vectors(count: int, seed: int, width: int = 1024) -> torch.Tensor:
    """[count, width] unit vectors with random-pair cosines near 0.999, as a causal model's are,
    in single precision.
    """
    stream = torch.Generator().manual_seed(seed)
    common = torch.randn(width, generator=torch.Generator().manual_seed(7)) / width**0.5
    noise = torch.randn(count, width, generator=stream) / width**0.5
    return torch.nn.functional.normalize(common + 0.0316 * noise, dim=-1)


def test_cosines_near_1_are_ranked_as_in_double_precision() -> None:
    queries, pool = close_vectors(200, 1), close_vectors(20_000, 2)
    assert (queries[0] @ pool[:100].T).mean().item() == pytest.approx(0.999, abs=2e-4)
    expected = (queries.double() @ pool.double().T).argsort(dim=1, descending=True, stable=True)[
        :, :20
    ]
    queries_read, rows = (
        Vectors.of([(str(place), vector) for place, vector in enumerate(vectors)])
        for vectors in (queries, pool)
    )
    found, _ = nearest_candidates(
        queries_read.take(range(200)), rows.parts(range(20_000), 3_000), rows.take, 20
    )
    assert torch.equal(found, expected)
    half = (queries.half().double() @ pool.half().double().T).argsort(
        dim=1, descending=True, stable=True
    )[:, :20]
    kept = sum(len(set(a) & set(b)) for a, b in zip(half.tolist(), expected.tolist(), strict=True))
    assert kept < 0.9 * expected.numel()  # half precision loses more than a tenth of the candidates


@pytest.mark.parametrize(
    ("similar", "depth", "count"),
    [
        ([0.9, 0.8, 0.5, 0.4], 2, 2),
        ([0.9, 0.8, 0.8 - 1e-5, 0.4], 2, 3),  # may be the second one
        ([0.9, 0.9, 0.9, 0.9], 1, 4),
        ([0.9, 0.8], 5, 2),
    ],
)
def test_candidates_within_rounding_errors_of_the_last_are_ordered_exactly(
    similar: list[float], depth: int, count: int
) -> None:
    marks = nearest_module._possible(torch.tensor([similar]), depth, error=1e-5)
    assert marks.tolist() == [[True] * count + [False] * (len(similar) - count)]


def test_a_dot_product_of_single_precision_has_at_most_the_rounding_error() -> None:
    x, y = close_vectors(300, 1), close_vectors(300, 2)
    error = (torch.mm(x, y.T).double() - torch.mm(x.double(), y.double().T)).abs().max().item()
    assert 0 < error < nearest_module._rounding(1024, 1.0) < 1e-4


def brute_force(x: torch.Tensor, y: torch.Tensor, depth: int) -> torch.Tensor:
    return (x.double() @ y.double().T).argsort(dim=1, descending=True, stable=True)[:, :depth]


@pytest.mark.parametrize("sizes", [(512, 8_192), (7, 8_192), (512, 5), (64, 64)])
@pytest.mark.parametrize("close", [False, True])
def test_both_directions_of_one_product_are_those_of_brute_force(
    sizes: tuple[int, int], close: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest_module, "_QUERIES", sizes[0])
    monkeypatch.setattr(nearest_module, "_POOL", sizes[1])
    torch.manual_seed(0)
    vectors = close_vectors(750, 3) if close else torch.randn(750, 16)
    x, y = torch.nn.functional.normalize(vectors, dim=-1).split([300, 450])
    (forward, ahead), (backward, back) = mutual_neighbors(x, y, 4)
    assert torch.equal(forward, brute_force(x, y, 4))
    assert torch.equal(backward, brute_force(y, x, 4))
    table = torch.zeros(300, 450, dtype=torch.double)
    table.scatter_(1, forward, ahead)
    mutual = table.T.gather(1, backward)
    assert torch.equal(mutual[mutual > 0], back[mutual > 0])  # to the bit


def test_vectors_in_increasing_order_of_similarity_are_all_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each block of x is nearer to y than all before it."""
    monkeypatch.setattr(nearest_module, "_QUERIES", 100)
    angles = torch.linspace(1.5, 0.1, 1_000)
    x, y = torch.stack([angles.cos(), angles.sin()], 1), torch.tensor([[1.0, 0.0]])
    assert mutual_neighbors(x, y, 4)[1][0].tolist() == [[999, 998, 997, 996]]


def test_of_equals_the_lower_index_is_nearer() -> None:
    queries, pool = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0], *[[1.0, 0.0]] * 300])
    (places, cosines), _ = mutual_neighbors(queries, pool, 4)
    assert (places.tolist(), cosines.tolist()) == ([[1, 2, 3, 4]], [[1.0] * 4])
    assert nearest(queries, pool, 301)[0, :4].tolist() == [1, 2, 3, 4]


def test_a_side_shorter_than_the_depth_has_all_its_vectors_as_neighbors() -> None:
    x, y = torch.eye(4)[:1], torch.eye(4)[:3]
    (forward, _), (backward, _) = mutual_neighbors(x, y, 4)
    assert (forward.tolist(), backward.tolist()) == ([[0, 1, 2]], [[0]] * 3)
