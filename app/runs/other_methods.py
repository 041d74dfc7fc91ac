"""The rows of the table of methods: all that is not LoRA."""

from typing import Final

from app.runs.method_settings import (
    DROPOUT,
    NOT_IN_FEW_BITS,
    RANK_BY_PRESET,
    SHARE_PER_RANK,
    alpha,
    rank,
)
from app.runs.method_spec import Family, Method, MethodSpec
from app.runs.setting import Kind, Option, Setting


def _virtual_tokens(default: int) -> Setting:
    return Setting(
        "virtual_tokens",
        "Virtual words (virtual tokens)",
        "How many learned vectors stand before every text; each takes the place of one token.",
        Kind.WHOLE,
        default=default,
        lowest=1,
        highest=256,
    )


_ENCODER_SIZE: Final = Setting(
    "encoder_size",
    "Size of the network",
    "Width of the small network that makes the vectors while it learns; it is not kept.",
    Kind.WHOLE,
    default=128,
    lowest=8,
    highest=2048,
)

OTHER_METHODS: Final[dict[Method, MethodSpec]] = {
    Method.VERA: MethodSpec(
        title="VeRA",
        sentence="All layers share one fixed random part, and each layer learns only how strongly "
        "to use it.",
        suits="When many versions are kept: what is learned is a tenth of LoRA's or less.",
        suits_not="For much that is new: it holds less than LoRA.",
        settings=(
            rank(256, "Width of the shared random part; it costs time, hardly any room.", 1024),
            Setting(
                "first_scale",
                "First strength",
                "How strongly the shared part is used at the beginning.",
                Kind.DECIMAL,
                default=0.1,
                lowest=0.0001,
                highest=1.0,
            ),
            DROPOUT,
        ),
        source="Kopiczko et al., VeRA, 2023 (arXiv 2310.11454)",
        learning_rate_factor=10.0,
        share_per_unit=0.003,
    ),
    Method.LOHA: MethodSpec(
        title="LoHa",
        sentence="Two small added parts are multiplied with each other, number by number, so that "
        "they hold more in the same room.",
        suits="When what is learned is a manner rather than facts, and the file should be small.",
        suits_not="When time matters: each step costs about as much as full fine-tuning.",
        settings=(rank(), alpha(2.0), DROPOUT),
        source="Hyeon-Woo et al., FedPara, 2021 (arXiv 2108.06098)",
        learning_rate_factor=3.0,
        by_preset=RANK_BY_PRESET,
        share_per_unit=2 * SHARE_PER_RANK,
        size_setting="rank",
        quantizations=NOT_IN_FEW_BITS,
    ),
    Method.LOKR: MethodSpec(
        title="LoKr",
        sentence="A small pattern is repeated over the whole layer at different strengths.",
        suits="For the smallest files that still change every layer.",
        suits_not="For many facts: one pattern has to do for all of a layer.",
        settings=(
            rank(),
            alpha(2.0),
            Setting(
                "factor",
                "Size of the pattern (factor)",
                "Into how many parts each side of a layer is divided; -1 chooses the most even "
                "division.",
                Kind.WHOLE,
                default=8,
                lowest=-1,
                highest=64,
            ),
            Setting(
                "decompose_both",
                "Divide both halves",
                "Keeps the strengths in little room as well, which makes the file smaller still.",
                Kind.YES_NO,
                default=False,
            ),
            DROPOUT,
        ),
        source="Yeh et al., LyCORIS, 2023 (arXiv 2309.14859)",
        learning_rate_factor=3.0,
        by_preset=RANK_BY_PRESET,
        share_per_unit=0.3 * SHARE_PER_RANK,
        size_setting="rank",
        quantizations=NOT_IN_FEW_BITS,
    ),
    Method.OFT: MethodSpec(
        title="OFT",
        sentence="What each layer reads is turned a little, in blocks, without making it stronger "
        "or weaker.",
        suits="When general abilities should suffer as little as possible.",
        suits_not="When time matters: each step takes longer than with LoRA.",
        settings=(
            Setting(
                "block_size",
                "Size of a block",
                "How many numbers are turned together; larger blocks hold more. It is made to fit "
                "the layers.",
                Kind.WHOLE,
                default=32,
                lowest=2,
                highest=256,
            ),
            Setting(
                "constrained",
                "Only small turns (constrained)",
                "Keeps every turn small, which protects what the base model knows.",
                Kind.YES_NO,
                default=False,
            ),
            DROPOUT,
        ),
        source="Qiu et al., OFT, 2023 (arXiv 2306.07280); Qiu et al., OFTv2, 2025 "
        "(arXiv 2506.19847)",
        share_per_unit=0.012 / 32,
        size_setting="block_size",
    ),
    Method.BOFT: MethodSpec(
        title="BOFT",
        sentence="As OFT, but the turned weights are also learned to be stronger or weaker.",
        suits="When OFT comes close but not close enough, on small models.",
        suits_not="For large models: for each layer it keeps a matrix as large as the layer. "
        "Tailor uses one level of its butterfly; more need a compiler on the machine.",
        settings=(
            Setting(
                "block_size",
                "Size of a block",
                "How many numbers are turned together; larger blocks hold more. It is made to fit "
                "the layers.",
                Kind.WHOLE,
                default=16,
                lowest=2,
                highest=256,
            ),
            DROPOUT,
        ),
        source="Liu et al., BOFT, 2023 (arXiv 2311.06243)",
        learning_rate_factor=2.0,
        share_per_unit=0.012 / 16,
        size_setting="block_size",
        quantizations=NOT_IN_FEW_BITS,
    ),
    Method.IA3: MethodSpec(
        title="IA3",
        sentence="Only a few numbers for each layer learn, which make parts of it louder or "
        "quieter.",
        suits="For very few examples and the smallest files.",
        suits_not="For anything new: it can only stress or silence what the base model knows.",
        settings=(),
        source="Liu et al., T-Few, 2022 (arXiv 2205.05638)",
        learning_rate_factor=30.0,
        share_per_unit=0.0005,
        # On layers in few bits peft's form hands on 32-bit numbers where the model reckons with 16.
        quantizations=NOT_IN_FEW_BITS,
    ),
    Method.LAYER_NORMS: MethodSpec(
        title="Layer norms",
        sentence="Only the scales between the layers learn, a few numbers in ten thousand.",
        suits="For a change of tone, with hardly anything to store.",
        suits_not="For facts: it holds next to nothing. The base model is held in 32 bits while "
        "it learns.",
        settings=(),
        source="Zhao et al., Tuning LayerNorm, 2023 (arXiv 2312.11420)",
        learning_rate_factor=10.0,
        share_per_unit=0.0003,
        quantizations=NOT_IN_FEW_BITS,
        needs_float32=True,
    ),
    Method.PROMPT_TUNING: MethodSpec(
        title="Prompt tuning",
        sentence="A few learned vectors stand before every question, like instructions that no "
        "words could say.",
        suits="For large base models and one narrow task; thousands of versions fit on a disk.",
        suits_not="For small models and for facts: it steers the base model and teaches it little.",
        settings=(
            _virtual_tokens(20),
            Setting(
                "start",
                "How they begin",
                "Vectors of words that the model knows are the better start; chance is the other.",
                Kind.CHOICE,
                default="SAMPLE_VOCAB",
                options=(
                    Option("SAMPLE_VOCAB", "As words of its vocabulary"),
                    Option("RANDOM", "By chance"),
                ),
            ),
        ),
        source="Lester et al., Prompt Tuning, 2021 (arXiv 2104.08691)",
        family=Family.PROMPT,
        learning_rate_factor=10.0,
        share_per_unit=0.0001,
        size_setting="virtual_tokens",
    ),
    Method.P_TUNING: MethodSpec(
        title="P-tuning",
        sentence="As prompt tuning, but a small network makes the vectors while it learns, which "
        "keeps them in tune with each other.",
        suits="Where prompt tuning does not get going.",
        suits_not="For small models and for facts: it steers the base model and teaches it little.",
        settings=(_virtual_tokens(20), _ENCODER_SIZE),
        source="Liu et al., GPT Understands, Too, 2021 (arXiv 2103.10385)",
        family=Family.PROMPT,
        share_per_unit=0.0006,
        size_setting="virtual_tokens",
    ),
    Method.PREFIX_TUNING: MethodSpec(
        title="Prefix tuning",
        sentence="Every layer is given something to remember before it reads the question.",
        suits="For more than prompt tuning holds, with the layers left as they are.",
        suits_not="For long texts: what it remembers takes room in every answer. LoRA usually "
        "learns more in the same time.",
        settings=(
            _virtual_tokens(20),
            Setting(
                "through_network",
                "Learn through a network",
                "A small network makes what is remembered while it learns; steadier, and slower.",
                Kind.YES_NO,
                default=False,
            ),
            _ENCODER_SIZE,
        ),
        source="Li and Liang, Prefix-Tuning, 2021 (arXiv 2101.00190)",
        family=Family.PROMPT,
        learning_rate_factor=30.0,
        share_per_unit=0.0003,
        size_setting="virtual_tokens",
    ),
    Method.FULL: MethodSpec(
        title="Full fine-tuning",
        sentence="All weights of the base model learn; what comes out is a model of its own.",
        suits="As the comparison: it shows what the small methods save, and what they give up.",
        suits_not="For large models: it needs about eight times the memory, every version takes as "
        "much room as a whole model, and it forgets more of what the base model knew.",
        settings=(),
        source="the usual way of training",
        family=Family.FULL,
        learning_rate_factor=0.1,
        share_per_unit=1.0,
        quantizations=NOT_IN_FEW_BITS,
        needs_float32=True,
    ),
}
