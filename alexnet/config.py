"""Every number of every network: frozen dataclasses, and the named presets that fill them.

docs/fidelity.md says where the presets differ and what [P], [S], [CC1], [C] and [TV] cite.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from alexnet.errors import AlexNetError
from alexnet.settings import at_least, chosen_by

Views = Literal["ten", "centre", "dense"]
"""Ten crops of the square photo, the central one, or every place of the whole photo
(docs/dense.md)."""
Nonlinearity = Literal["relu", "tanh"]
Step = Literal["relu", "tanh", "lrn", "same_map_lrn", "pool"]


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """How a photo becomes the network's input. Pixels stay on the scale 0-255 throughout."""

    size: int = 256
    """Side of the square photo that is stored and sent to the network, in pixels [P §2]."""
    crop: int = 224
    """Side of the square that the network sees, in pixels."""
    mean: Literal["aligned", "centred", "channel"] = "aligned"
    """`aligned`: the mean image, cropped where the photo is cropped. `centred`: always the central
    crop of the mean image, whatever the photo's offset, and not mirrored with it
    [S convdata_jpeg.py:95,210]. `channel`: the three constants of `mean_rgb`."""
    mean_rgb: tuple[float, float, float] | None = None
    """Means for `channel`, RGB, 0-255."""
    std_rgb: tuple[float, float, float] | None = None
    """Divide each channel by this after the mean; null: no division, as in 2012."""
    order: Literal["rgb", "bgr"] = "rgb"
    """Channel order of the network's input. Photos and mean images are always kept as RGB."""
    fit: Literal["crop", "warp"] = "crop"
    """`crop`: shorter side to `size`, then the central square [P §2]. `warp`: both sides to `size`,
    whatever the photo's shape [C examples/imagenet/readme.md]."""
    filter: Literal["bilinear", "bicubic", "lanczos", "box"] = "bilinear"
    """Resampling filter, each one widened when it shrinks (Pillow's antialiasing)."""

    def __post_init__(self) -> None:
        """Check that the sides fit each other."""
        if not 0 < self.crop <= self.size:
            raise ValueError(f"a crop of {self.crop} pixels does not fit a photo of {self.size}.")
        if (self.mean == "channel") != (self.mean_rgb is not None):
            raise ValueError("mean_rgb belongs to mean='channel', and only there.")
        if self.std_rgb is not None and not min(self.std_rgb) > 0:
            raise ValueError(f"std_rgb must be more than 0, not {list(self.std_rgb)}.")

    @property
    def has_mean_image(self) -> bool:
        """Whether the network needs a mean image of the training photos."""
        return self.mean != "channel"


@dataclass(frozen=True, kw_only=True)
class LRNConfig:
    """Local response normalisation: b = a / (k + c * sum of a^2 over the window) ** beta [P §3.3].

    The meaning of alpha differs between implementations, and this class is the only place that
    knows: everything else reads `coefficient`.
    """

    size: int = 5
    """Side of the window: maps, or positions of one map."""
    alpha: float = 1e-4
    alpha_of: Literal["sum", "mean"] = "sum"
    """`sum`: c = alpha, the printed formula. `mean`: c = alpha / cells of the window, as in the
    2012 code [S layer.py:1183], Caffe and torch.nn.LocalResponseNorm."""
    beta: float = 0.75
    k: float = 2.0
    window: Literal["maps", "positions"] = "maps"
    """`maps`: `size` neighbouring maps at one position. `positions`: `size` x `size` positions of
    one map (net #145's "cnorm2")."""
    within_columns: bool = True
    """The window stops at the column's edge (one column a GPU); false: it crosses (Caffe)."""

    def __post_init__(self) -> None:
        """Check ranges."""
        at_least(1, size=self.size)
        at_least(0, alpha=self.alpha, beta=self.beta)
        if not self.k > 0:
            raise ValueError(f"k must be more than 0, not {self.k:g}: maps of zeros divide by it.")

    @property
    def cells(self) -> int:
        """Values that a whole window holds."""
        return self.size if self.window == "maps" else self.size**2

    @property
    def coefficient(self) -> float:
        """c: what the sum of squares is multiplied with."""
        return self.alpha if self.alpha_of == "sum" else self.alpha / self.cells


@dataclass(frozen=True, kw_only=True)
class PoolConfig:
    """Max-pooling; windows past the edge are cut off there."""

    size: int = 3
    stride: int = 2
    ceil: bool = True
    """Round the number of windows up [S layer.py:1164] or down."""

    def __post_init__(self) -> None:
        """Check ranges."""
        at_least(1, size=self.size, stride=self.stride)


