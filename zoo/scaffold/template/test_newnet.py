"""The plugin keeps the contract of zoo, and each part does what it is there for."""

import zoo


def test_contract() -> None:
    zoo.testing.check_plugin("newnet")


def test_models() -> None:
    import torch

    model = zoo.create_model("newnet", input_shape=(1, 64, 128), width=8)
    assert model(torch.zeros(2, 1, 64, 128)).shape == (2, 2)


def test_steps() -> None:
    image = zoo.Pipeline(["newnet-sky"]).run_frame(zoo.testing.make_frame())
    assert abs(image.median().item()) < 1e-3


def test_datasets() -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        zoo.testing.check_dataset("newnet-data", folder, options={"targets": 4})


def test_losses() -> None:
    zoo.testing.check_loss("newnet-loss", options={"temperature": 5.0})


def test_loggers() -> None:
    zoo.testing.check_logger("newnet-lines")


def test_commands() -> None:
    zoo.testing.check_command("newnet")
