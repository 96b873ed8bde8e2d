"""Each Qwen-VL family equals the stock transformers model on the stock processor's own inputs, with
the published sizes of patches, tokens and windows. What all families share is in test_packed.py and
test_stock.py.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
import transformers
from PIL import Image
from torch.func import functional_call

from tests.models.conftest import SETTINGS, png
from xstilts.errors import DataError
from xstilts.miniature.backbones import build_model, build_tiny
from xstilts.models.backbone import Backbone, load_backbone, load_model
from xstilts.models.batch import Segment, pack, segment_key
from xstilts.models.families import FAMILIES, contract
from xstilts.models.lora import (
    adapted,
    add_lora,
    initial_state,
    load_trainable,
    merged,
)
from xstilts.models.picture_inputs import GridPictures
from xstilts.models.processor import Processor, load_processor
from xstilts.models.qwen_vl import image_only

#: Family → its stock processor, pixels of a patch, and the sizes and colors of its published
#: preprocessor_config.json (Qwen/Qwen2.5-VL-7B-Instruct, Qwen/Qwen3-VL-8B-Instruct).
_CLIP = {"patch_size": 14, "size": {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 16384}}
_HALF = {"patch_size": 16, "size": {"shortest_edge": 256 * 256, "longest_edge": 4096 * 4096}}
_HALF |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen2_vl": ("Qwen2VLProcessor", _CLIP),
    "qwen2_5_vl": ("Qwen2_5_VLProcessor", _CLIP),
    "qwen3_vl": ("Qwen3VLProcessor", _HALF),
    "qwen3_vl_moe": ("Qwen3VLProcessor", _HALF),
}
#: Sizes of the pictures of a row, and its text.
ROWS: tuple[tuple[tuple[tuple[int, int], ...], str], ...] = (
    (((150, 90),), "bako ritu zeba."),
    ((), "koko tuba rima baze."),
    (((112, 112), (60, 170)), "riri."),
    (((30, 30), (200, 40), (90, 90)), "zeko bama tutu koba rize."),
)
SHOWN = "<|vision_start|><|image_pad|><|vision_end|>"


@dataclass(frozen=True)
class Pair:
    """A tiny model of a family: ours, the stock model in the same folder, and both processors."""

    folder: Any
    ours: Backbone
    stock: Any
    processor: Processor
    stock_processor: Any

    def stock_inputs(self, row: int) -> dict[str, torch.Tensor]:
        sizes, text = ROWS[row]
        pictures = [Image.open(io.BytesIO(data)) for data in pngs(sizes)]
        made = self.stock_processor(
            text=[SHOWN * len(sizes) + text], images=pictures or None, return_tensors="pt"
        )
        return dict(made)

    def segment(self, row: int) -> Segment:
        sizes, text = ROWS[row]
        return shown(self.processor, sizes, text, segment_key(row))


def pngs(sizes: Sequence[tuple[int, int]]) -> list[bytes]:
    return [png(width, height, seed) for seed, (width, height) in enumerate(sizes)]


def shown(
    processor: Processor, sizes: Sequence[tuple[int, int]], text: str, key: int = 0
) -> Segment:
    pictures = pngs(sizes)
    ids = [token for data in pictures for token in processor.image_placeholder(data)]
    return Segment(
        [*ids, *processor.tokenizer.encode(text, add_special_tokens=False)],
        [processor.image_inputs(data) for data in pictures],
        key,
    )


@pytest.fixture(scope="module")
def pair(tmp_path_factory, texts):
    """Family → Pair, with patches of the published size. Tests leave its weights as they are."""

    @cache
    def build(family: str) -> Pair:
        name, published = PUBLISHED[family]
        settings = SETTINGS | {"patch_size": 2 * published["patch_size"], "max_image_tokens": 12}
        # Random weights of 0.2 let states of this many image tokens grow, and rounding with them.
        settings |= {"vision_layers": 3, "init_std": 0.1}
        folder = build_tiny(family, 0, texts, settings, tmp_path_factory.mktemp(family))
        stock = load_model(folder, contract(family), attn_implementation="sdpa").eval()
        kind = image_only(getattr(transformers, name))
        return Pair(
            folder,
            load_backbone(folder, family),
            stock,
            load_processor(folder, family),
            kind.from_pretrained(folder),
        )

    return build


def all_rows(of: Pair, backbone: Backbone | None = None):
    return pack([of.segment(row) for row in range(len(ROWS))], backbone or of.ours)


@pytest.mark.parametrize("family", PUBLISHED)
def test_tiny_models_have_the_published_geometry(family, pair):
    config, published = pair(family).ours.config, PUBLISHED[family][1]
    vision = config.vision_config
    assert vision.patch_size == published["patch_size"]
    assert (vision.spatial_merge_size, vision.temporal_patch_size) == (2, 2)
    assert config.model_type == contract(family).model_types[0]
    if family == "qwen2_5_vl":
        assert vision.window_size == 112
        assert vision.fullatt_block_indexes == [2]  # the others attend within windows
    if family.startswith("qwen3"):
        assert vision.num_position_embeddings == 2304
        assert vision.deepstack_visual_indexes == [0, 1, 2]
        assert config.text_config.rope_parameters["mrope_interleaved"]


@pytest.mark.parametrize("family", PUBLISHED)
def test_ids_grids_pixels_and_positions_are_those_of_the_stock_processor_and_model(family, pair):
    of = pair(family)
    for row in range(len(ROWS)):
        stock, segment = of.stock_inputs(row), of.segment(row)
        batch = pack([segment], of.ours)
        assert batch.input_ids.tolist() == stock["input_ids"][0].tolist()
        if segment.images:
            assert torch.equal(batch.image_grids, stock["image_grid_thw"])
            assert torch.equal(batch.pixel_values, stock["pixel_values"])
        expected, _ = of.stock.model.get_rope_index(
            stock["input_ids"],
            mm_token_type_ids=stock["mm_token_type_ids"],
            image_grid_thw=stock.get("image_grid_thw"),
        )
        assert torch.equal(batch.positions[1:], expected[:, 0])
        assert batch.positions[0].tolist() == list(range(len(segment.input_ids)))


SIZES = [(640, 480), (336, 336), (1024, 256), (37, 29), (500, 375), (31, 444), (801, 33)]


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_published_processors_with_a_real_tokenizer_make_the_same_inputs(family, real_tokenizers):
    """All sizes in one row, with the bounds of the model folder and with those of the recipes."""
    name, published = PUBLISHED[family]
    tokenizer = transformers.AutoTokenizer.from_pretrained(real_tokenizers / "qwen2-tokenizer")
    images = transformers.Qwen2VLImageProcessorPil(**published)
    token = (2 * published["patch_size"]) ** 2
    recipe = {"image_tokens": 576, "min_pixels": 16 * token, "max_pixels": 576 * token}
    for budget, size in (
        ({}, published["size"]),
        (recipe, {"shortest_edge": 16 * token, "longest_edge": 576 * token}),
    ):
        bounded = transformers.Qwen2VLImageProcessorPil(**{**published, "size": size})
        stock = image_only(getattr(transformers, name))(bounded, tokenizer)(
            text=[SHOWN * len(SIZES) + "What is left of the dog?"],
            images=[Image.open(io.BytesIO(data)) for data in pngs(SIZES)],
            return_tensors="pt",
        )
        pictures = GridPictures(images).within(budget)
        segment = shown(Processor(family, tokenizer, pictures), SIZES, "What is left of the dog?")
        assert list(segment.input_ids) == stock["input_ids"][0].tolist()
        assert [list(image.grid) for image in segment.images] == stock["image_grid_thw"].tolist()
        pixels = torch.cat([image.pixel_values for image in segment.images])
        assert torch.equal(pixels, stock["pixel_values"])


@pytest.mark.parametrize("family", PUBLISHED)
def test_states_and_logits_are_those_of_the_stock_model(family, pair):
    of = pair(family)
    with torch.no_grad():
        states = of.ours(all_rows(of))
        logits = of.ours.lm_logits(states)
        stock = [
            of.stock(**of.stock_inputs(row), output_hidden_states=True, use_cache=False)
            for row in range(len(ROWS))
        ]
    expected = torch.cat([out.hidden_states[-1][0] for out in stock])
    differences = {
        "states": states - expected,
        "logits": logits - torch.cat([out.logits[0] for out in stock]),
    }
    for name, difference in differences.items():
        assert difference.abs().max() < 1e-5, name
    assert expected.abs().max() > 1


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen3_vl_moe"])
def test_states_of_several_vision_layers_reach_the_text_stack(family, pair):
    """DeepStack: without them, or in another order, the states are others."""
    of = pair(family)
    batch = all_rows(of)
    core = of.ours.model.get_submodule("model")
    features = core.get_image_features(batch.pixel_values, batch.image_grids, return_dict=True)
    assert len(features.deepstack_features) == 3
    first = features.deepstack_features
    with torch.no_grad():
        expected = of.ours(batch)
        for changed in (first[:0], first[::-1]):
            features.deepstack_features = changed
            states = core(
                input_ids=batch.input_ids[None],
                position_ids=batch.positions[:, None],
                cu_seq_lens_q=batch.cu_seq_lens,
                mm_encoder_outputs={"image": features},
                use_cache=False,
            ).last_hidden_state[0]
            assert (states - expected).abs().max() > 1e-3


def test_the_experts_of_a_token_do_not_depend_on_its_neighbors(pair):
    of, chosen = pair("qwen3_vl_moe"), []
    gates = [m for name, m in of.ours.named_modules() if name.endswith(".mlp.gate")]
    hooks = [gate.register_forward_hook(lambda *call: chosen.append(call[2][2])) for gate in gates]
    segments = [of.segment(row) for row in range(len(ROWS))]
    with torch.no_grad():
        of.ours(pack(segments, of.ours))
        together, chosen[:] = [*chosen], []
        alone = []
        for segment in segments:
            of.ours(pack([segment], of.ours))
            alone.append([*chosen])
            chosen.clear()
    for hook in hooks:
        hook.remove()
    assert len(together) == len(gates) == 3
    for layer, experts in enumerate(together):
        assert torch.equal(experts, torch.cat([part[layer] for part in alone]))
        assert len(experts.unique()) == 8  # all are in use


def trained_adapters(backbone: Backbone) -> dict[str, torch.Tensor]:
    """Adapters with a B that is not 0, loaded into the backbone."""
    noise = torch.Generator().manual_seed(0)
    state = {
        name: tensor if ".lora_A." in name else torch.randn(tensor.shape, generator=noise) * 0.1
        for name, tensor in initial_state(backbone, {"mode": "lora"}, 0).items()
    }
    load_trainable(backbone, state)
    return state


def folded(stock: Any, backbone: Backbone, state: Mapping[str, torch.Tensor], scale: float):
    """The stock model's adapted weights W + scale × BA, as functions of the adapters."""
    weights, own = dict(stock.named_parameters()), {}
    for name, layer in adapted(backbone).items():
        a, b = (state[f"{name}.lora_{part}.default.weight"] for part in "AB")
        target = name.removeprefix("model.").replace(".base_layer", "")
        if hasattr(layer, "parameter_name"):
            target, experts = f"{target}.{layer.parameter_name}", 8
            parts = a.view(experts, -1, a.shape[1]), b.view(len(b), -1, experts)
            delta = torch.einsum("eri,ore->eoi", *parts)
        else:
            target, delta = f"{target}.weight", b @ a
        own[target] = weights[target].detach() + scale * delta
    return own


