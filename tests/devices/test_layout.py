import pytest

from tests.devices import eight_devices
from tests.training import forking

LAWS = (
    "lstm",
    "transformer",
    "parts",
    "streams",
    "references",
    "elastic",
    "not_finite",
    "compiles_once",
    "communicates_gradients_alone",
    "refuses",
    "attends_in_blocks",
    "lays_out_by_rules",
)


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS)
def test_eight_devices(law, tmp_path, data_dir):
    """Some compile steps for five meshes, which takes more than twenty seconds until they are kept."""
    ended = forking.finish(
        *forking.call(eight_devices.hold, law, str(tmp_path), data_dir, log=tmp_path / "log"), seconds=600
    )
    assert ended.code == 0 and ended.text.splitlines()[-1] == f"holds {law}", ended.text