@dataclass(frozen=True, kw_only=True)
class ConvConfig:
    """A convolution and what follows it, in `steps` order."""

    maps: int
    """Feature maps of all columns together."""
    kernel: int
    stride: int = 1
    pad: tuple[int, int] = (0, 0)
    """Zero rows and columns before (top, left) and after (bottom, right)."""
    reads: Literal["column", "all"] = "column"
    """Maps that a column's filters see: its own, or all columns' (conv1, conv3) [P §3.2]."""
    steps: tuple[Step, ...] = ("relu",)
    lrn: LRNConfig | None = None
    same_map_lrn: LRNConfig | None = None
    pool: PoolConfig | None = None
    init_std: float | None = 0.01
    """Standard deviation of the Gaussian that weights start from; null: PyTorch's default for
    weights and biases."""
    init_bias: float = 0.0

    def __post_init__(self) -> None:
        """Check ranges, and that each step has its config, and each config its step."""
        at_least(1, maps=self.maps, kernel=self.kernel, stride=self.stride)
        at_least(0, pad=min(self.pad), init_std=self.init_std)
        if len(set(self.steps)) < len(self.steps):
            raise ValueError(f"a step comes twice: {', '.join(self.steps)}.")
        for step, config in (
            ("lrn", self.lrn),
            ("same_map_lrn", self.same_map_lrn),
            ("pool", self.pool),
        ):
            if (step in self.steps) != (config is not None):
                raise ValueError(f"step '{step}' and the field '{step}' go together.")

    def lrn_of(self, step: Step) -> LRNConfig:
        """The config of a normalising step, `lrn` or `same_map_lrn`."""
        config = self.lrn if step == "lrn" else self.same_map_lrn
        assert config is not None, step
        return config


@dataclass(frozen=True, kw_only=True)
class FullConfig:
    """A fully connected layer and its nonlinearity; every unit sees all columns."""

    units: int = 4096
    init_std: float | None = 0.01
    init_bias: float = 1.0
    nonlinearity: Nonlinearity = "relu"

    def __post_init__(self) -> None:
        """Check ranges."""
        at_least(1, units=self.units)
        at_least(0, init_std=self.init_std)


