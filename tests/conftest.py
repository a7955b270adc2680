"""Options and fixtures of every test: where real data and pretrained weights are. Tests that need them skip where they are absent."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--data-root", default="datasets", help="folder of real data sets (docs/your_data.md says how to obtain each)")
    parser.addoption("--weights-root", default="weights", help="folder of pretrained encoders")


def existing_folder(config: pytest.Config, option: str) -> Path:
    """The folder an option names, relative to the repository root; skips the test where there is none."""
    path = ROOT / config.getoption(option)
    if not path.is_dir():
        pytest.skip(f"{option} {path} is not there")
    return path


@pytest.fixture(scope="session")
def data_root(pytestconfig: pytest.Config) -> Path:
    return existing_folder(pytestconfig, "--data-root")


@pytest.fixture(scope="session")
def weights_root(pytestconfig: pytest.Config) -> Path:
    return existing_folder(pytestconfig, "--weights-root")
