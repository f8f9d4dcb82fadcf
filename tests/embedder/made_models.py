"""Small models of transformers with random weights, saved as a hub's repository holds them."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import sentencepiece
import torch
import transformers as t
from tokenizers import Tokenizer, models, pre_tokenizers

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
TEXT: dict[str, Any] = {**SMALL, "vocab_size": 16, "max_position_embeddings": 16}
DINOV2: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
#: What stands in a preprocessing file, of values unlike those of any default.
PREPROCESSING: dict[str, Any] = {
    "do_resize": True,
    "size": {"height": 32, "width": 32},
    "resample": 3,
    "do_center_crop": False,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.4, 0.5, 0.6],
    "image_std": [0.2, 0.25, 0.3],
}
#: Words that the made tokenizers know.
WORDS = ("a", "dog", "runs", "boat", "harbour", "evening")
#: The number of the token that ends a text: the highest, by which X-CLIP knows it.
LAST_TOKEN = len(WORDS) + 2


def _siglip() -> Any:
    vision = {**SMALL, "image_size": 32, "patch_size": 8}
    return t.SiglipModel(t.SiglipConfig(vision_config=vision, text_config={**TEXT, "projection_size": 32}))


def _clip() -> Any:
    vision = {**SMALL, "image_size": 32, "patch_size": 8}
    # The text's vector is that of its last token: the one with this number.
    text = {**TEXT, "eos_token_id": LAST_TOKEN, "pad_token_id": 0}
    return t.CLIPModel(t.CLIPConfig(vision_config=vision, text_config=text, projection_dim=24))


def _siglip_vision() -> Any:
    return t.SiglipVisionModel(t.SiglipVisionConfig(**SMALL, image_size=32, patch_size=8))


def _clip_vision() -> Any:
    return t.CLIPVisionModel(t.CLIPVisionConfig(**SMALL, image_size=32, patch_size=8))


def _dinov2() -> Any:
    return t.Dinov2Model(t.Dinov2Config(**DINOV2))


def _dinov2_with_registers() -> Any:
    return t.Dinov2WithRegistersModel(t.Dinov2WithRegistersConfig(**DINOV2))


def _dinov3() -> Any:
    return t.DINOv3ViTModel(t.DINOv3ViTConfig(**SMALL, image_size=32, patch_size=8))


def _vit() -> Any:
    return t.ViTModel(t.ViTConfig(**SMALL, image_size=32, patch_size=8), add_pooling_layer=False)


def _videomae() -> Any:
    return t.VideoMAEModel(t.VideoMAEConfig(image_size=32, patch_size=8, num_frames=4, **SMALL))


def _vivit() -> Any:
    return t.VivitModel(t.VivitConfig(image_size=32, num_frames=4, tubelet_size=[2, 8, 8], **SMALL))


def _timesformer() -> Any:
    return t.TimesformerModel(t.TimesformerConfig(image_size=32, patch_size=8, num_frames=4, **SMALL))


def _vjepa2() -> Any:
    predictor = {"pred_hidden_size": 48, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
    encoder = {"hidden_size": 48, "num_attention_heads": 2, "num_hidden_layers": 2}
    return t.VJEPA2Model(t.VJEPA2Config(patch_size=8, crop_size=32, frames_per_clip=4, **encoder, **predictor))


#: Of few and large patches: its pictures are as large as those of the real ones, as its processor has it.
VIDEOPRISM: dict[str, Any] = {
    **SMALL,
    "image_size": 288,
    "num_frames": 4,
    "tubelet_size": [1, 144, 144],
    "num_spatial_layers": 1,
    "num_temporal_layers": 1,
    "num_auxiliary_layers": 1,
}


def _videoprism() -> Any:
    return t.VideoPrismClipModel(t.VideoPrismConfig(vision_config=VIDEOPRISM, text_config=TEXT))


def _videoprism_vision() -> Any:
    return t.VideoPrismVisionModel(t.VideoPrismVisionConfig(**VIDEOPRISM))


def _xclip() -> Any:
    integration = {
        "mit_hidden_size": 32,
        "mit_intermediate_size": 64,
        "mit_num_hidden_layers": 1,
        "mit_num_attention_heads": 2,
    }
    vision = {**SMALL, "image_size": 32, "patch_size": 8, "num_frames": 4, **integration}
    config = t.XCLIPConfig(
        vision_config=vision,
        text_config={**TEXT, "eos_token_id": LAST_TOKEN, "pad_token_id": 0},
        projection_dim=32,
        prompt_layers=1,
        prompt_num_attention_heads=2,
    )
    return t.XCLIPModel(config)


IMAGE_MODELS: dict[str, Callable[[], Any]] = {
    "siglip": _siglip,
    "clip": _clip,
    "siglip_vision": _siglip_vision,
    "clip_vision": _clip_vision,
    "dinov2": _dinov2,
    "dinov2_with_registers": _dinov2_with_registers,
    "dinov3": _dinov3,
    "vit": _vit,
}
VIDEO_MODELS: dict[str, Callable[[], Any]] = {
    "videomae": _videomae,
    "vivit": _vivit,
    "timesformer": _timesformer,
    "vjepa2": _vjepa2,
    "videoprism": _videoprism,
    "videoprism_vision": _videoprism_vision,
    "xclip": _xclip,
}
#: Side of the pictures of those that do not take 32.
SIDES = {"dinov2": 28, "dinov2_with_registers": 28}
WITH_TEXT = ("siglip", "clip", "videoprism", "xclip")


def save_model(folder: Path, kind: str, licence: str | None = "apache-2.0", seed: int = 0) -> Path:
    """A folder with weights, preprocessing, tokenizer and card."""
    torch.manual_seed(seed)
    model = (IMAGE_MODELS | VIDEO_MODELS)[kind]()
    for parameter in model.parameters():
        # A fresh network is nearly linear and has zeros where it would learn the order of frames.
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    if kind == "vjepa2":
        # As those of the real ones: the size follows from the crop.
        values = {**PREPROCESSING, "do_center_crop": True, "crop_size": {"height": 32, "width": 32}}
        (folder / "video_preprocessor_config.json").write_bytes(orjson.dumps(values))
    else:
        side = SIDES.get(kind, 32)
        save_preprocessing(folder, size={"height": side, "width": side})
    if kind in WITH_TEXT:
        _save_tokenizer(folder)
    if licence:
        (folder / "README.md").write_text(f"---\nlicense: {licence}\n---\n# A model\n")
    return folder


def save_preprocessing(folder: Path, **values: Any) -> None:
    (folder / "preprocessor_config.json").write_bytes(orjson.dumps({**PREPROCESSING, **values}))


def _save_tokenizer(folder: Path) -> None:
    vocabulary = {word: number for number, word in enumerate(("<pad>", "<unk>", *WORDS, "</s>"))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = t.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", add_eos_token=True
    )
    fast.save_pretrained(folder)


def save_siglip_tokenizer(folder: Path) -> None:
    """As SigLIP 1 has it, with a vocabulary for "a boat" and "a dog", instead of the one that is there."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a boat", "a dog"]),
        model_writer=written,
        vocab_size=10,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    (folder / "tokenizer.json").unlink()
    (folder / "spiece.model").write_bytes(written.getvalue())
    (folder / "tokenizer_config.json").write_bytes(orjson.dumps({"tokenizer_class": "SiglipTokenizer"}))
