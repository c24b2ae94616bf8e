"""The network learns what can be learned, goes on where it was interrupted, and tells how sure it is."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (pip install 'kinefuse[learning]')")

from fusion.estimators.inertial.layout import JOINTS, POSE_SEGMENTS
from fusion.estimators.inertial.packing import NetworkWeights, shapes
from fusion.maths import quaternion
from tests.training.imu.motions import waving
from training.imu import train as module
from training.imu.export import weights_of, write_weights
from training.imu.judge import figures_of, mean_pose, nearest_segment, part_based, run_network, takes_of, whole_body
from training.imu.lanes import Lanes
from training.imu.model import PartNetwork, WholeBodyNetwork, parameters_of, whole_body_of_equal_size
from training.imu.movements import Movement
from training.imu.plain import tell
from training.imu.takes import TakeParams, plain_take
from training.imu.train import (
    Settings,
    answers,
    calibrate_variances,
    losses_of,
    network_of,
    rate_at,
    rotation_errors,
    train,
)

SMALL = Settings(
    hidden=16, steps=60, lanes=8, frames=30, warm_steps=5, rate=5e-3, dropout=0.0, validate_every=30,
    checkpoint_every=20, half=False, takes=TakeParams(shortest_s=2.0, longest_s=4.0, cold_share=0.5),
)  # fmt: skip


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Movements that need no data pack."""

    def movements(data: Path, use: str, licence: str, *_: object, **__: object) -> list[Movement]:
        return [waving("b", 6.5, pace=1.1)] if use == "validate" else [waving("a", 15.0), waving("c", 8.0, pace=1.3)]

    monkeypatch.setattr(module, "movements", movements)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("made_up")
def test_training_learns_and_its_variances_hold(tmp_path: Path) -> None:
    seen: list[dict[str, float]] = []
    network = train(SMALL, tmp_path, tmp_path / "run", lambda step, figures: seen.append(figures))
    assert len(seen) == SMALL.steps
    assert np.mean([f["pose"] for f in seen[-10:]]) < 0.4 * np.mean([f["pose"] for f in seen[:5]])
    assert seen[-1]["validation_deg"] <= seen[29]["validation_deg"]
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert [entry["step"] for entry in history] == [30, 60]
    # On the takes that they are scaled on the intervals hold 95 % of the errors, by construction.
    judges = module.Validation([waving("b", 6.5, pace=1.1)])
    inside: list[np.ndarray] = []
    for take, answer in answers(network, judges.takes + judges.varied(SMALL.takes)):
        turned, moved = module.errors_of(take, answer)
        inside.append((np.abs(turned) < 1.96 * np.exp(0.5 * answer.pose_log_variance)).ravel())
        inside.append((np.abs(moved) < 1.96 * np.exp(0.5 * answer.velocity_log_variance)).ravel())
    assert abs(float(np.concatenate(inside).mean()) - 0.95) < 0.01


@pytest.mark.usefixtures("made_up")
def test_a_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    out = tmp_path / "run"

    class Stop(Exception):
        """An interruption."""

    def until(step: int, _: dict[str, float]) -> None:
        if step == 45:
            raise Stop

    with pytest.raises(Stop):
        train(SMALL, tmp_path, out, until)
    steps: list[int] = []
    train(SMALL, tmp_path, out, lambda step, _: steps.append(step), resume=True)
    assert steps == list(range(41, 61))
    with pytest.raises(ValueError, match="other settings: hidden"):
        train(replace(SMALL, hidden=20), tmp_path, out, lambda *_: None, resume=True)
    with pytest.raises(FileNotFoundError):
        train(SMALL, tmp_path, tmp_path / "nothing", lambda *_: None, resume=True)


def test_states_go_on_from_window_to_window() -> None:
    """Windows of 30 frames with carried states tell what one pass over the take tells."""
    network = network_of(SMALL).eval()
    take = plain_take(waving("a", 4.0), np.random.default_rng(1), TakeParams())
    ((_, whole),) = answers(network, [take])
    state = network.begin(
        torch.from_numpy(take.first_velocities[None]), torch.from_numpy(take.first_six[None]), torch.tensor([take.cold])
    )
    parts = []
    with torch.no_grad():
        for first in range(0, len(take.features), 30):
            outputs, state = network(torch.from_numpy(take.features[first : first + 30, None]), state)
            parts.append(module.base_order(outputs, network)[1][:, 0].numpy())
    np.testing.assert_allclose(np.concatenate(parts), whole.six, atol=1e-5)


def test_padding_does_not_count() -> None:
    network = network_of(SMALL).eval()
    window = Lanes([waving("a", 9.0)], 4, SMALL.takes, (1,)).window(40)
    truth = {name: torch.from_numpy(getattr(window, name)) for name in type(window).__dataclass_fields__}
    truth["valid"][25:] = False
    state = network.begin(truth["first_velocities"], truth["first_six"], truth["cold"])
    outputs, _ = network(truth["features"], state)
    before = losses_of(outputs, truth, network)
    truth["six"][25:] += 5.0
    truth["velocities"][25:] -= 3.0
    after = losses_of(outputs, truth, network)
    assert all(float(before[name].detach()) == float(after[name].detach()) for name in before)
    truth["six"][:25] += 0.5
    assert float(losses_of(outputs, truth, network)["pose"].detach()) > float(before["pose"].detach())


