"""Nearest neighbors: by descending cosine, equals in the order of their index, exact where single
precision is not, and the same in chunks of any size.
"""

import pytest
import torch

from xstilts.scoring import nearest as nearest_module
from xstilts.scoring.nearest import mutual_neighbors, nearest_candidates
from xstilts.scoring.vectors import Vectors

DTYPES = (torch.float32, torch.bfloat16)


@pytest.fixture(params=DTYPES, ids=str)
def dtype(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.dtype:
    """The precision of the first search, whatever this processor is best at."""
    chosen: torch.dtype = request.param
    monkeypatch.setattr(nearest_module, "fast_dtype", lambda device: chosen)
    return chosen


def unit(*values: float) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(values), dim=-1)


def nearest(queries: torch.Tensor, pool: torch.Tensor, size: int) -> torch.Tensor:
    """Places by falling cosine, the pool in chunks of a size."""
    return nearest_candidates(queries, lambda: pool.split(size), pool.__getitem__, 20)[0]


@pytest.mark.usefixtures("dtype")
def test_the_nearest_come_first_and_equals_in_order_of_place() -> None:
    pool = torch.stack([unit(0.0, 1.0), unit(1.0, 0.0), unit(1.0, 1.0), unit(1.0, 0.0)])
    assert nearest(unit(1.0, 0.0)[None], pool, 4).tolist() == [[1, 3, 2, 0]]


@pytest.mark.usefixtures("dtype")
def test_empty_chunks_of_the_pool_change_nothing() -> None:
    queries, pool = torch.randn(5, 8), torch.randn(70, 8)
    chunks = [pool[:0], pool[:30], pool[:0], pool[30:], pool[:0]]
    result, _ = nearest_candidates(queries, lambda: chunks, pool.__getitem__, 20)
    assert torch.equal(result, nearest(queries, pool, 70))


@pytest.mark.usefixtures("dtype")
def test_chunks_of_the_pool_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    queries, pool = torch.randn(5, 8), torch.randn(70, 8)
    whole = nearest(queries, pool, 70)
    monkeypatch.setattr(nearest_module, "_QUERIES", 2)
    assert torch.equal(nearest(queries, pool, 7), whole)
    assert whole.shape == (5, 20)


def close_vectors(count: int, seed: int, width: int = 1024) -> torch.Tensor:
    """[count, width] unit vectors with random-pair cosines near 0.999, as a causal model's are,
    in single precision.
    """
    stream = torch.Generator().manual_seed(seed)
    common = torch.randn(width, generator=torch.Generator().manual_seed(7)) / width**0.5
    noise = torch.randn(count, width, generator=stream) / width**0.5
    return torch.nn.functional.normalize(common + 0.0316 * noise, dim=-1)


@pytest.mark.usefixtures("dtype")
def test_cosines_near_1_are_ranked_as_in_double_precision() -> None:
    queries, pool = close_vectors(200, 1), close_vectors(8_000, 2)
    assert (queries[0] @ pool[:100].T).mean().item() == pytest.approx(0.999, abs=2e-4)
    expected = (queries.double() @ pool.double().T).argsort(dim=1, descending=True, stable=True)[
        :, :20
    ]
    queries_read, rows = (
        Vectors.of([(str(place), vector) for place, vector in enumerate(vectors)])
        for vectors in (queries, pool)
    )
    found, _ = nearest_candidates(
        queries_read.take(range(200)), lambda: rows.parts(range(8_000), 3_000), rows.take, 20
    )
    assert torch.equal(found, expected)
    half = (queries.half().double() @ pool.half().double().T).argsort(
        dim=1, descending=True, stable=True
    )[:, :20]
    kept = sum(len(set(a) & set(b)) for a, b in zip(half.tolist(), expected.tolist(), strict=True))
    assert kept < 0.9 * expected.numel()  # half precision loses more than a tenth of the candidates


VECTORS = {
    "random": lambda count, seed: unit_rows(torch.randn(count, 96, generator=stream(seed))),
    "close": lambda count, seed: close_vectors(count, seed),
    "one channel": lambda count, seed: unit_rows(
        torch.randn(count, 96, generator=stream(seed)) * torch.tensor([300.0, *[1.0] * 95])
    ),
    "halfway between two numbers": lambda count, seed: unit_rows(
        torch.randint(0, 2, (count, 96), generator=stream(seed)) / 128 + 1 + 1 / 256
    ),
    "equal": lambda count, seed: unit_rows(torch.ones(count, 96)),
    "equally near to a single one": lambda count, seed: on_a_cone(count, seed),
}