@pytest.mark.parametrize("family", PUBLISHED)
def test_adapters_equal_the_stock_model_with_folded_weights(family, pair):
    """States, and gradients with respect to A and B."""
    of = pair(family)
    backbone = load_backbone(of.folder, family)
    add_lora(backbone, 4, 8)
    state = {name: t.clone().requires_grad_() for name, t in trained_adapters(backbone).items()}
    direction = torch.randn(32, generator=torch.Generator().manual_seed(0))
    states = backbone(all_rows(of, backbone))
    (states.tanh() @ direction).sum().backward()
    own = folded(of.stock, backbone, state, 2.0)
    parts = [
        functional_call(of.stock, own, kwargs={**of.stock_inputs(row), "output_hidden_states": True, "use_cache": False}).hidden_states[-1][0]
        for row in range(len(ROWS))
    ]  # fmt: skip
    expected = torch.cat(parts)
    (expected.tanh() @ direction).sum().backward()
    assert (states - expected).abs().max() < 1e-5
    for name, parameter in backbone.named_parameters():
        assert (parameter.grad is not None) == (name in state), name
        if name in state:
            scale = float(state[name].grad.abs().max())
            difference = float((parameter.grad - state[name].grad).abs().max()) / scale
            assert difference < 1e-4, name
    of.stock.zero_grad(set_to_none=True)
    with torch.no_grad(), merged(backbone):
        assert (backbone(all_rows(of, backbone)) - expected).abs().max() < 1e-5
        now = dict(backbone.named_parameters())
        for target, weight in own.items():
            parts = [n for n in now if n.replace(".base_layer", "") == f"model.{target}"]
            assert torch.allclose(now[parts[0]], weight, rtol=0, atol=1e-7), target