def test_rotation_errors_turn_what_is_told_into_what_is_true() -> None:
    random = np.random.default_rng(1)
    q, true = (quaternion.normalize(random.standard_normal((50, 4))) for _ in range(2))
    true[:20] = quaternion.multiply(quaternion.from_rotvec(1e-4 * random.standard_normal((20, 3))), q[:20])

    def six(values: np.ndarray) -> torch.Tensor:
        matrices = quaternion.to_matrix(values)
        return torch.from_numpy(np.concatenate([matrices[:, :, 0], matrices[:, :, 1]], axis=-1))

    error = rotation_errors(six(q), six(true)).numpy()
    found = quaternion.multiply(quaternion.from_rotvec(error), q)
    assert quaternion.angle_between(found, true).max() < 1e-5


def test_rates_rise_and_fall() -> None:
    rates = [rate_at(step, SMALL) for step in range(SMALL.steps)]
    assert rates[0] < rates[4]
    assert max(rates) <= SMALL.rate
    assert rates[-1] < 0.01 * SMALL.rate
    assert all(math.isfinite(rate) and rate >= 0.0 for rate in rates)


def test_the_whole_body_network_is_as_large() -> None:
    parts = PartNetwork(64)
    whole = whole_body_of_equal_size(parts)
    assert abs(parameters_of(whole) / parameters_of(parts) - 1.0) < 0.02


@pytest.mark.parametrize("kind", ["parts", "whole"])
def test_plain_numpy_tells_what_torch_tells(kind: str) -> None:
    torch.manual_seed(1)
    network = PartNetwork(24) if kind == "parts" else WholeBodyNetwork(24)
    for name, parameter in network.named_parameters():
        if name.endswith("cold"):
            torch.nn.init.normal_(parameter)
    for cold in (True, False):
        take = replace(plain_take(waving("a", 2.0), np.random.default_rng(1), TakeParams()), cold=cold)
        ((_, told),) = answers(network, [take])
        first = (None, None) if cold else (take.first_velocities, take.first_six)
        velocities, six = tell(weights_of(network), take.features, *first)
        np.testing.assert_allclose(six, told.six, atol=1e-5)
        np.testing.assert_allclose(velocities, told.velocities, atol=1e-5)


def test_the_runtime_tells_what_torch_tells() -> None:
    torch.manual_seed(2)
    network = PartNetwork(24)
    for cold in (True, False):
        take = replace(plain_take(waving("a", 3.0), np.random.default_rng(1), TakeParams()), cold=cold)
        ((_, told),) = answers(network, [take])
        found = run_network(NetworkWeights.from_arrays(weights_of(network)), take)
        np.testing.assert_allclose(found.six, told.six, atol=2e-4)
        np.testing.assert_allclose(found.velocities, told.velocities, atol=2e-4)
        np.testing.assert_allclose(np.log(found.rotation_variance), told.pose_log_variance, atol=1e-3)
        np.testing.assert_allclose(np.log(found.velocity_variance), told.velocity_log_variance, atol=1e-3)


def test_a_file_holds_the_weights_in_the_runtimes_own_names(tmp_path: Path) -> None:
    from nodes.models.inertial import describe, load

    network = PartNetwork(24)
    assert {name: array.shape for name, array in weights_of(network).items()} == dict(shapes(24, 36))
    path = tmp_path / "mine.npz"
    write_weights(path, network, {"about": "a test", "licence": "none"})
    weights = load(str(path))
    for name, array in weights_of(network).items():
        np.testing.assert_allclose(weights.arrays[name], array, atol=1e-3)
    assert describe(str(path))["about"] == "a test"
    assert not list(tmp_path.glob("*.part"))


def test_what_is_known_of_the_past_beats_what_is_not() -> None:
    """Judged alike, the truth has no error, the nearest segment and the mean have."""
    learned = takes_of([waving("a", 8.0)], "ideal", (1,))
    judged = takes_of([waving("b", 5.0, pace=1.2)], "ideal", (2,))
    perfect = figures_of(lambda take: take.q_world_from_segment, judged)
    assert perfect.sip_deg < 1e-3
    assert perfect.position_cm < 1e-3
    assert perfect.inferred_angular_deg < 1e-3
    for method in (mean_pose(learned), nearest_segment(learned)):
        figures = figures_of(method, judged)
        assert figures.sip_deg > 3.0
        assert figures.position_cm > 0.5


def test_judging_a_network_gives_every_figure() -> None:
    network = PartNetwork(16)
    calibrate_variances(network, takes_of([waving("a", 3.0)], "worn", (1,)))
    judged = takes_of([waving("b", 3.0)], "worn", (2,))
    figures = figures_of(part_based(NetworkWeights.from_arrays(weights_of(network))), judged)
    whole = figures_of(whole_body(weights_of(WholeBodyNetwork(16))), judged)
    for item in (figures, whole):
        assert all(math.isfinite(getattr(item, name)) for name in item.__dataclass_fields__)
    assert len(JOINTS) == 6
    assert len(POSE_SEGMENTS) == 11