def stream(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def on_a_cone(count: int, seed: int) -> torch.Tensor:
    """Vectors with a cosine of 0.6 to the axis, which is all there is if count is 1."""
    vectors = torch.nn.functional.pad(
        unit_rows(torch.randn(count, 95, generator=stream(seed))), (1, 0)
    )
    vectors[:, 0] = 0.75 if count > 1 else 1e9
    turn = torch.linalg.qr(torch.randn(96, 96, generator=stream(0))).Q
    return unit_rows(vectors @ turn)


def unit_rows(vectors: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(vectors, dim=-1)


@pytest.mark.parametrize("kind", VECTORS)
@pytest.mark.parametrize("sizes", [(300, 300), (300, 1), (1, 300), (2, 2)])
def test_a_product_has_at_most_the_errors_that_are_stated(
    kind: str, sizes: tuple[int, int], dtype: torch.dtype
) -> None:
    """A side of one vector is its own center, which leaves only errors of centering the other."""
    x, y = (VECTORS[kind](size, seed) for seed, size in enumerate(sizes, 1))
    of_x, of_y = x.mean(0), y.mean(0)
    left = nearest_module._Factor(x, of_x, of_y, dtype, left=True)
    right = nearest_module._Factor(y, of_y, of_x, dtype, left=False)
    computed = nearest_module._Memory().product(left.table(), right.table()).double()
    true = x.double() @ y.double().T - of_x.double() @ of_y.double()
    rounding = left.rounding(right)
    assert ((computed - true).abs() <= rounding.absolute + rounding.relative * computed.abs()).all()
    assert rounding.absolute < (2e-5 if dtype == torch.float32 else 0.02)


def test_processors_without_products_of_bfloat16_search_in_single_precision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for able, expected in (({}, torch.float32), ({"avx512_bf16": True}, torch.bfloat16)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: able)
        assert nearest_module.fast_dtype(torch.device("cpu")) == expected
        assert nearest_module.fast_dtype(torch.device("cuda")) == torch.float32


@pytest.mark.parametrize("close", [1e-3, 1e-5])
def test_candidates_that_bfloat16_cannot_tell_apart_are_searched_again(
    close: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two thirds of the pool are so near to each other that their shortlists have no room."""
    monkeypatch.setattr(nearest_module, "fast_dtype", lambda device: torch.bfloat16)
    one = torch.randn(1, 64, generator=stream(0))
    pool = unit_rows(
        torch.cat(
            [
                one + close * torch.randn(2_000, 64, generator=stream(1)),
                torch.randn(1_000, 64, generator=stream(2)),
            ]
        )
    )
    queries = unit_rows(torch.cat([one, torch.randn(20, 64, generator=stream(3))]))
    lists = nearest_module._shortlists(queries, [pool], 20, torch.bfloat16)
    assert lists[0].close()[2][0]
    assert torch.equal(nearest(queries, pool, 3_000), brute_force(queries, pool, 20))
    (forward, _), (backward, _) = mutual_neighbors(queries, pool, 4)
    assert torch.equal(forward, brute_force(queries, pool, 4))
    assert torch.equal(backward, brute_force(pool, queries, 4))


def brute_force(x: torch.Tensor, y: torch.Tensor, depth: int) -> torch.Tensor:
    return (x.double() @ y.double().T).argsort(dim=1, descending=True, stable=True)[:, :depth]


@pytest.mark.usefixtures("dtype")
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


@pytest.mark.usefixtures("dtype")
def test_vectors_in_increasing_order_of_similarity_are_all_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each block of x is nearer to y than all before it."""
    monkeypatch.setattr(nearest_module, "_QUERIES", 100)
    angles = torch.linspace(1.5, 0.1, 1_000)
    x, y = torch.stack([angles.cos(), angles.sin()], 1), torch.tensor([[1.0, 0.0]])
    assert mutual_neighbors(x, y, 4)[1][0].tolist() == [[999, 998, 997, 996]]


@pytest.mark.usefixtures("dtype")
def test_of_equals_the_lower_index_is_nearer() -> None:
    queries, pool = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0], *[[1.0, 0.0]] * 300])
    (places, cosines), _ = mutual_neighbors(queries, pool, 4)
    assert (places.tolist(), cosines.tolist()) == ([[1, 2, 3, 4]], [[1.0] * 4])
    assert nearest(queries, pool, 301)[0, :4].tolist() == [1, 2, 3, 4]


@pytest.mark.usefixtures("dtype")
def test_a_side_shorter_than_the_depth_has_all_its_vectors_as_neighbors() -> None:
    x, y = torch.eye(4)[:1], torch.eye(4)[:3]
    (forward, _), (backward, _) = mutual_neighbors(x, y, 4)
    assert (forward.tolist(), backward.tolist()) == ([[0, 1, 2]], [[0]] * 3)
