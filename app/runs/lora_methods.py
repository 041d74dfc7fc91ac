"""The rows of the table of methods: LoRA and what was made of it."""

from typing import Final

from app.runs.method_settings import (
    DROPOUT,
    NOT_IN_FEW_BITS,
    RANK_BY_PRESET,
    SHARE_PER_RANK,
    alpha,
    rank,
)
from app.runs.method_spec import Method, MethodSpec, Quantization
from app.runs.setting import Kind, Setting, SettingValue

# An alpha that grows with the rank makes larger steps of the same learning rate: at rank 64, 4e-3
# brought a sample's held-out loss to 0.020 with alpha 128 and to 0.015 with alpha 32. With the same
# alpha for each rank the best rate hardly depends on it (Schulman, LoRA Without Regret, 2025).
_SAME_ALPHA_BY_PRESET: Final[dict[str, dict[str, SettingValue]]] = {
    preset: defaults | {"alpha": 32} for preset, defaults in RANK_BY_PRESET.items()
}

LORA_METHODS: Final[dict[Method, MethodSpec]] = {
    Method.LORA: MethodSpec(
        title="LoRA",
        sentence="Beside each layer of the base model stands a small added part, and only these "
        "parts learn.",
        suits="The usual choice, for nearly everything.",
        suits_not="Where very much is to be learned, a higher rank or full fine-tuning may hold "
        "more.",
        settings=(rank(), alpha(2.0), DROPOUT),
        source="Hu et al., LoRA, 2021 (arXiv 2106.09685)",
        by_preset=_SAME_ALPHA_BY_PRESET,
        share_per_unit=SHARE_PER_RANK,
        size_setting="rank",
    ),
    Method.RSLORA: MethodSpec(
        title="rsLoRA",
        sentence="LoRA whose added parts keep their strength when they are given more room.",
        suits="When you raise the rank to 64 and more, where plain LoRA gains little from it.",
        suits_not="At small ranks it is LoRA with other numbers.",
        settings=(
            rank(32),
            alpha(
                None,
                default=8,
                meaning="How strongly the added part acts; its effect is alpha divided by the "
                "square root of the rank.",
            ),
            DROPOUT,
        ),
        source="Kalajdzievski, rsLoRA, 2023 (arXiv 2312.03732)",
        by_preset={"quick": {"rank": 16}, "balanced": {"rank": 32}, "thorough": {"rank": 64}},
        share_per_unit=SHARE_PER_RANK,
        size_setting="rank",
    ),
    Method.DORA: MethodSpec(
        title="DoRA",
        sentence="LoRA that learns how strongly and in which direction each layer acts apart from "
        "each other.",
        suits="At small ranks, when LoRA comes close but not close enough.",
        suits_not="When time matters: each step takes clearly longer than with LoRA.",
        settings=(rank(), alpha(2.0), DROPOUT),
        source="Liu et al., DoRA, 2024 (arXiv 2402.09353)",
        by_preset=RANK_BY_PRESET,
        share_per_unit=SHARE_PER_RANK * 1.1,
        size_setting="rank",
        # On a processor peft loses the scales of a layer in 8 bits when it asks for its norm.
        quantizations=(Quantization.NONE, Quantization.FOUR_BIT),
    ),
    Method.LORA_PLUS: MethodSpec(
        title="LoRA+",
        sentence="LoRA whose outer half takes larger steps than its inner half.",
        suits="When the training should get there in fewer steps.",
        suits_not="With very few examples: larger steps learn by heart sooner.",
        settings=(
            rank(),
            alpha(2.0),
            Setting(
                "ratio",
                "Larger steps by (ratio)",
                "How many times larger the steps of the outer half are.",
                Kind.DECIMAL,
                default=4.0,
                lowest=1.0,
                highest=64.0,
            ),
            DROPOUT,
        ),
        source="Hayou et al., LoRA+, 2024 (arXiv 2402.12354)",
        by_preset=RANK_BY_PRESET,
        share_per_unit=SHARE_PER_RANK,
        size_setting="rank",
    ),
    Method.PISSA: MethodSpec(
        title="PiSSA",
        sentence="LoRA that begins with the strongest directions of each layer instead of with "
        "nothing.",
        suits="When it should learn faster from the first step on.",
        suits_not="When the file should be small: it is saved at twice the rank, so that it fits "
        "the base model that everyone has.",
        settings=(rank(), alpha(1.0)),
        source="Meng et al., PiSSA, 2024 (arXiv 2404.02948)",
        by_preset=RANK_BY_PRESET,
        share_per_unit=2 * SHARE_PER_RANK,
        size_setting="rank",
        quantizations=NOT_IN_FEW_BITS,
    ),
    Method.OLORA: MethodSpec(
        title="OLoRA",
        sentence="LoRA that begins with directions of each layer that do not overlap.",
        suits="As PiSSA, where preparing should take no time.",
        suits_not="When the file should be small: it is saved at twice the rank, so that it fits "
        "the base model that everyone has.",
        settings=(rank(), alpha(1.0)),
        source="Büyükakyüz, OLoRA, 2024 (arXiv 2406.01775)",
        by_preset=RANK_BY_PRESET,
        share_per_unit=2 * SHARE_PER_RANK,
        size_setting="rank",
        quantizations=NOT_IN_FEW_BITS,
    ),
    Method.ADALORA: MethodSpec(
        title="AdaLoRA",
        sentence="LoRA that takes room from layers which need little of it while it learns.",
        suits="When the file should be small and the training long enough to find out what "
        "matters.",
        suits_not="For short trainings: the room is given out before enough is known.",
        settings=(
            rank(8, "How much an added part holds in the end, on average."),
            Setting(
                "first_rank",
                "Room at the beginning",
                "How much every added part holds before room is taken away.",
                Kind.WHOLE,
                default=12,
                lowest=2,
                highest=384,
                times=("rank", 1.5),
            ),
            alpha(
                None,
                default=32,
                meaning="How strongly the added part acts; its effect is alpha divided by the room "
                "at the beginning.",
            ),
            Setting(
                "orthogonality",
                "Tidiness (orthogonal regularisation)",
                "How strongly the directions that it learns are kept apart from each other.",
                Kind.DECIMAL,
                default=0.1,
                lowest=0.0,
                highest=1.0,
            ),
            DROPOUT,
        ),
        source="Zhang et al., AdaLoRA, 2023 (arXiv 2303.10512)",
        learning_rate_factor=3.0,
        by_preset={"quick": {"rank": 4}, "balanced": {"rank": 8}, "thorough": {"rank": 16}},
        share_per_unit=1.6 * SHARE_PER_RANK,
        size_setting="rank",
        # On 8-bit layers peft's form hands on 32-bit numbers where the model reckons with 16.
        quantizations=(Quantization.NONE, Quantization.FOUR_BIT),
    ),
}