def test_every_expert_has_adapters_of_the_rank_of_the_plan(pair):
    """Of A and B of the experts, peft keeps one matrix each."""
    backbone = load_backbone(pair("qwen3_vl_moe").folder, "qwen3_vl_moe")
    add_lora(backbone, 4, 8)
    first, again, other = (initial_state(backbone, {"mode": "lora"}, seed) for seed in (0, 0, 1))
    experts = "model.model.language_model.layers.0.mlp.experts"
    shapes = {
        name.removeprefix(f"{experts}."): tuple(tensor.shape)
        for name, tensor in first.items()
        if name.startswith(experts)
    }
    assert shapes == {
        "base_layer.lora_A.default.weight": (8 * 4, 32),
        "base_layer.lora_B.default.weight": (2 * 32, 4 * 8),
        "lora_A.default.weight": (8 * 4, 32),
        "lora_B.default.weight": (32, 4 * 8),
    }
    assert list(first) == sorted(first)
    for name, tensor in first.items():
        assert torch.equal(tensor, again[name])
        assert torch.equal(tensor, other[name]) == (".lora_B." in name)
        assert tensor.abs().max() <= 32**-0.5
        assert tensor.any() == (".lora_A." in name)


def expert_layers(backbone: Backbone) -> list[Any]:
    """The outermost wrappers of adapted experts."""
    return [layer for name, layer in adapted(backbone).items() if name.endswith(".experts")]