@dataclass(frozen=True, kw_only=True)
class DropoutConfig:
    """Dropout of the two hidden fully connected layers [P §4.2]."""

    rate: float = 0.5
    """Probability that a value becomes 0."""
    scaled: Literal["in_test", "in_training"] = "in_test"
    """`in_test`: values are multiplied by 1 - rate when not training [S layer.cu:1126-1133].
    `in_training`: survivors are divided by 1 - rate in training (inverted) [C, TV]."""
    of: Literal["outputs", "inputs"] = "outputs"
    """Drop the outputs of fc6 and fc7, or their inputs [TV]."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 0 <= self.rate < 1:
            raise ValueError(f"the rate must be at least 0 and less than 1, not {self.rate:g}.")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The network: convolutions conv1.., two hidden layers fc6 and fc7, the output layer fc8."""

    columns: int = 2
    convs: tuple[ConvConfig, ...]
    fc6: FullConfig = FullConfig()
    fc7: FullConfig = FullConfig()
    classes: int = 1000
    fc8_init_std: float | None = 0.01
    dropout: DropoutConfig = DropoutConfig()

    def __post_init__(self) -> None:
        """Check ranges, and that maps can be dealt out to the columns."""
        at_least(1, columns=self.columns, classes=self.classes)
        at_least(0, fc8_init_std=self.fc8_init_std)
        if self.convs and self.convs[0].reads == "column" and 3 % self.columns:
            raise ValueError(f"conv1 reads all channels: {self.columns} columns can't share three.")
        for number, conv in enumerate(self.convs, 1):
            if conv.maps % self.columns:
                raise ValueError(
                    f"conv{number} has {conv.maps} maps: not a multiple of {self.columns} columns."
                )


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole network with the way photos enter it."""

    preset: str = field(metadata=chosen_by("--preset"))
    """The preset this config began as."""
    input: InputConfig
    network: NetworkConfig


# Layers 1 and 2 of the printed text: ReLU, normalisation, pooling [P §3.5].
_PAPER_STEPS: tuple[Step, ...] = ("relu", "lrn", "pool")
_POOL = PoolConfig()


def _columns_of_2012(
    *, lrn: LRNConfig, first: tuple[Step, ...], middle_std: float
) -> tuple[ConvConfig, ...]:
    return (
        # Output sizes are rounded up in the 2012 code [S layer.py:1004]: 224 pixels give 55
        # windows, and the last one reads three pixels past the right and bottom edge as zeros.
        ConvConfig(
            maps=96, kernel=11, stride=4, pad=(0, 3), reads="all", steps=first, lrn=lrn, pool=_POOL
        ),
        ConvConfig(
            maps=256, kernel=5, pad=(2, 2), steps=_PAPER_STEPS, lrn=lrn, pool=_POOL, init_bias=1.0
        ),
        ConvConfig(maps=384, kernel=3, pad=(1, 1), reads="all", init_std=middle_std),
        ConvConfig(maps=384, kernel=3, pad=(1, 1), init_std=middle_std, init_bias=1.0),
        ConvConfig(
            maps=256,
            kernel=3,
            pad=(1, 1),
            steps=("relu", "pool"),
            pool=_POOL,
            init_std=middle_std,
            init_bias=1.0,
        ),
    )


def paper() -> Config:
    """The network of the printed text [P §3].

    ReLU, LRN with alpha times the sum, pooling; all weights N(0, 0.01). 60,965,224 parameters,
    724,406,816 multiply-accumulates a crop. The paper's errors (40.7 % / 18.2 % on ILSVRC-2012
    validation, ten views) were measured with `net145`, not with this reading of the text.
    """
    convs = _columns_of_2012(lrn=LRNConfig(), first=_PAPER_STEPS, middle_std=0.01)
    return Config(preset="paper", input=InputConfig(), network=NetworkConfig(convs=convs))


def net145() -> Config:
    """Net #145, the network behind the published numbers, as it was run in 2012.

    Source: layers-145.cfg and layer-params-145.cfg. Differs from `paper`: alpha over the window's
    size; layer 1 normalises before its ReLU; layer 2 has a second, same-map normalisation;
    conv3-conv5 start from N(0, 0.03); the mean image's centre is subtracted from every crop.
    Same counts as `paper`; 40.664 % / 18.210 % with ten views after 90 epochs (2012).
    """
    lrn = LRNConfig(alpha_of="mean")
    convs = list(_columns_of_2012(lrn=lrn, first=("lrn", "pool", "relu"), middle_std=0.03))
    convs[1] = ConvConfig(
        maps=256,
        kernel=5,
        pad=(2, 2),
        steps=("relu", "lrn", "same_map_lrn", "pool"),
        lrn=lrn,
        # Scale .001 over 25 positions; the constant 1 is in the kernel [CC1 conv_util.cu:1011].
        same_map_lrn=LRNConfig(alpha=0.001, alpha_of="mean", k=1.0, window="positions"),
        pool=_POOL,
        init_bias=1.0,
    )
    return Config(
        preset="net145",
        input=InputConfig(mean="centred"),
        network=NetworkConfig(convs=tuple(convs)),
    )


def one_gpu() -> Config:
    """The single-GPU net of the paper's comparison (#145-half) [P §3.2].

    One column with half the maps, except that conv5 and the fully connected layers keep their
    size. 59,798,312 parameters, 391,514,384 multiply-accumulates. 1.7 / 1.2 points worse than two
    columns (LSVRC-2010, ten views).
    """
    both = net145()
    halves = (48, 128, 192, 192, 256)
    convs = tuple(
        replace(conv, maps=maps, reads="all")
        for conv, maps in zip(both.network.convs, halves, strict=True)
    )
    network = NetworkConfig(columns=1, convs=convs)
    return Config(preset="one_gpu", input=both.input, network=network)


def six_conv() -> Config:
    """The six-convolution net that was pre-trained on more classes (#146), with 1000 outputs.

    Net #145 and, after its last pooling, conv6: 3x3 over both columns, no pooling behind it.
    61,555,304 parameters, 745,640,480 multiply-accumulates. 39.0 % / 16.6 % after pre-training on
    ImageNet Fall 2009 and 2011 (Table 2, "1 CNN*").
    """
    base = net145()
    conv6 = ConvConfig(maps=256, kernel=3, pad=(1, 1), reads="all", init_std=0.03, init_bias=1.0)
    return Config(
        preset="six_conv",
        input=base.input,
        network=NetworkConfig(convs=(*base.network.convs, conv6)),
    )


def caffe() -> Config:
    """BVLC's `bvlc_alexnet` for Caffe [C models/bvlc_alexnet].

    227-pixel crops without padding, BGR, k=1, normalisation across the columns, hidden layers from
    N(0, 0.005), biases 0.1, inverted dropout, photos warped to 256x256. 42.9 % / 19.8 % with the
    centre crop.
    """
    lrn = LRNConfig(alpha_of="mean", k=1.0, within_columns=False)
    convs = tuple(
        replace(
            conv,
            pad=(0, 0) if number == 1 else conv.pad,
            init_bias=0.1 if conv.init_bias else 0.0,
        )
        for number, conv in enumerate(
            _columns_of_2012(lrn=lrn, first=_PAPER_STEPS, middle_std=0.01), 1
        )
    )
    hidden = FullConfig(init_std=0.005, init_bias=0.1)
    return Config(
        preset="caffe",
        input=InputConfig(crop=227, order="bgr", fit="warp"),
        network=NetworkConfig(
            convs=convs, fc6=hidden, fc7=hidden, dropout=DropoutConfig(scaled="in_training")
        ),
    )


def torchvision() -> Config:
    """torchvision's `alexnet`: the one-column net of a later paper, without normalisation [TV].

    64-192-384-256-256 maps, 61,100,840 parameters, 714,188,480 multiply-accumulates, dropout on the
    inputs of fc6 and fc7, channel means and deviations. 43.48 % / 20.93 % with the centre crop.
    """
    pool = PoolConfig(ceil=False)

    def conv(maps: int, kernel: int, pad: int, *, stride: int = 1, pooled: bool) -> ConvConfig:
        return ConvConfig(
            maps=maps,
            kernel=kernel,
            stride=stride,
            pad=(pad, pad),
            reads="all",
            steps=("relu", "pool") if pooled else ("relu",),
            pool=pool if pooled else None,
            init_std=None,
        )

    convs = (
        conv(64, 11, 2, stride=4, pooled=True),
        conv(192, 5, 2, pooled=True),
        conv(384, 3, 1, pooled=False),
        conv(256, 3, 1, pooled=False),
        conv(256, 3, 1, pooled=True),
    )
    hidden = FullConfig(init_std=None, init_bias=0.0)
    return Config(
        preset="torchvision",
        input=InputConfig(
            mean="channel",
            # ImageNet's (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225) on the scale 0-255.
            mean_rgb=(123.675, 116.28, 103.53),
            std_rgb=(58.395, 57.12, 57.375),
        ),
        network=NetworkConfig(
            columns=1,
            convs=convs,
            fc6=hidden,
            fc7=hidden,
            fc8_init_std=None,
            dropout=DropoutConfig(scaled="in_training", of="inputs"),
        ),
    )


def mini() -> Config:
    """The paper's two-column network at a quarter of its scale: 64-pixel photos, 56-pixel crops.

    For CPUs, tests and the model that ships. A quarter of the maps and units in every layer; conv1
    is 5x5 with stride 1, so that from there on all maps have the paper's sizes (55, 27, 13, 6).
    Weights start from He's deviations, sqrt(2 / fan-in), but for conv1, which sees 0-255, and
    biases from 0: with the paper's 0.01 so narrow a net does not start. 3,606,930 parameters,
    43,927,176 multiply-accumulates a crop with 50 classes.
    """
    lrn = LRNConfig()
    convs = (
        ConvConfig(
            maps=24,
            kernel=5,
            pad=(1, 2),
            reads="all",
            steps=_PAPER_STEPS,
            lrn=lrn,
            pool=_POOL,
            init_std=0.02,
        ),
        ConvConfig(
            maps=64, kernel=5, pad=(2, 2), steps=_PAPER_STEPS, lrn=lrn, pool=_POOL, init_std=0.0816
        ),
        ConvConfig(maps=96, kernel=3, pad=(1, 1), reads="all", init_std=0.0589),
        ConvConfig(maps=96, kernel=3, pad=(1, 1), init_std=0.068),
        ConvConfig(
            maps=64, kernel=3, pad=(1, 1), steps=("relu", "pool"), pool=_POOL, init_std=0.068
        ),
    )
    return Config(
        preset="mini",
        input=InputConfig(size=64, crop=56),
        network=NetworkConfig(
            convs=convs,
            fc6=FullConfig(units=1024, init_std=0.0295, init_bias=0.0),
            fc7=FullConfig(units=1024, init_std=0.0442, init_bias=0.0),
            classes=50,
        ),
    )


PRESETS: dict[str, Callable[[], Config]] = {
    maker.__name__: maker for maker in (paper, net145, one_gpu, six_conv, caffe, torchvision, mini)
}


def preset(name: str) -> Config:
    """The config of the preset `name`.

    Raises:
        AlexNetError: there is no such preset.
    """
    if name not in PRESETS:
        raise AlexNetError(f"There is no preset '{name}': choose one of {', '.join(PRESETS)}.")
    return PRESETS[name]()
