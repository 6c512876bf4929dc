"""Whether hardware keeps up: rates, predictions by hand, and stored measurements before predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import zoo
from zoo.errors import UnknownNameError, UsageError
from zoo.profiling.capacity import (
    SPEEDS,
    Measured,
    Speed,
    fit_rate,
    fit_rates,
    parse_hardware,
    parse_rate,
    predict_throughput,
    read_measured,
)

FACTS = {"macs": 10**12, "traffic_bytes": 10**10}
ASKED = {"rate": 2.0, "deadline_s": None, "batch": 1, "mode": "infer", "precision": "bf16"}


def test_rates_and_hardware_are_read() -> None:
    assert [parse_rate(text) for text in ("2/s", "30/min", "1800 / h", "43200/day")] == [2.0, 0.5, 0.5, 0.5]
    assert parse_hardware("H200, NVIDIA L4") == ("h200", "l4")
    for text in ("2", "0/s", "2/week", "-1/s"):
        with pytest.raises(UsageError, match="49000/day"):
            parse_rate(text)
    with pytest.raises(UnknownNameError, match="rtx4090"):
        parse_hardware("rtx4091")


def test_throughput_by_hand() -> None:
    speed = Speed(fp32=10, tf32=50, bf16=100, bandwidth=1000)
    least, most = predict_throughput(speed, **FACTS, mode="infer", precision="bf16")
    assert 1 / least == pytest.approx(2 / (0.15 * 100) + 0.01 / 0.40)  # one after the other
    assert 1 / most == pytest.approx(max(2 / (0.70 * 100), 0.01 / 0.85))  # at the same time
    assert predict_throughput(speed, **FACTS, mode="infer", precision="fp32")[0] < least
    assert predict_throughput(speed, **FACTS, mode="train", precision="bf16")[1] == pytest.approx(most / 3)


def test_verdict_counts_rate_and_deadline() -> None:
    def verdict(frames_per_s: tuple[float, float], **limits: Any) -> str:
        return fit_rate("x", "predicted", frames_per_s, 10.0, **{"batch": 1, "deadline_s": None, **limits}).verdict

    assert [verdict(speed) for speed in ((10, 20), (5, 20), (5, 9))] == ["keeps-up", "perhaps", "too-slow"]
    assert [verdict((10, 20), batch=11, deadline_s=limit) for limit in (2.2, 2.0, 1.5)] == ["keeps-up", "perhaps", "too-slow"]
    found = fit_rate("x", "predicted", (4.0, 20.0), 10.0, batch=1, deadline_s=None)
    assert (found.utilisation, found.devices, found.latency_s) == ((0.5, 2.5), (1, 3), (0.05, 0.25))


def test_measurement_goes_before_prediction() -> None:
    measured = [Measured("hrcn", "infer", "bf16", "NVIDIA H200", 100.0), Measured("hrcn", "infer", "fp32", "NVIDIA L4", 1.0)]
    h200, l4 = fit_rates("hrcn", FACTS, ASKED, ("h200", "l4"), measured)
    assert (h200.basis, h200.frames_per_s) == ("measured", (100.0, 100.0))
    assert (l4.basis, l4.frames_per_s) == ("predicted", predict_throughput(SPEEDS["l4"], **FACTS, mode="infer", precision="bf16"))
    assert [fit.hardware for fit in fit_rates("hrcn", FACTS, ASKED, (), measured)] == ["NVIDIA H200"]
    assert fit_rates("hrcn", {"macs": None, "traffic_bytes": 1}, ASKED, ("l4",), []) == ()


@pytest.mark.parametrize(
    ("name", "device", "same"),
    [("l4", "NVIDIA L40S", False), ("rtx4090", "NVIDIA GeForce RTX 4090", True), ("a100-80gb", "NVIDIA A100-SXM4-80GB", True),
     ("a100-80gb", "NVIDIA A100-SXM4-40GB", False)],
)  # fmt: skip
def test_measured_devices_are_known_by_their_names(name: str, device: str, same: bool) -> None:
    (found,) = fit_rates("hrcn", FACTS, ASKED, (name,), [Measured("hrcn", "infer", "bf16", device, 3.0)])
    assert (found.basis == "measured") is same


def test_stored_profiles_are_read(tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    steps = [{"mode": "infer", "samples_s": [1.0, 2.0, 3.0]}, {"mode": "train", "samples_s": []}]
    facts = {"processor": "AMD EPYC", "asked": {"precision": "fp32"}}
    file.write_text(json.dumps({"schema": 1, "metadata": facts, "results": {"models": [{"label": "hrcn", "batch": 4, "steps": steps}]}}))
    assert read_measured(file) == [Measured("hrcn", "infer", "fp32", "AMD EPYC", 2.0)]
    file.write_text("{}")
    with pytest.raises(UsageError, match="zoo profile MODEL --json"):
        read_measured(file)


def test_estimates_have_rates() -> None:
    asked: dict[str, Any] = {"precision": "bf16", "rate": "49000/day", "deadline": "60s", "hardware": "h200,l4"}
    (record,) = zoo.estimate("alexnet", input_shape=(1, 256, 512), **asked).models
    assert [(fit.hardware, fit.basis, fit.verdict) for fit in record.rates] == [(name, "predicted", "keeps-up") for name in ("h200", "l4")]
    assert record.to_dict()["rates"][0]["devices"] == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rate": "1/s"}, "expected what to compare it with"),
        ({"hardware": "l4"}, "without a rate"),
        ({"rate": "1/s", "hardware": "l4", "deadline": "soon"}, "soon"),
    ],
)
def test_halves_of_a_question_are_refused(arguments: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        zoo.estimate("alexnet", **arguments)