def test_adapters_of_experts_equal_those_that_peft_computes(pair):
    of = pair("qwen3_vl_moe")
    backbone = load_backbone(of.folder, "qwen3_vl_moe")
    add_lora(backbone, 4, 8)
    state = trained_adapters(backbone)
    direction = torch.randn(32, generator=torch.Generator().manual_seed(0))
    found = []
    for _ in range(2):
        states = backbone(all_rows(of, backbone))
        (states.tanh() @ direction).sum().backward()
        grads = {n: p.grad.clone() for n, p in backbone.named_parameters() if n in state}
        found.append((states.detach(), grads))
        backbone.zero_grad()
        for layer in expert_layers(backbone):
            layer.__dict__.pop("forward", None)  # from now on peft's own
    (ours, our_grads), (peft, peft_grads) = found
    assert (ours - peft).abs().max() < 1e-5
    for name, grad in peft_grads.items():
        assert (our_grads[name] - grad).abs().max() < 1e-4 * grad.abs().max(), name


def test_small_adapters_of_experts_are_not_rounded_away_in_bfloat16(pair):
    """Weights of 1 and adapters of 1/1024, which their sum in bfloat16 loses. The inputs cancel in
    the weights, so that only the adapters of `gate_up_proj` contribute.
    """
    backbone = load_backbone(pair("qwen3_vl_moe").folder, "qwen3_vl_moe", dtype=torch.bfloat16)
    add_lora(backbone, 4, 4)
    outer = expert_layers(backbone)[0]
    signs = torch.tensor([1.0, -1.0] * 16)
    with torch.no_grad():
        for name in ("gate_up_proj", "down_proj"):
            getattr(outer.get_base_layer(), name).fill_(1.0)
        outer.lora_B["default"].weight.zero_()
        outer.base_layer.lora_A["default"].weight.copy_(signs.expand(32, 32))
        outer.base_layer.lora_B["default"].weight.fill_(1 / 4096)  # of rank 4
        one = (
            signs[None].bfloat16(),
            torch.tensor([[0, 5]]),
            torch.tensor([[0.5, 0.5]]).bfloat16(),
        )
        ours, peft = outer(*one), type(outer).forward(outer, *one)
    gate = up = 32 / 1024
    expected = 32 * gate / (1 + 2.718281828**-gate) * up
    assert torch.allclose(ours.float(), torch.full((1, 32), expected), rtol=0.02)
    assert not peft.any()


