"""The radar's network learns what can be learned, goes on to the bit, and says in use what it says in torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (pip install 'kinefuse[learning]')")

from tests.training.radar.made_up import write_recordings
from training.radar.card import card_text, finish
from training.radar.judge import figures_of, runtime
from training.radar.model import Outputs, PointNetwork
from training.radar.recordings import STANDING_PLACE_M, read_clips
from training.radar.train import (
    CHECKPOINT,
    Member,
    Settings,
    learned_clips,
    losses_of,
    plan,
    rate_at,
    train,
    weights_of,
)
from training.radar.windows import Variation, whole

SMALL = Settings(
    split="official", members=1, hidden=16, pooled=8, dropout=0.1, steps=40, lanes=6, frames=12, points=16, rate=1e-2,
    warm_steps=4, averaged=0.8, checkpoint_every=10, half=False, variation=Variation(followed=0.2),
)  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    write_recordings(tmp_path / "data")
    threads = torch.get_num_threads()
    yield tmp_path / "data"
    torch.set_num_threads(threads)


def nothing(*_: object) -> None:
    """No progress."""


def test_training_learns_and_its_deviations_hold(data: Path, tmp_path: Path) -> None:
    errors: list[float] = []
    weights = train(
        replace(SMALL, steps=120),
        data,
        tmp_path / "run",
        lambda step, total, figures: errors.append(figures["error_m"]),
    )
    assert len(errors) == 120
    assert np.mean(errors[-10:]) < 0.6 * np.mean(errors[:5])
    judged = [clip for clip in read_clips(data) if clip.part == "validate" and clip.subject != 1]
    tell = runtime(weights)
    found = figures_of(judged, [tell(clip) for clip in judged])
    assert found["coverage_95"] == pytest.approx(0.95, abs=0.005)  # scaled on these
    assert found["motion_correlation"] > 0.2  # all joints sway along x; the other axes stand still


def test_a_run_goes_on_to_the_bit(data: Path, tmp_path: Path) -> None:
    class Stop(Exception):
        """An interruption."""

    def until(step: int, *_: object) -> None:
        if step == 27:
            raise Stop

    with pytest.raises(Stop):
        train(SMALL, data, tmp_path / "cut", until)
    steps: list[int] = []
    resumed = train(SMALL, data, tmp_path / "cut", lambda step, *_: steps.append(step), resume=True)
    assert steps == list(range(21, 41))
    straight = train(SMALL, data, tmp_path / "straight", nothing)
    for name, array in straight.arrays.items():
        np.testing.assert_array_equal(array, resumed.arrays[name], err_msg=name)
    assert not (tmp_path / "cut" / CHECKPOINT).exists()


def test_the_seed_decides(data: Path, tmp_path: Path) -> None:
    few = replace(SMALL, steps=2)
    first, same, other = (
        train(replace(few, seed=seed), data, tmp_path / name, nothing).arrays["mean.weight"]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    np.testing.assert_array_equal(first, same)
    assert np.abs(first - other).max() > 0.0


def test_members_are_made_once(data: Path, tmp_path: Path) -> None:
    """Leaving 1, then 2 out into one folder: the networks of 3 and 4 that judge are shared."""
    few = replace(SMALL, split="all", steps=2, judge_steps=1, checkpoint_every=1)
    totals: list[int] = []
    for subject in (1, 2):
        train(replace(few, leave_out=(subject,)), data, tmp_path / "run", lambda _, total, __: totals.append(total))
    assert totals == [5] * 5 + [4] * 4
    made = {path.name for path in (tmp_path / "run" / "members").iterdir()}
    judges = {f"all-{who}-steps1-seed1000.pt" for who in ("34", "24", "23", "14", "13")}
    assert made == judges | {f"all-{who}-steps2-seed1000.pt" for who in ("234", "134")}
    with pytest.raises(ValueError, match="made with other settings: hidden"):
        train(replace(few, leave_out=(1,), hidden=20), data, tmp_path / "run", nothing)


def test_a_checkpoint_of_other_settings_is_refused(data: Path, tmp_path: Path) -> None:
    class Stop(Exception):
        """An interruption."""

    def until(step: int, *_: object) -> None:
        if step == 15:
            raise Stop

    with pytest.raises(Stop):
        train(SMALL, data, tmp_path / "run", until)
    with pytest.raises(ValueError, match="made with other settings: rate"):
        train(replace(SMALL, rate=1e-3), data, tmp_path / "run", nothing, resume=True)


def test_who_is_learned_from(data: Path) -> None:
    clips = read_clips(data)
    official = learned_clips(clips, Member(split="official", subjects=(1, 2, 3, 4), steps=1, seed=1))
    assert {(clip.subject == 1, clip.part) for clip in official} == {(True, "validate"), (False, "train")}
    rest = learned_clips(clips, Member(split="all", subjects=(1, 3), steps=1, seed=1))
    assert {clip.subject for clip in rest} == {1, 3}
    answering, judging = plan(Settings(leave_out=(2,), members=2))
    assert [member.subjects for member in answering] == [(1, 3, 4)] * 2
    assert {subject: member.subjects for subject, member in judging.items()} == {1: (3, 4), 3: (1, 4), 4: (1, 3)}
    with pytest.raises(ValueError, match="all subjects are left out"):
        train(Settings(leave_out=(1, 2, 3, 4)), data, data / "run", nothing)


def test_the_runtime_says_what_torch_says(data: Path) -> None:
    torch.manual_seed(1)
    network = PointNetwork(16, 8, 0.5).eval()
    torch.nn.init.normal_(network.variance.weight, std=0.2)
    clip = read_clips(data, (2,))[0]
    pose, offset = torch.randn(19, 3), torch.tensor([0.17, 0.0])
    weights = weights_of([{"network": network.state_dict(), "mean_pose": pose, "offset": offset}])
    # One frame without points.
    clip = replace(clip, present=np.where(np.arange(len(clip))[:, None] == 3, False, clip.present))
    window = whole(clip, followed=False)
    with torch.no_grad():
        outputs = network(*(torch.from_numpy(a) for a in (window.points, window.present, window.frames)))
    told = runtime(weights)(clip)
    expected = outputs.differences[0].reshape(-1, 19, 3) + pose
    expected[..., :2] += torch.tensor(STANDING_PLACE_M)
    np.testing.assert_allclose(told.joints_m, expected.numpy(), atol=1e-4)
    sigmas = torch.exp(0.5 * outputs.log_variances[0]).reshape(-1, 19, 3).numpy()
    np.testing.assert_allclose(told.sigmas_m, sigmas, rtol=1e-4)


def test_losses_and_rates() -> None:
    truth, valid = torch.zeros(2, 3, 57), torch.tensor([[True, True, False], [True, False, False]])
    told = torch.where(valid[..., None], 0.1, 99.0).expand(2, 3, 57)
    spread = torch.full((2, 3, 57), float(np.log(0.01)), requires_grad=True)
    losses = losses_of(Outputs(told, spread), truth, valid)
    assert float(losses["error_m"]) == pytest.approx(0.1)
    (slope,) = torch.autograd.grad(losses["spread"], spread)
    assert float(slope.abs().max()) < 1e-6  # least where the variance is that of the errors
    rates = [rate_at(step, SMALL.steps, SMALL) for step in range(SMALL.steps)]
    assert max(rates) <= SMALL.rate
    assert rates[0] < rates[5] > rates[20] > rates[-1] > 0.0


def test_the_end_is_a_file_and_a_card(data: Path, tmp_path: Path) -> None:
    settings = replace(SMALL, split="all", leave_out=(3,), steps=2, judge_steps=2)
    weights = train(settings, data, tmp_path / "run", nothing)
    told = finish(weights, settings, data, tmp_path / "run", 60.0)
    assert told["held_out"]["place_known"]["frames"] == 100
    assert Path(told["file"]).name == "radar-points-without-3.npz"
    card = Path(told["card"]).read_text()
    for needed in ("MIT", "--leave-out 3", "--seed 1", "subjects 1, 2, 4", "Judged on the subjects left out: 3", "MAE"):
        assert needed in card
    everybody = card_text(replace(settings, leave_out=()), {**_description(), "held_out": {}})
    assert "benchmarks.radar_unseen" in everybody


def _description() -> dict[str, object]:
    return {
        "about": "x", "parameters": 1, "command": "c", "date": "d", "seconds": 1.0, "torch": "t", "numpy": "n",
        "sigma_scale": [[1.0] * 3] * 2, "truth_offset_m": [0.1, 0.0],
    }  # fmt: skip
