"""Numbers that no network can have are refused with a sentence, wherever they come from."""

import pytest

from alexnet.config import ConvConfig, DropoutConfig, FullConfig, LRNConfig, PoolConfig, preset
from alexnet.settings import SettingsError, with_settings


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("network.columns=0", "network: columns must be at least 1, not 0"),
        ("network.classes=0", "network: classes must be at least 1, not 0"),
        ("network.fc8_init_std=-1", "fc8_init_std must be at least 0, not -1"),
        ("network.convs.0.maps=0", "network.convs.0: maps must be at least 1, not 0"),
        ("network.convs.0.kernel=0", "kernel must be at least 1"),
        ("network.convs.1.stride=0", "network.convs.1: stride must be at least 1"),
        ("network.convs.1.stride=-2", "stride must be at least 1, not -2"),
        ("network.convs.0.pad=[0, -1]", "pad must be at least 0, not -1"),
        ("network.convs.0.init_std=-0.1", "init_std must be at least 0, not -0.1"),
        ("network.convs.0.init_std=NaN", "init_std must be at least 0, not nan"),
        ("network.convs.0.init_std=Infinity", "init_std must be at least 0, not inf"),
        ('network.convs.0.steps=["relu", "relu", "lrn", "pool"]', "a step comes twice"),
        ("network.convs.0.reads=column", "2 columns can't share three"),
        ("network.convs.0.pool.size=0", "network.convs.0.pool: size must be at least 1"),
        ("network.convs.0.pool.stride=0", "stride must be at least 1"),
        ("network.convs.0.lrn.size=0", "network.convs.0.lrn: size must be at least 1"),
        ("network.convs.0.lrn.alpha=-1", "alpha must be at least 0"),
        ("network.convs.0.lrn.k=0", "k must be more than 0"),
        ("network.fc6.units=0", "network.fc6: units must be at least 1"),
        ("network.fc7.init_std=-1", "init_std must be at least 0"),
        ("network.dropout.rate=1", "at least 0 and less than 1, not 1"),
        ("network.dropout.rate=-0.5", "at least 0 and less than 1, not -0.5"),
        ("network.dropout.rate=NaN", "at least 0 and less than 1, not nan"),
        ("input.crop=0", "a crop of 0 pixels"),
        ("input.std_rgb=[1, 0, 1]", "std_rgb must be more than 0"),
    ],
)
def test_a_number_out_of_its_range_is_named(setting, sentence):
    with pytest.raises(SettingsError) as caught:
        with_settings(preset("mini"), [setting])
    assert sentence in str(caught.value)


def test_the_ends_of_the_ranges_are_allowed():
    settings = ["network.dropout.rate=0", "network.fc6.init_std=0", "network.convs.0.lrn.size=1"]
    assert with_settings(preset("mini"), settings).network.dropout.rate == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: LRNConfig(size=0),
        lambda: PoolConfig(stride=0),
        lambda: ConvConfig(maps=8, kernel=3, stride=0),
        lambda: FullConfig(units=0),
        lambda: DropoutConfig(rate=1.0),
    ],
)
def test_code_gets_the_same_checks_as_settings(make):
    with pytest.raises(ValueError, match="must be"):
        make()


def test_a_normalising_step_has_its_own_config():
    conv = preset("net145").network.convs[1]
    assert conv.lrn_of("lrn") == conv.lrn != conv.same_map_lrn == conv.lrn_of("same_map_lrn")