def test_no_second_copy_of_the_experts_is_kept_for_the_backward_pass(pair):
    backbone = load_backbone(pair("qwen3_vl_moe").folder, "qwen3_vl_moe")
    add_lora(backbone, 4, 8)
    weights = {p.data_ptr() for n, p in backbone.named_parameters() if p.ndim == 3}
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.numel() >= 8 * 32 * 32 and tensor.data_ptr() not in weights:
            kept.append(tensor)
        return tensor

    batch = pack([Segment(list(range(300, 305)))], backbone)
    for copies in (0, 2 * 3):  # ours, then peft's own
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            backbone(batch).sum()
        assert len({tensor.data_ptr() for tensor in kept if tensor.ndim == 3}) == copies
        for layer in expert_layers(backbone):
            layer.__dict__.pop("forward", None)


def test_dropout_leaves_the_adapters_of_experts_alone(pair):
    of = pair("qwen3_vl_moe")
    backbone = load_backbone(of.folder, "qwen3_vl_moe").train()
    add_lora(backbone, 4, 8)
    state = trained_adapters(backbone)
    plain = backbone(all_rows(of, backbone))
    backbone.dropout.adapter = 0.5
    assert (backbone(all_rows(of, backbone)) - plain).abs().max() > 1e-3
    load_trainable(
        backbone, {n: t * 0 if "self_attn" in n and "_B" in n else t for n, t in state.items()}
    )
    only_experts = backbone(all_rows(of, backbone))
    backbone.dropout.adapter = 0.0
    assert torch.equal(only_experts, backbone(all_rows(of, backbone)))


def test_a_token_passes_through_its_experts_only(pair):
    dense, moe = (pair(family).ours for family in ("qwen3_vl", "qwen3_vl_moe"))
    routers = 3 * 8 * 32
    # Two experts of half the width have as many weights as the dense layer.
    assert moe.parameter_count() == dense.parameter_count() + routers
    held = sum(p.numel() for name, p in moe.named_parameters() if ".experts." in name)
    assert held == 3 * 8 * 3 * 32 * 32


def test_the_older_name_builds_and_loads_the_same_model(pair, texts):
    older, newer = (
        build_model(family, 0, texts[:20], SETTINGS)[0].state_dict()
        for family in ("qwen_vl", "qwen2_5_vl")
    )
    assert all(torch.equal(older[name], newer[name]) for name in newer)
    assert contract("qwen_vl") is FAMILIES["qwen2_5_vl"]
    assert "qwen_vl" not in FAMILIES
    assert load_backbone(pair("qwen2_5_vl").folder, "qwen_vl").family == "qwen2_5_vl"


def test_recorded_names_are_distinct():
    names = [of.recorded_name for of in FAMILIES.values()]
    assert len(set(names)) == len(names)
    assert {name: of.recorded for name, of in FAMILIES.items() if of.recorded} == {
        "qwen2_5_vl": "qwen_vl"
    }


def test_a_qwen2_vl_under_the_older_name_is_loaded_as_what_it_is(pair):
    of = pair("qwen2_vl")
    backbone = load_backbone(of.folder, "qwen_vl")
    assert type(backbone.model).__name__ == "Qwen2VLForConditionalGeneration"
    with torch.no_grad():
        assert torch.equal(backbone(all_rows(of, backbone)), of.ours(all_rows(of)))


@pytest.mark.parametrize(
    ("folder_of", "family"),
    [("qwen2_5_vl", "qwen2_vl"), ("qwen3_vl", "qwen_vl"), ("qwen3_vl_moe", "qwen3_vl"), ("qwen3_vl", "bert")],
)  # fmt: skip
@pytest.mark.parametrize("load", [load_backbone, load_processor])
def test_a_folder_of_another_family_is_refused_with_the_name_of_its_family(
    folder_of, family, load, pair
):
    with pytest.raises(
        DataError,
        match=f"model_type '{folder_of}' in config.json is of family {folder_of}, not "
        f"{contract(family).family}; set family: {folder_of}",
    ):
        load(pair(folder_of).folder, family)
